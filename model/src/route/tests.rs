#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn route(host: &str, path: &str) -> Route {
    Route::parse(host, path).unwrap()
}

#[test]
fn reads_and_normalises() {
    for (host, path, text) in [
        ("counter.localhost", "/", "counter.localhost/"),
        ("Counter.LOCALHOST.", "", "counter.localhost/"),
        ("", "/api", "*/api"),
        ("", "/api//", "*/api"),
        ("", "", "*/"),
        ("127.0.0.1", "/a/b%20c", "127.0.0.1/a/b%20c"),
    ] {
        assert_eq!(route(host, path).to_string(), text);
    }
}

#[test]
fn says_what_is_wrong() {
    let long = format!("/{}", "a".repeat(MAX_PATH));
    for (host, path, what) in [
        ("a b", "/", "label `a b`"),
        ("http://a", "/", "without scheme and port"),
        ("a:80", "/", "without scheme and port"),
        ("*.a", "/", "wildcards"),
        ("a", "api", "begin with '/'"),
        ("a", "/a?b", "query"),
        ("a", "/a#b", "fragment"),
        ("a", "/a b", "percent-encoded"),
        ("a", "/ä", "percent-encoded"),
        ("a", "/a//b", "empty"),
        ("a", "/a/../b", "segments"),
        ("a", "/.", "segments"),
        ("a", long.as_str(), "1024"),
    ] {
        let message = Route::parse(host, path).unwrap_err().to_string();
        assert!(message.contains(what), "{host}{path}: {message}");
    }
}

#[test]
fn matches_hosts_without_case_and_port_and_paths_at_segments() {
    for (route_host, prefix, host, path, expected) in [
        ("a.b", "/", "a.b", "/", true),
        ("a.b", "/", "A.B:8000", "/x", true),
        ("a.b", "/", "a.b.", "/x", true),
        ("a.b", "/", "a.b.c", "/", false),
        ("", "/", "whatever:1", "/", true),
        ("", "/", "[::1]:8000", "/x", true),
        ("", "/", "", "", true),
        ("", "/api", "x", "/api", true),
        ("", "/api", "x", "/api/", true),
        ("", "/api", "x", "/api/x", true),
        ("", "/api/", "x", "/api", true),
        ("", "/api", "x", "/apix", false),
        ("", "/api", "x", "/", false),
        ("", "/", "x", "*", false),
    ] {
        let route = route(route_host, prefix);
        assert_eq!(
            matches(&route, host, path),
            expected,
            "{route} {host}{path}"
        );
    }
}

proptest! {
    #[test]
    fn parse_is_idempotent(host in "([a-zA-Z0-9]{1,5}\\.?){0,3}", path in "(/[a-z.]{1,3}){0,3}/?") {
        if let Ok(first) = Route::parse(&host, &path) {
            let again = Route::parse(first.host.as_deref().unwrap_or_default(), &first.path);
            prop_assert_eq!(again, Ok(first));
        }
    }
}
