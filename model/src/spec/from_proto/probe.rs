//! Probes: exactly one question each, and how often it is asked.

use std::{ops::RangeInclusive, time::Duration};

use warren_proto::v1;

use super::checks::{self, Bounds, HOUR, MILLISECOND};
use crate::{
    error::Violations,
    spec::{Probe, ProbeCheck, defaults},
};

/// What sets one probe of a service apart from the other.
pub(super) struct Kind {
    default_interval: Duration,
    success_threshold: RangeInclusive<u32>,
}

pub(super) const READINESS: Kind = Kind {
    default_interval: defaults::READINESS_INTERVAL,
    success_threshold: THRESHOLD,
};

/// One success ends all doubt whether a service lives.
pub(super) const LIVENESS: Kind = Kind {
    default_interval: defaults::LIVENESS_INTERVAL,
    success_threshold: 1..=1,
};

const THRESHOLD: RangeInclusive<u32> = 1..=1000;
const MAX_PATH: usize = 1024;

pub(super) fn probe(v: &mut Violations, at: &str, probe: &v1::Probe, kind: &Kind) -> Option<Probe> {
    let check = check(v, at, probe.check.as_ref());
    let mut read = |name: &str, value, default, range| {
        checks::duration(v, format!("{at}.{name}"), value, &Bounds { default, range })
    };
    let interval = read(
        "interval",
        probe.interval,
        kind.default_interval,
        Duration::from_millis(10)..=HOUR,
    );
    let timeout = read(
        "timeout",
        probe.timeout,
        defaults::PROBE_TIMEOUT,
        MILLISECOND..=HOUR,
    );
    let start_period = read(
        "start_period",
        probe.start_period,
        defaults::START_PERIOD,
        Duration::ZERO..=HOUR,
    );
    let failure_threshold = checks::within(
        v,
        format!("{at}.failure_threshold"),
        probe
            .failure_threshold
            .unwrap_or(defaults::FAILURE_THRESHOLD),
        &THRESHOLD,
        u32::to_string,
    );
    let given = probe
        .success_threshold
        .unwrap_or(defaults::SUCCESS_THRESHOLD);
    let success_threshold = success_threshold(v, at, given, kind);
    Some(Probe {
        check: check?,
        interval,
        timeout,
        failure_threshold,
        success_threshold,
        start_period,
    })
}

fn success_threshold(v: &mut Violations, at: &str, given: u32, kind: &Kind) -> u32 {
    let field = format!("{at}.success_threshold");
    if kind.success_threshold == (1..=1) && given != 1 {
        v.push(
            field,
            format_args!(
                "{given} is not possible for liveness: its first success counts, so use 1 or leave it out"
            ),
        );
        return 1;
    }
    checks::within(v, field, given, &kind.success_threshold, u32::to_string)
}

fn check(v: &mut Violations, at: &str, check: Option<&v1::probe::Check>) -> Option<ProbeCheck> {
    use v1::probe::Check;

    match check {
        None => {
            v.push(
                at,
                "it asks nothing: give it one of `tcp`, `http` and `grpc`, such as `tcp: { port: 8080 }`",
            );
            None
        }
        Some(Check::Tcp(tcp)) => {
            let port = checks::guest_port(v, &format!("{at}.tcp"), tcp.port);
            Some(ProbeCheck::Tcp { port: port? })
        }
        Some(Check::Http(http)) => {
            let port = checks::guest_port(v, &format!("{at}.http"), http.port);
            let path = path(v, format!("{at}.http.path"), &http.path);
            Some(ProbeCheck::Http {
                port: port?,
                path: path?,
            })
        }
        Some(Check::Grpc(grpc)) => {
            let port = checks::guest_port(v, &format!("{at}.grpc"), grpc.port);
            Some(ProbeCheck::Grpc {
                port: port?,
                service: grpc.service.clone(),
            })
        }
    }
}

/// What a request line may hold: a path and, after it, a query.
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
