//! Classifies addresses by their form: which ones can be a host's, and which host a packet may
//! finally reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The metadata services of clouds that are not link-local: Alibaba's, Azure's and Oracle's first
/// one.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// Returns whether the address can be that of a single host.
pub(super) fn is_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast() || is_ipv4(ip)),
    }
}

/// Returns whether an address is IPv4-mapped (`::ffff:a.b.c.d`) or IPv4-compatible (`::a.b.c.d`,
/// deprecated by RFC 4291). Both are other spellings of an IPv4 host, which rules do not cover.
fn is_ipv4(ip: Ipv6Addr) -> bool {
    matches!(ip.segments(), [0, 0, 0, 0, 0, 0 | 0xffff, _, _])
}

pub(super) fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Returns whether a cloud serves credentials to its machines at this address. Link-local addresses
/// are handled separately.
pub(super) fn is_metadata(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => METADATA_V4.contains(&ip),
        // Everything under the unique local prefixes that Amazon, Google, Oracle and Scaleway
        // reserve for this.
        IpAddr::V6(ip) => matches!(
            ip.segments(),
            [0xfd00, 0x0ec2, ..]
                | [0xfd20, 0x00ce, 0, 0, ..]
                | [0xfd00, 0x00c1, 0, 0, ..]
                | [0xfd00, 0x0042, 0, 0, ..]
        ),
    }
}

/// Returns the IPv4 hosts that a packet to an IPv6 address may reach if a translator or a tunnel is
/// on its path.
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
        // The well-known prefix of NAT64 (RFC 6052), and IPv4-translated addresses of SIIT (RFC
        // 2765).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => one(last),
        // The local-use prefix of NAT64 (RFC 8215). The prefix length that the network uses is
        // unknown, so all layouts of RFC 6052, section 2.2, that fit are considered.
        [0x64, 0xff9b, 1, ..] => [
            at([6, 7, 9, 10]),
            at([7, 9, 10, 11]),
            at([9, 10, 11, 12]),
            last,
        ],
        // 6to4 (RFC 3056).
        [0x2002, ..] => one(at([2, 3, 4, 5])),
        // Teredo (RFC 4380): the server's address, and the client's with its bits inverted.
        [0x2001, 0, ..] => {
            let client = last.map(|client| Ipv4Addr::from_bits(!client.to_bits()));
            [at([4, 5, 6, 7]), client, None, None]
        }
        // ISATAP (RFC 5214).
        [.., 0 | 0x0200, 0x5efe, _, _] => one(last),
        _ => [None; 4],
    }
}
