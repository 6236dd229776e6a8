#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn rule(text: &str) -> EgressRule {
    EgressRule::parse(text).unwrap()
}

fn refusal(text: &str) -> String {
    EgressRule::parse(text).unwrap_err().to_string()
}

#[test]
fn reads_every_form() {
    let name = |name: &str| EgressHost::Name(name.to_owned());
    let net = |net: &str| EgressHost::Net(net.parse().unwrap());
    for (text, host, port) in [
        ("db.internal:5432", name("db.internal"), 5432),
        ("DB.Internal.:5432", name("db.internal"), 5432),
        ("db:*", name("db"), 0),
        (
            "host.warren.internal:5432",
            name("host.warren.internal"),
            5432,
        ),
        ("my_db.prod-1:1", name("my_db.prod-1"), 1),
        (
            "*.example.com:443",
            EgressHost::Wildcard("example.com".to_owned()),
            443,
        ),
        ("10.0.0.0/8:*", net("10.0.0.0/8"), 0),
        ("10.0.0.1:65535", net("10.0.0.1/32"), 65535),
        ("0.0.0.0/0:443", net("0.0.0.0/0"), 443),
        ("[2001:db8::1]:443", net("2001:db8::1/128"), 443),
        ("[2001:db8::/32]:*", net("2001:db8::/32"), 0),
        ("[::/0]:53", net("::/0"), 53),
    ] {
        assert_eq!(
            rule(text),
            EgressRule {
                host,
                port: NonZeroU16::new(port)
            },
            "{text}"
        );
    }
}

#[test]
fn says_what_is_wrong() {
    for (text, what) in [
        ("", "has no port"),
        ("db", "has no port"),
        ("[::1]", "has no port"),
        ("db:", "bad port ``"),
        ("db:0", "bad port `0`"),
        ("db:65536", "bad port"),
        ("db:+1", "bad port"),
        ("db:http", "bad port"),
        (":80", "bad host"),
        ("*:80", "would allow every host"),
        ("*.:80", "bad host"),
        ("a.*.b:80", "bad host"),
        ("-a:80", "label `-a`"),
        ("a..b:80", "empty label"),
        ("ä.de:80", "xn--"),
        ("2001:db8::1:443", "in brackets"),
        ("[2001:db8::1:443", "not an IP address"),
        ("[10.0.0.1]:443", "not an IP address"),
        ("[db]:443", "not an IP address"),
        ("10.0.0:80", "not an IP address"),
        ("10.0.0.0/33:80", "not an IP address"),
        ("10.0.0.1/8:80", "write 10.0.0.0/8"),
        ("0.0.0.0:80", "0.0.0.0/0"),
        ("0.0.0.0/32:80", "0.0.0.0/0"),
        ("[::]:80", "[::/0]"),
        ("[::ffff:10.0.0.1]:80", "maps IPv4"),
    ] {
        let message = refusal(text);
        assert!(message.contains(what), "{text}: {message}");
    }
}

#[test]
fn refuses_the_workload_itself() {
    for text in [
        "localhost:80",
        "LOCALHOST.:80",
        "db.localhost:80",
        "*.localhost:80",
        "*.a.localhost:*",
        "127.0.0.1:80",
        "127.0.0.0/8:*",
        "127.1.0.0/16:*",
        "[::1]:80",
    ] {
        assert!(refusal(text).contains("the workload itself"), "{text}");
    }
}

#[test]
fn matches_addresses_by_net_and_port() {
    for (text, addr, expected) in [
        ("10.0.0.0/8:443", "10.1.2.3:443", true),
        ("10.0.0.0/8:443", "10.1.2.3:80", false),
        ("10.0.0.0/8:443", "11.1.2.3:443", false),
        ("10.0.0.0/8:*", "10.1.2.3:1", true),
        ("10.0.0.0/8:*", "[::ffff:10.1.2.3]:1", true),
        ("[::/0]:*", "[::ffff:10.1.2.3]:1", false),
        ("[2001:db8::/32]:*", "[2001:db8::1]:1", true),
        ("example.com:*", "10.1.2.3:1", false),
    ] {
        assert_eq!(
            rule(text).matches_addr(addr.parse().unwrap()),
            expected,
            "{text} {addr}"
        );
    }
}

#[test]
fn matches_names_without_case_and_wildcards_below_their_suffix() {
    for (text, name, expected) in [
        ("example.com:1", "example.com", true),
        ("example.com:1", "EXAMPLE.com.", true),
        ("example.com:1", "a.example.com", false),
        ("*.example.com:1", "a.example.com", true),
        ("*.example.com:1", "b.A.Example.Com.", true),
        ("*.example.com:1", "example.com", false),
        ("*.example.com:1", ".example.com", false),
        ("*.example.com:1", "badexample.com", false),
        ("*.example.com:1", "com", false),
        ("10.0.0.0/8:1", "10.0.0.1", false),
    ] {
        assert_eq!(rule(text).matches_name(name), expected, "{text} {name}");
    }
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "([a-z0-9_]{1,8}\\.){0,3}[a-z]{1,8}",
        "\\*\\.([a-z0-9_]{1,8}\\.){0,3}[a-z]{1,8}",
        (any::<std::net::Ipv4Addr>(), 0_u8..=32)
            .prop_map(|(ip, len)| ipnet::Ipv4Net::new(ip, len).unwrap().trunc().to_string()),
        any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
        (any::<std::net::Ipv6Addr>(), 0_u8..=128)
            .prop_map(|(ip, len)| format!("[{}]", ipnet::Ipv6Net::new(ip, len).unwrap().trunc())),
    ]
}

proptest! {
    #[test]
    fn parse_and_display_round_trip(host in host(), port in 0_u16..) {
        let port = if port == 0 { "*".to_owned() } else { port.to_string() };
        if let Ok(rule) = EgressRule::parse(&format!("{host}:{port}")) {
            prop_assert_eq!(EgressRule::parse(&rule.to_string()), Ok(rule));
        }
    }

    #[test]
    fn no_text_panics(text in "[\\[\\]a-z0-9.:*/é-]{0,24}", name: String) {
        if let Ok(rule) = EgressRule::parse(&text) {
            rule.matches_name(&name);
        }
    }
}
