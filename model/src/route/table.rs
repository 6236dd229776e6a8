//! The table that finds the route of a request.

use std::{borrow::Cow, cmp::Ordering, collections::HashMap, sync::Arc};

use super::{Route, path_matches, without_port};

/// Looks up the value for a request's host and path, in a number of comparisons that grows with the
/// logarithm of the number of routes.
///
/// Lookups do not allocate unless the request's host has upper-case letters. Clones share their
/// text, and a change copies only the list of the host that it is about, so that a reader may keep
/// one state of the table while a writer makes the next one.
#[derive(Clone, Debug)]
pub struct RouteTable<T> {
    by_host: HashMap<Arc<str>, Arc<Paths<T>>>,
    any_host: Arc<Paths<T>>,
}

/// Path prefixes with their values, in the order of [`segments`]: a prefix comes directly before
/// everything that it is a prefix of.
#[derive(Clone, Debug)]
struct Paths<T>(Vec<(Arc<str>, T)>);

// === impl RouteTable ===

impl<T: Clone> RouteTable<T> {
    /// Sets the value of a route, replacing an earlier one.
    pub fn insert(&mut self, route: &Route, value: T) {
        let paths = match &route.host {
            None => &mut self.any_host,
            Some(host) => self.by_host.entry(host.as_str().into()).or_default(),
        };
        let Paths(paths) = Arc::make_mut(paths);
        match search(paths, &route.path) {
            Ok(index) => paths[index].1 = value,
            Err(index) => paths.insert(index, (route.path.as_str().into(), value)),
        }
    }

    /// Removes a route, if it exists.
    pub fn remove(&mut self, route: &Route) {
        let paths = match &route.host {
            None => Some(&mut self.any_host),
            Some(host) => self.by_host.get_mut(host.as_str()),
        };
        let Some(paths) = paths else { return };
        if let Ok(index) = search(&paths.0, &route.path) {
            Arc::make_mut(paths).0.remove(index);
        }
        if let Some(host) = &route.host
            && paths.0.is_empty()
        {
            self.by_host.remove(host.as_str());
        }
    }
}

impl<T> RouteTable<T> {
    /// Returns the value of the best route: this host (with or without port) before any host, then
    /// the longest path.
    pub fn lookup(&self, host: &str, path: &str) -> Option<&T> {
        let host = lower_case(without_port(host));
        let own = self.by_host.get(host.as_ref());
        let own = own.and_then(|paths| paths.longest(path));
        own.or_else(|| self.any_host.longest(path))
    }

    /// Returns the value of exactly this route, whose host is in lower case, or empty for any host.
    pub fn get(&self, host: &str, path: &str) -> Option<&T> {
        let paths = match host {
            "" => &self.any_host,
            _ => self.by_host.get(host)?,
        };
        let index = search(&paths.0, path).ok()?;
        Some(&paths.0[index].1)
    }

    /// Returns every value.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        let hosts = self.by_host.values().chain([&self.any_host]);
        hosts.flat_map(|paths| paths.0.iter().map(|(_, value)| value))
    }
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self {
            by_host: HashMap::new(),
            any_host: Arc::default(),
        }
    }
}

// === impl Paths ===

