//! IPv4 addresses embedded in IPv6 addresses.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::{decisions::kind, *};

const ALL: &[&str] = &["0.0.0.0/0:*", "[::/0]:*"];

/// Returns every IPv6 address form that may lead to this IPv4 host.
fn forms(inner: Ipv4Addr, salt: u16) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = inner.octets();
    let pair = |a, b| u16::from_be_bytes([a, b]);
    let (high, low) = (pair(a, b), pair(c, d));
    let local = |tail: [u16; 5]| {
        let [d, e, f, g, h] = tail;
        Ipv6Addr::new(0x64, 0xff9b, 1, d, e, f, g, h)
    };
    vec![
        // NAT64 with the well-known and the local prefix, for each prefix length.
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        local([high, pair(0, c), pair(d, 0), 0, 0]),
        local([pair(0xaa, a), pair(0, b), low, 0, 0]),
        local([salt, pair(0, a), pair(b, c), pair(d, 0), 0]),
        local([salt, salt, salt, high, low]),
        // SIIT, 6to4, Teredo's server and client, ISATAP.
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, salt, 0, 0, 0, salt),
        Ipv6Addr::new(0x2001, 0, high, low, salt, salt, salt, salt),
        Ipv6Addr::new(0x2001, 0, salt, 1, salt, salt, !high, !low),
        Ipv6Addr::new(0x2001, 0xdb8, salt, 0, 0, 0x5efe, high, low),
        Ipv6Addr::new(0x2001, 0xdb8, salt, 0, 0x200, 0x5efe, high, low),
    ]
}

#[test]
fn metadata_services_are_reached_only_where_they_are_listed() {
    for address in [
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "fd00:42::42",
    ] {
        let ip: IpAddr = address.parse().unwrap();
        let to = SocketAddr::new(ip, 80);
        let listed = to.to_string();
        let network = match ip {
            IpAddr::V4(ip) => format!("{ip}/31:80"),
            IpAddr::V6(ip) => format!("[{:x}::/16]:80", ip.segments()[0]),
        };
        for (egress, expected) in [
            (ALL, "metadata"),
            (&[network.as_str()], "metadata"),
            (&[listed.as_str()], "machine"),
        ] {
            let verdict = policy(Role::Service, egress).decide(Op::TcpConnect(to));
            assert_eq!(kind(&verdict), expected, "{to} by {egress:?}");
        }
    }
    let neighbour = Op::TcpConnect(at("[fd00:ec3::254]:80"));
    assert_eq!(
        kind(&policy(Role::Service, ALL).decide(neighbour)),
        "machine"
    );
}

proptest! {
    /// A refused IPv4 address is refused in every IPv6 form, unless that form itself is listed.
    #[test]
    fn a_refused_address_is_refused_in_every_form(
        inner in prop_oneof![
            any::<[u8; 2]>().prop_map(|[a, b]| Ipv4Addr::new(169, 254, a, b)),
            any::<[u8; 3]>().prop_map(|[a, b, c]| Ipv4Addr::new(127, a, b, c)),
            Just(Ipv4Addr::new(10, 1, 0, 5)),
            Just(Ipv4Addr::new(100, 100, 100, 200)),
        ],
        salt in any::<u16>(),
        port in 1_u16..,
    ) {
        for form in forms(inner, salt) {
            let to = SocketAddr::new(form.into(), port);
            for op in [Op::TcpConnect(to), Op::UdpSend(to)] {
                let verdict = policy(Role::Service, ALL).decide(op);
                // With the local prefix, another prefix length may be refused for another reason.
                let is_refused = ["link-local", "worker", "metadata"].contains(&kind(&verdict));
                prop_assert!(is_refused, "{} in {}: {:?}", inner, form, verdict);
                let listed = to.to_string();
                let verdict = policy(Role::Service, &[&listed]).decide(op);
                prop_assert_eq!(verdict, Verdict::Machine(to));
            }
        }
        for form in [inner.to_ipv6_mapped(), inner.to_ipv6_compatible()] {
            // A rule cannot list an IPv4-mapped address.
            let to = SocketAddr::new(form.into(), port);
            let verdict = policy(Role::Service, ALL).decide(Op::TcpConnect(to));
            prop_assert_eq!(kind(&verdict), "no host", "{}", form);
        }
    }

    /// An ordinary address is reached in every form that a rule covers.
    #[test]
    fn ordinary_addresses_are_reached_in_every_form(inner in [203_u8..224, 1..100, 1..100, 1..100]) {
        let inner = Ipv4Addr::from(inner);
        let forms = forms(inner, 0x1234).into_iter().map(IpAddr::from);
        for ip in forms.chain([inner.into()]) {
            let to = SocketAddr::new(ip, 443);
            let verdict = policy(Role::Service, ALL).decide(Op::TcpConnect(to));
            prop_assert_eq!(verdict, Verdict::Machine(to));
        }
    }

    /// No address reaches a listener of Warren, whatever its form and whatever is listed.
    #[test]
    fn warrens_own_listeners_are_reached_in_no_form(
        inner in any::<u32>().prop_map(Ipv4Addr::from_bits),
        salt in any::<u16>(),
    ) {
        prop_assume!(!inner.is_unspecified());
        let host = HostAccess { allow_host_loopback: true, ..host() };
        host.listeners.set(Whose::Control, [format!("{inner}:7700")]);
        let forms = forms(inner, salt).into_iter().map(IpAddr::from);
        for ip in forms.chain([inner.into(), inner.to_ipv6_mapped().into()]) {
            let to = SocketAddr::new(ip, 7700);
            let mut egress = rules(&[ALL[0], ALL[1], "host.warren.internal:*"]);
            // Some forms are not valid in a manifest.
            egress.extend(to.to_string().parse::<EgressRule>().ok());
            let policy = Policy::new(Role::Service, egress, host.clone());
            let verdict = policy.decide(Op::TcpConnect(to));
            prop_assert!(!matches!(verdict, Verdict::Machine(_)), "{} by {}", inner, to);
        }
    }
}

#[test]
fn an_address_is_refused_if_the_machine_cannot_be_queried() {
    let mute = HostAccess {
        machine: Arc::new(Mute),
        ..host()
    };
    let mut policy = Policy::new(Role::Service, rules(ALL), mute.clone());
    let to = Op::TcpConnect(at("192.0.2.1:443"));
    let verdict = policy.decide(to);
    assert_eq!(kind(&verdict), "unknown");
    // An exactly listed address needs no query, unless Warren may listen on its port.
    policy.egress = rules(&["192.0.2.1:443"]);
    assert_eq!(kind(&policy.decide(to)), "machine");
    mute.listeners.set(Whose::Own, ["0.0.0.0:443"]);
    assert_eq!(kind(&policy.decide(to)), "unknown");
}
