//! Probes: exactly one check each, and how often it is repeated.

use std::{num::NonZeroU16, time::Duration};

use warren_proto::v1::{self, probe::Check};

use super::{duration_to_proto, place::Place};
use crate::error::Violations;

/// A check that the worker repeats against the service, inside the workload network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub check: ProbeCheck,
    pub interval: Duration,
    pub timeout: Duration,
    pub failure_threshold: u32,
    pub success_threshold: u32,
    pub start_period: Duration,
}

/// The check that a probe makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeCheck {
    /// The port accepts a connection.
    Tcp { port: NonZeroU16 },
    /// A GET is answered with a status from 200 to 399.
    Http { port: NonZeroU16, path: String },
    /// `grpc.health.v1.Health/Check` answers SERVING; an empty service means the whole server.
    Grpc { port: NonZeroU16, service: String },
}

const MAX_PATH: usize = 1024;

// === impl Probe ===

impl Probe {
    pub(super) fn from_proto(v: &mut Violations, at: &Place, probe: &v1::Probe) -> Option<Self> {
        let check = ProbeCheck::from_proto(v, at, probe.check.as_ref());
        let interval = at.duration(v, "interval", probe.interval);
        let timeout = at.duration(v, "timeout", probe.timeout);
        let start_period = at.duration(v, "start_period", probe.start_period);
        let failure_threshold = at.number(v, "failure_threshold", probe.failure_threshold);
        let success_threshold = success_threshold(v, at, probe.success_threshold);
        Some(Self {
            check: check?,
            interval,
            timeout,
            failure_threshold,
            success_threshold,
            start_period,
        })
    }

    pub(super) fn to_proto(&self) -> v1::Probe {
        v1::Probe {
            check: Some(self.check.to_proto()),
            interval: Some(duration_to_proto(self.interval)),
            timeout: Some(duration_to_proto(self.timeout)),
            failure_threshold: Some(self.failure_threshold),
            success_threshold: Some(self.success_threshold),
            start_period: Some(duration_to_proto(self.start_period)),
        }
    }
}

/// A first success proves that a service lives, so that liveness allows no other threshold.
fn success_threshold(v: &mut Violations, at: &Place, given: Option<u32>) -> u32 {
    let only_one = at.schema().field("success_threshold").most() == 1;
    if let Some(given) = given.filter(|given| only_one && *given != 1) {
        v.push(
            at.field("success_threshold"),
            format_args!(
                "{given} is not possible for liveness: its first success counts, so use 1 or leave it out"
            ),
        );
        return 1;
    }
    at.number(v, "success_threshold", given)
}

// === impl ProbeCheck ===

impl ProbeCheck {
    /// Returns the port of the service that is checked.
    pub fn port(&self) -> NonZeroU16 {
        match self {
            Self::Tcp { port } | Self::Http { port, .. } | Self::Grpc { port, .. } => *port,
        }
    }

    fn from_proto(v: &mut Violations, at: &Place, check: Option<&Check>) -> Option<Self> {
        match check {
            None => {
                v.push(
                    at.path(),
                    "it asks nothing: give it one of `tcp`, `http` and `grpc`, such as `tcp: { port: 8080 }`",
                );
                None
            }
            Some(Check::Tcp(tcp)) => {
                let port = at.group("tcp").port(v, tcp.port);
                Some(Self::Tcp { port: port? })
            }
            Some(Check::Http(http)) => {
                let at = at.group("http");
                let port = at.port(v, http.port);
                let path = path(v, at.field("path"), &http.path);
                Some(Self::Http {
                    port: port?,
                    path: path?,
                })
            }
            Some(Check::Grpc(grpc)) => {
                let port = at.group("grpc").port(v, grpc.port);
                Some(Self::Grpc {
                    port: port?,
                    service: grpc.service.clone(),
                })
            }
        }
    }

    fn to_proto(&self) -> Check {
        let port = self.port().get().into();
        match self {
            Self::Tcp { .. } => Check::Tcp(v1::TcpProbe { port }),
            Self::Http { path, .. } => Check::Http(v1::HttpProbe {
                port,
                path: path.clone(),
            }),
            Self::Grpc { service, .. } => Check::Grpc(v1::GrpcProbe {
                port,
                service: service.clone(),
            }),
        }
    }
}

/// Reads what a request line may hold: a path and, after it, a query.
fn path(v: &mut Violations, field: String, path: &str) -> Option<String> {
    let problem = match path {
        "" => return Some("/".to_owned()),
        _ if !path.starts_with('/') => "it should begin with '/'",
        _ if path.len() > MAX_PATH => "it should have at most 1024 characters",
        _ if path.contains('#') => "a fragment is never sent: end it before '#'",
        _ if !path.bytes().all(|b| b.is_ascii_graphic()) => {
            "write spaces and non-ASCII characters percent-encoded"
        }
        _ => return Some(path.to_owned()),
    };
    v.push(field, format_args!("`{path}` is not a path: {problem}"));
    None
}
