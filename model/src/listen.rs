//! Cluster listeners: they open beyond loopback only on request, and no guest can reach them.

use std::net::{IpAddr, SocketAddr};

use crate::interfaces;

/// The listener would offer the cluster's API to the network without protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "refusing to listen on {0}: it can be reached from other machines, and this version has neither TLS nor \
     credentials for it; listen on a loopback address such as 127.0.0.1:{port}, or pass --insecure if you trust \
     everyone who can reach it",
    port = .0.port()
)]
pub struct InsecureListen(pub SocketAddr);

/// Checks whether a cluster listener (`--listen` of `warren control` and `warren worker`) may open
/// at this address.
///
/// Only loopback addresses are closed to other machines; anything else must be asked for by
/// `--insecure`.
pub fn check(addr: SocketAddr, insecure: bool) -> Result<(), InsecureListen> {
    // An IPv4-mapped loopback address is loopback to the kernel, and `Ipv6Addr::is_loopback` does
    // not know.
    if insecure || addr.ip().to_canonical().is_loopback() {
        Ok(())
    } else {
        Err(InsecureListen(addr))
    }
}

/// The number of addresses of one listener that are announced to the fleet.
pub const MAX_ADDRESSES: usize = 64;

/// Returns the addresses at which a listener can be reached: the bound one or, if that is
/// unspecified, the machine's current addresses that other machines may know, at most
/// [`MAX_ADDRESSES`].
pub fn reached_at(bound: SocketAddr) -> Vec<SocketAddr> {
    match bound.ip() {
        ip if ip.is_unspecified() => spread(bound, interfaces::addresses()),
        ip => vec![SocketAddr::new(ip.to_canonical(), bound.port())],
    }
}

/// A listener on the unspecified IPv6 address also accepts IPv4.
fn spread(bound: SocketAddr, machine: Vec<IpAddr>) -> Vec<SocketAddr> {
    let is_known_elsewhere = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !(ip.is_loopback() || ip.is_link_local()),
        IpAddr::V6(ip) => bound.is_ipv6() && !(ip.is_loopback() || ip.is_unicast_link_local()),
    };
    let known = machine.into_iter().filter(is_known_elsewhere);
    known
        .map(|ip| SocketAddr::new(ip, bound.port()))
        .take(MAX_ADDRESSES)
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_open_to_all_and_the_rest_by_choice() {
        for (addr, allowed) in [
            ("127.0.0.1:7700", true),
            ("127.9.9.9:7700", true),
            ("[::1]:7700", true),
            ("[::ffff:127.0.0.1]:7700", true),
            ("0.0.0.0:7700", false),
            ("[::]:7700", false),
            ("192.168.1.2:7700", false),
        ] {
            let addr: SocketAddr = addr.parse().unwrap();
            assert_eq!(check(addr, false).is_ok(), allowed, "{addr}");
            assert!(check(addr, true).is_ok(), "{addr}");
        }
    }

    #[test]
    fn the_refusal_names_both_ways_out() {
        let refusal = check("0.0.0.0:7700".parse().unwrap(), false).unwrap_err();
        let text = refusal.to_string();
        assert!(
            text.contains("127.0.0.1:7700") && text.contains("--insecure"),
            "{text}"
        );
    }

    #[test]
    fn a_listener_of_any_address_is_reached_at_each_that_others_know() {
        let machine = [
            "127.0.0.1",
            "::1",
            "10.0.0.7",
            "169.254.1.1",
            "fe80::1",
            "2001:db8::7",
        ];
        let machine: Vec<_> = machine.iter().map(|ip| ip.parse().unwrap()).collect();
        let spread = |bound: &str| -> Vec<String> {
            let found = spread(bound.parse().unwrap(), machine.clone());
            found.iter().map(ToString::to_string).collect()
        };
        assert_eq!(spread("0.0.0.0:7700"), ["10.0.0.7:7700"]);
        assert_eq!(spread("[::]:7700"), ["10.0.0.7:7700", "[2001:db8::7]:7700"]);
        for (bound, expected) in [
            ("127.0.0.1:7700", "127.0.0.1:7700"),
            ("[::ffff:10.0.0.7]:7700", "10.0.0.7:7700"),
        ] {
            let expected: SocketAddr = expected.parse().unwrap();
            assert_eq!(reached_at(bound.parse().unwrap()), [expected]);
        }
    }
}
