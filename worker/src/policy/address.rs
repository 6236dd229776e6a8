//! Addresses by their form alone: which can be a host's, and whom a packet to one may reach in the
//! end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services of clouds that are not link-local: Alibaba's, Azure's, Oracle's first.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// Whether one host can have the address.
pub(super) fn is_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast() || is_ipv4(ip)),
    }
}

/// IPv4-mapped `::ffff:a.b.c.d`, and IPv4-compatible `::a.b.c.d` (deprecated by RFC 4291): an IPv4
/// host in another spelling, which no rule is meant for.
fn is_ipv4(ip: Ipv6Addr) -> bool {
    matches!(ip.segments(), [0, 0, 0, 0, 0, 0 | 0xffff, _, _])
}

pub(super) fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Whether a cloud gives its machines their credentials there. Link-local addresses are not
/// repeated here.
pub(super) fn is_metadata(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => METADATA_V4.contains(&ip),
        // All below unique local prefixes that the cloud keeps for itself: Amazon's, Google's,
        // Oracle's, Scaleway's.
        IpAddr::V6(ip) => matches!(
            ip.segments(),
            [0xfd00, 0x0ec2, ..]
                | [0xfd20, 0x00ce, 0, 0, ..]
                | [0xfd00, 0x00c1, 0, 0, ..]
                | [0xfd00, 0x0042, 0, 0, ..]
        ),
    }
}

/// The IPv4 hosts that a packet to an IPv6 address may reach, where a translator or a tunnel is on
/// its way.
pub(super) fn embedded(ip: IpAddr) -> impl Iterator<Item = Ipv4Addr> + Clone {
    let found = match ip {
        IpAddr::V4(_) => [None; 4],
        IpAddr::V6(ip) => candidates(ip),
    };
    found.into_iter().flatten()
}

fn candidates(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 4] {
    let octets = ip.octets();
    let at = |[a, b, c, d]: [usize; 4]| {
        let address = [octets[a], octets[b], octets[c], octets[d]];
        Some(Ipv4Addr::from(address))
    };
    let last = at([12, 13, 14, 15]);
    let one = |address| [address, None, None, None];
    match ip.segments() {
        // NAT64's well-known prefix (RFC 6052), and the IPv4-translated addresses of SIIT (RFC
        // 2765).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => one(last),
        // NAT64's prefix for local use (RFC 8215). Which length the network chose is not known
        // here: the layouts of RFC 6052, section 2.2, that fit into it.
        [0x64, 0xff9b, 1, ..] => [
            at([6, 7, 9, 10]),
            at([7, 9, 10, 11]),
            at([9, 10, 11, 12]),
            last,
        ],
        // 6to4 (RFC 3056).
        [0x2002, ..] => one(at([2, 3, 4, 5])),
        // Teredo (RFC 4380): the server, and the client with its bits inverted.
        [0x2001, 0, ..] => {
            let client = last.map(|client| Ipv4Addr::from_bits(!client.to_bits()));
            [at([4, 5, 6, 7]), client, None, None]
        }
        // ISATAP (RFC 5214).
        [.., 0 | 0x0200, 0x5efe, _, _] => one(last),
        _ => [None; 4],
    }
}
