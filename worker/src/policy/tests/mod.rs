//! Decisions as tables, and lookups against a DNS server that the tests run.

#![allow(clippy::unwrap_used)]

mod decisions;
pub(crate) mod dns;
mod forms;
mod listeners;
mod lookups;
mod refusals;

use std::io;

use warren_model::host_port::Transport;

use super::*;

fn rules(texts: &[&str]) -> Vec<EgressRule> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A machine with exactly these addresses.
#[derive(Debug)]
struct Addresses(Vec<IpAddr>);

impl Machine for Addresses {
    fn owns(&self, to: SocketAddr, _: Transport) -> io::Result<bool> {
        Ok(self.0.contains(&to.ip()))
    }
}

/// A machine whose addresses cannot be determined.
#[derive(Debug)]
struct Mute;

impl Machine for Mute {
    fn owns(&self, _: SocketAddr, _: Transport) -> io::Result<bool> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

fn host() -> HostAccess {
    let own = ["10.1.0.5", "2001:db8::5"];
    HostAccess {
        allow_host_loopback: false,
        machine: Arc::new(Addresses(own.map(|ip| ip.parse().unwrap()).to_vec())),
        listeners: Arc::default(),
    }
}

fn policy(role: Role, egress: &[&str]) -> Policy {
    Policy::new(role, rules(egress), host())
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
