//! Decisions as tables, and lookups against a DNS server of the test's own.

#![allow(clippy::unwrap_used)]

mod decisions;
pub(crate) mod dns;
mod lookups;
mod refusals;

use super::*;

fn rules(texts: &[&str]) -> Vec<EgressRule> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn host() -> HostAccess {
    let own_addresses = vec!["10.1.0.5".parse().unwrap(), "2001:db8::5".parse().unwrap()];
    HostAccess {
        allow_host_loopback: false,
        own_addresses,
    }
}

fn policy(role: Role, egress: &[&str]) -> Policy {
    Policy::new(role, rules(egress), host())
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