impl<T> Paths<T> {
    /// Returns the value of the longest prefix of `path`.
    ///
    /// All of its prefixes are at most as large as the path itself. The largest such entry is
    /// either the longest of them, or differs from the path in a segment. In that case the prefixes
    /// are also prefixes of the part that both have in common, so the search continues with this
    /// shorter path.
    fn longest(&self, path: &str) -> Option<&T> {
        let mut entries = self.0.as_slice();
        let mut path = path;
        loop {
            let count = entries.partition_point(|(prefix, _)| compare(prefix, path).is_le());
            entries = &entries[..count];
            let (prefix, value) = entries.last()?;
            if path_matches(prefix, path) {
                return Some(value);
            }
            path = common(prefix, path)?;
        }
    }
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

fn search<T>(paths: &[(Arc<str>, T)], path: &str) -> Result<usize, usize> {
    paths.binary_search_by(|(known, _)| compare(known, path))
}

/// Compares paths segment by segment. The root is a single empty segment, with which every path
/// begins.
fn compare(one: &str, other: &str) -> Ordering {
    #[cfg(test)]
    tests::COMPARED.set(tests::COMPARED.get() + 1);
    let rank = |byte: u8| match byte {
        b'/' => 0,
        other => u16::from(other) + 1,
    };
    let (one, other) = (segments(one).bytes(), segments(other).bytes());
    one.map(rank).cmp(other.map(rank))
}

fn segments(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

/// Returns the segments with which both paths begin, or `None` if there are none.
fn common<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    let pairs = segments(prefix).bytes().zip(path.bytes());
    let same = pairs.take_while(|(one, other)| one == other).count();
    // The last segment of the common bytes is a whole one only if both paths have a boundary there.
    let is_boundary = |text: &str| text.len() == same || text.as_bytes()[same] == b'/';
    match is_boundary(prefix) && is_boundary(path) {
        true => Some(&path[..same]),
        false => path.as_bytes()[..same]
            .iter()
            .rposition(|byte| *byte == b'/')
            .map(|end| &path[..end]),
    }
}

fn lower_case(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::route::matches;

    fn route(host: &str, path: &str) -> Route {
        Route::parse(host, path).unwrap()
    }

    fn table<T: Clone>(entries: impl IntoIterator<Item = (Route, T)>) -> RouteTable<T> {
        let mut table = RouteTable::default();
        for (route, value) in entries {
            table.insert(&route, value);
        }
        table
    }

    #[test]
    fn table_prefers_the_host_then_the_longest_path() {
        let table = table([
            (route("", "/"), "any"),
            (route("", "/only-any"), "any/only-any"),
            (route("a", "/api"), "a/api"),
            (route("a", "/api/v2"), "a/api/v2"),
            (route("b", "/"), "b before"),
            (route("b", "/"), "b"),
        ]);
        for (host, path, expected) in [
            ("a", "/api/v1", Some("a/api")),
            ("a:80", "/api/v2/x", Some("a/api/v2")),
            ("A", "/api/v2x", Some("a/api")),
            ("a", "/", Some("any")),
            ("a", "/only-any", Some("any/only-any")),
            ("b", "/only-any", Some("b")),
            ("c", "/x", Some("any")),
            ("c", "*", None),
        ] {
            assert_eq!(table.lookup(host, path).copied(), expected, "{host}{path}");
        }
        assert_eq!(table.get("a", "/api/v2"), Some(&"a/api/v2"));
        assert_eq!(table.get("a", "/api/v2/x"), None);
        assert_eq!(table.get("", "/"), Some(&"any"));
        assert_eq!(RouteTable::<()>::default().lookup("a", "/"), None);
    }

    #[test]
    fn a_changed_table_is_as_if_it_had_been_so_from_the_beginning() {
        let mut changed = table([(route("a", "/"), 1), (route("", "/x"), 2)]);
        let before = changed.clone();
        changed.insert(&route("a", "/api"), 3);
        changed.insert(&route("a", "/"), 5);
        changed.insert(&route("b", "/"), 6);
        assert_eq!(changed.lookup("a", "/api/v1"), Some(&3));
        assert_eq!(changed.lookup("a", "/other"), Some(&5));
        assert_eq!(before.lookup("a", "/api/v1"), Some(&1));
        changed.remove(&route("a", "/api"));
        changed.remove(&route("a", "/none"));
        changed.remove(&route("b", "/"));
        assert_eq!(changed.lookup("a", "/api/v1"), Some(&5));
        assert_eq!(changed.lookup("b", "/x"), Some(&2));
        changed.remove(&route("", "/x"));
        assert_eq!(changed.lookup("b", "/x"), None);
        changed.remove(&route("a", "/"));
        assert!(changed.by_host.is_empty() && changed.any_host.0.is_empty());
        assert_eq!(before.values().count(), 2);
    }

    #[test]
    fn a_change_copies_only_the_paths_of_its_host() {
        let mut changed = table([(route("a", "/"), 1), (route("b", "/"), 2)]);
        let before = changed.clone();
        changed.insert(&route("a", "/api"), 3);
        assert!(Arc::ptr_eq(&before.by_host["b"], &changed.by_host["b"]));
        assert!(!Arc::ptr_eq(&before.by_host["a"], &changed.by_host["a"]));
        let text = |table: &RouteTable<_>| Arc::clone(&table.by_host["a"].0[0].0);
        assert!(Arc::ptr_eq(&text(&before), &text(&changed)));
    }

    thread_local! {
        /// The number of calls of [`compare`] on this thread.
        pub(super) static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn a_thousand_routes_cost_a_lookup_few_comparisons() {
        for host in ["", "a"] {
            let routes = (0..1000).map(|number| route(host, &format!("/number-{number}")));
            let table = table(routes.map(|route| (route.clone(), route)));
            for path in ["/number-500", "/number-999/x", "/none", "/zzz/x/y/z", "/"] {
                COMPARED.set(0);
                table.lookup("a", path);
                assert!(COMPARED.get() <= 24, "{} for {path}", COMPARED.get());
            }
        }
    }

    fn any_route() -> impl Strategy<Value = Route> {
        ("[ab]?", "(/[ab.]{1,2}){0,3}")
            .prop_filter_map("a route", |(host, path)| Route::parse(&host, &path).ok())
    }

    proptest! {
        #[test]
        fn table_agrees_with_matches(
            routes in prop::collection::vec(any_route(), 0..12),
            removed in prop::collection::vec(any_route(), 0..3),
            host in "[abc]",
            path in "/[ab.]{0,2}(/[ab.]{0,2}){0,3}|\\*|",
        ) {
            let mut table = table(routes.iter().cloned().map(|route| (route.clone(), route)));
            removed.iter().for_each(|route| table.remove(route));
            let best = routes
                .iter()
                .filter(|route| !removed.contains(route) && matches(route, &host, &path))
                .max_by_key(|route| (route.host.is_some(), route.path.len()));
            prop_assert_eq!(table.lookup(&host, &path), best);
            for route in &routes {
                let found = table.get(route.host.as_deref().unwrap_or_default(), &route.path);
                prop_assert_eq!(found, (!removed.contains(route)).then_some(route));
            }
        }
    }
}
