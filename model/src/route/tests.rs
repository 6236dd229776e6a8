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

#[test]
fn table_prefers_the_host_then_the_longest_path() {
    let table = RouteTable::new([
        (route("", "/"), "any"),
        (route("", "/only-any"), "any/only-any"),
        (route("a", "/api"), "a/api"),
        (route("a", "/api/v2"), "a/api/v2"),
        (route("b", "/"), "b"),
        (route("b", "/"), "b again"),
    ]);
    for (host, path, expected) in [
        ("a", "/api/v1", Some("a/api")),
        ("a:80", "/api/v2/x", Some("a/api/v2")),
        ("A", "/api/v2x", Some("a/api")),
        ("a", "/", Some("any")),
        ("a", "/only-any", Some("any/only-any")),
        ("b", "/only-any", Some("b")),
        ("c", "/x", Some("any")),
    ] {
        assert_eq!(table.lookup(host, path).copied(), expected, "{host}{path}");
    }
    assert_eq!(table.lookup_all("b", "/"), ["b", "b again"]);
    let empty = RouteTable::<()>::default();
    assert_eq!(empty.lookup("a", "/"), None);
    assert!(empty.lookup_all("a", "/").is_empty());
}

#[test]
fn a_replaced_route_is_as_if_it_had_been_so_from_the_beginning() {
    let mut table = RouteTable::new([(route("a", "/"), 1), (route("", "/x"), 2)]);
    table.replace(&route("a", "/api"), vec![3, 4]);
    table.replace(&route("a", "/"), vec![5]);
    table.replace(&route("b", "/"), vec![6]);
    assert_eq!(table.lookup_all("a", "/api/v1"), [3, 4]);
    assert_eq!(table.lookup("a", "/other"), Some(&5));
    table.replace(&route("a", "/api"), vec![]);
    table.replace(&route("a", "/none"), vec![]);
    table.replace(&route("b", "/"), vec![]);
    assert_eq!(table.lookup("a", "/api/v1"), Some(&5));
    assert_eq!(table.lookup("b", "/x"), Some(&2));
    table.replace(&route("", "/x"), vec![]);
    assert_eq!(table.lookup("b", "/x"), None);
    table.replace(&route("a", "/"), vec![]);
    assert!(table.by_host.is_empty() && table.any_host.is_empty());
}

fn any_route() -> impl Strategy<Value = Route> {
    ("[ab]?", "(/[ab]{1,2}){0,3}").prop_map(|(host, path)| route(&host, &path))
}

proptest! {
    #[test]
    fn table_agrees_with_matches(
        routes in prop::collection::vec(any_route(), 0..12),
        host in "[abc]",
        path in "/[ab]{0,2}(/[ab]{0,2}){0,3}",
    ) {
        let table = RouteTable::new(routes.iter().cloned().map(|route| (route.clone(), route)));
        let best = routes
            .iter()
            .filter(|route| matches(route, &host, &path))
            .max_by_key(|route| (route.host.is_some(), route.path.len()));
        prop_assert_eq!(table.lookup(&host, &path), best);
        let all = table.lookup_all(&host, &path);
        prop_assert_eq!(all.len(), routes.iter().filter(|route| Some(*route) == best).count());
    }

    #[test]
    fn parse_is_idempotent(host in "([a-zA-Z0-9]{1,5}\\.?){0,3}", path in "(/[a-z.]{1,3}){0,3}/?") {
        if let Ok(first) = Route::parse(&host, &path) {
            let again = Route::parse(first.host.as_deref().unwrap_or_default(), &first.path);
            prop_assert_eq!(again, Ok(first));
        }
    }
}
