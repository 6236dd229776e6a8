#![allow(clippy::unwrap_used)]

use super::*;

type Fields<'a> = &'a [(&'a str, &'a str)];

/// Returns the fields that a guest receives for a request with these fields, sorted by name.
fn given(
    peer: &str,
    authority: &str,
    proxies: &[&str],
    fields: Fields<'_>,
) -> Vec<(String, String)> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::try_from(*name).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    let proxies = TrustedProxies::new(proxies.iter().map(|net| net.parse().unwrap()));
    let peer = peer.parse().unwrap();
    let client = Client::new(peer, proxies.contain(peer));
    set(&mut headers, &client, authority);
    let mut given: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    given.sort();
    given
}

fn owned(fields: Fields<'_>) -> Vec<(String, String)> {
    let fields = fields.iter();
    let fields = fields.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    fields.collect()
}

/// The client's own fields, on several lines and in every spelling.
const FORGED: Fields<'static> = &[
    ("x-forwarded-for", "10.0.0.1"),
    ("X-Forwarded-For", "10.0.0.2, 10.0.0.3"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "admin.example"),
    ("x-forwarded-port", "443"),
    ("x-forwarded-prefix", "/admin"),
    ("x-forwarded-server", "inner"),
    ("x-real-ip", "10.0.0.1"),
    ("x_forwarded_for", "10.0.0.1"),
    ("x-forwarded_for", "10.0.0.1"),
    ("X_Real-IP", "10.0.0.1"),
    ("forwarded", "for=10.0.0.1;proto=https"),
    ("forwarded", "for=10.0.0.2"),
    ("x-forward", "kept"),
    ("forwarded-like", "kept"),
];

#[test]
fn fields_that_a_client_sends_about_itself_are_replaced() {
    let kept = [("forwarded-like", "kept"), ("x-forward", "kept")];
    let ours = [
        (
            "forwarded",
            "for=192.0.2.1;host=\"a.localhost:8000\";proto=http",
        ),
        kept[0],
        kept[1],
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", "a.localhost:8000"),
        ("x-forwarded-port", "8000"),
        ("x-forwarded-proto", "http"),
    ];
    // A proxy that is not listed is not trusted, and by default none is.
    for proxies in [&[][..], &["192.0.2.2", "198.51.100.0/24", "::/0"]] {
        let given = given("192.0.2.1:5000", "a.localhost:8000", proxies, FORGED);
        assert_eq!(given, owned(&ours), "{proxies:?}");
    }
}

#[test]
fn a_client_without_such_fields_is_described() {
    let plain = given("[2001:db8::1]:5000", "a.localhost", &[], &[]);
    let ours = [
        ("x-forwarded-for", "2001:db8::1"),
        ("x-forwarded-host", "a.localhost"),
        ("x-forwarded-proto", "http"),
    ];
    assert_eq!(plain, owned(&ours));
    // A listener for both families sees IPv4 clients as IPv6 ones.
    let mapped = given(
        "[::ffff:192.0.2.1]:5000",
        "",
        &[],
        &[("forwarded", "for=x")],
    );
    let ours = [
        ("forwarded", "for=192.0.2.1;proto=http"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", ""),
        ("x-forwarded-proto", "http"),
    ];
    assert_eq!(mapped, owned(&ours));
}

#[test]
fn fields_of_a_trusted_proxy_are_kept_and_extended() {
    let said = [
        ("forwarded", "for=203.0.113.9;proto=https"),
        ("forwarded", "for=198.51.100.1"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-for", "198.51.100.1"),
        ("x-forwarded-host", "www.example"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "203.0.113.9"),
        // The proxy passes on names that it does not know.
        ("x_forwarded_for", "10.0.0.1"),
    ];
    let continued = [
        (
            "forwarded",
            "for=203.0.113.9;proto=https, for=198.51.100.1, for=192.0.2.1;host=\"a\";proto=http",
        ),
        ("x-forwarded-for", "203.0.113.9, 198.51.100.1, 192.0.2.1"),
        ("x-forwarded-host", "www.example"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "203.0.113.9"),
    ];
    for peer in ["192.0.2.1:1", "[::ffff:192.0.2.1]:1"] {
        let given = given(peer, "a", &["10.0.0.0/8", "192.0.2.0/24"], &said);
        assert_eq!(given, owned(&continued), "{peer}");
    }
    // A proxy that sends no such fields is treated like a client.
    let silent = given("192.0.2.1:1", "a", &["192.0.2.1"], &[]);
    let ours = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", "a"),
        ("x-forwarded-proto", "http"),
    ];
    assert_eq!(silent, owned(&ours));
}

#[test]
fn an_ipv6_proxy_is_quoted() {
    let said = [("forwarded", "for=203.0.113.9")];
    let given = given("[2001:db8::7]:1", "a:81", &["2001:db8::/32"], &said);
    let forwarded = "for=203.0.113.9, for=\"[2001:db8::7]\";host=\"a:81\";proto=http";
    assert_eq!(given[0], ("forwarded".to_owned(), forwarded.to_owned()));
}

#[test]
fn the_port_is_the_requested_one() {
    for (authority, expected) in [
        ("a.localhost:8000", 8000),
        ("a.localhost", 80),
        ("[::1]:81", 81),
        ("[::1]", 80),
        ("", 80),
    ] {
        assert_eq!(port(authority), expected, "{authority}");
    }
}
