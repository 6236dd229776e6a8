//! The addresses that exist in a workload's network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An address family. Each has its own ports, as on Linux with `IPV6_V6ONLY`, which WASI
/// prescribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Family {
    V4,
    V6,
}

/// A host of the network as the port table stores it: an IPv4 address, or [`ANY`].
///
/// The network has a single IPv6 address, so `::` and `::1` are the same host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Host(pub u32);

/// Every address of the family.
pub(super) const ANY: Host = Host(0);

/// Returns the host to bind to if a socket may be bound to `ip`: a loopback or unspecified address,
/// never an IPv4-mapped one.
pub(super) fn bindable(ip: IpAddr) -> Option<(Family, Host)> {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Some((Family::V4, ANY)),
        IpAddr::V6(ip) if ip.is_unspecified() => Some((Family::V6, ANY)),
        ip => connectable(ip),
    }
}

/// Returns the host to connect to if `ip` is a loopback address.
pub(super) fn connectable(ip: IpAddr) -> Option<(Family, Host)> {
    match ip {
        IpAddr::V4(ip) if ip.is_loopback() => Some((Family::V4, Host(ip.to_bits()))),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Some((Family::V6, ANY)),
        _ => None,
    }
}

/// Returns 127.0.0.1 or `::1`: the source of a connection that is bound to no particular address.
pub(super) fn localhost(family: Family) -> Host {
    match family {
        Family::V4 => Host(Ipv4Addr::LOCALHOST.to_bits()),
        Family::V6 => ANY,
    }
}

/// Returns the source address of a connection from this host.
pub(super) fn source(family: Family, host: Host) -> IpAddr {
    match (family, host) {
        (Family::V4, ANY) => Ipv4Addr::LOCALHOST.into(),
        (Family::V4, Host(bits)) => Ipv4Addr::from_bits(bits).into(),
        (Family::V6, _) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// Strips the IPv6 scope and flow label, which have no meaning in this network.
pub(super) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_loopback_addresses_exist() {
        // (address, may be bound, may be connected to)
        let cases = [
            ("127.0.0.1", true, true),
            ("127.0.0.2", true, true),
            ("127.255.255.255", true, true),
            ("::1", true, true),
            ("0.0.0.0", true, false),
            ("::", true, false),
            ("128.0.0.1", false, false),
            ("126.255.255.255", false, false),
            ("192.0.0.8", false, false),
            ("255.255.255.255", false, false),
            ("::2", false, false),
            ("::ffff:127.0.0.1", false, false),
            ("::127.0.0.1", false, false),
            ("fe80::1", false, false),
        ];
        for (address, bind, connect) in cases {
            let ip = address.parse().unwrap();
            assert_eq!(bindable(ip).is_some(), bind, "bind {address}");
            assert_eq!(connectable(ip).is_some(), connect, "connect {address}");
        }
    }
}
