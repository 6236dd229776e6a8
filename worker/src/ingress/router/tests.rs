#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use proptest::prelude::*;
use warren_model::route::matches;

use super::*;
use crate::http::{Admission, Body, ClientBody, RequestMeta, plain_text};

/// A target that is recognized by its address. It must have a size, because zero-sized allocations
/// share an address.
struct Unique(#[allow(dead_code, reason = "gives it a size")] u8);

impl HttpTarget for Unique {
    fn admit(&self) -> Option<Admission> {
        Some(Admission::default())
    }

    fn call(
        &self,
        _: Admission,
        _: Request<ClientBody>,
        _: RequestMeta,
    ) -> BoxFuture<'static, Response<Body>> {
        Box::pin(async { plain_text(StatusCode::OK, "") })
    }
}

fn route(host: &str, path: &str) -> Route {
    Route::parse(host, path).unwrap()
}

/// The router as its users see it, without any table.
#[derive(Default)]
struct Naive {
    replicas: BTreeMap<String, (Vec<Route>, bool)>,
    others: BTreeSet<Route>,
}

#[derive(Debug, PartialEq)]
enum Answer {
    NoRoute,
    NotReady,
    OneOf(BTreeSet<String>),
    Other(Route),
}

impl Naive {
    fn answer(&self, host: &str, path: &str) -> Answer {
        let all = self.replicas.values().flat_map(|(routes, _)| routes);
        let best = all
            .chain(&self.others)
            .filter(|route| matches(route, host, path))
            .max_by_key(|route| (route.host.is_some(), route.path.len()));
        let Some(best) = best else {
            return Answer::NoRoute;
        };
        let ready: BTreeSet<String> = self
            .replicas
            .iter()
            .filter(|(_, (routes, ready))| *ready && routes.contains(best))
            .map(|(id, _)| id.clone())
            .collect();
        match ready.is_empty() {
            false => Answer::OneOf(ready),
            true if self.others.contains(best) => Answer::Other(best.clone()),
            true => Answer::NotReady,
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Set(u8, Vec<(usize, usize)>),
    Ready(u8, bool),
    Remove(u8),
    /// The routes of other workers: all of them, or those that are removed and added.
    SetOthers(BTreeSet<Route>),
    MoreOthers(BTreeSet<Route>, BTreeSet<Route>),
}

const HOSTS: [&str; 4] = ["", "a.localhost", "b.localhost", "A.localhost"];
const PATHS: [&str; 5] = ["/", "/api", "/api/v1", "/apix", "/other/"];

fn change() -> impl Strategy<Value = Change> {
    let routes = prop::collection::btree_set((0..HOSTS.len(), 0..PATHS.len()), 0..4);
    prop_oneof![
        (0..4_u8, routes).prop_map(|(id, routes)| Change::Set(id, routes.into_iter().collect())),
        (0..4_u8, any::<bool>()).prop_map(|(id, ready)| Change::Ready(id, ready)),
        (0..4_u8).prop_map(Change::Remove),
        others().prop_map(Change::SetOthers),
        (others(), others()).prop_map(|(removed, added)| Change::MoreOthers(removed, added)),
    ]
}

fn others() -> impl Strategy<Value = BTreeSet<Route>> {
    let route = (0..HOSTS.len(), 0..PATHS.len()).prop_map(|(h, p)| route(HOSTS[h], PATHS[p]));
    prop::collection::btree_set(route, 0..4)
}

/// Returns the way to workers that cannot be reached.
fn remotes(routes: &BTreeSet<Route>) -> Vec<Arc<Remote>> {
    let remotes = routes.iter().cloned();
    remotes
        .map(|route| Arc::new(Remote::new(route, Vec::new())))
        .collect()
}

proptest! {
    #[test]
    fn chooses_as_the_naive_router_does(changes in prop::collection::vec(change(), 0..20)) {
        let (router, mut naive) = (Router::new(), Naive::default());
        let mut targets: BTreeMap<String, Arc<dyn HttpTarget>> = BTreeMap::new();
        for change in changes {
            match change {
                Change::Set(id, routes) => {
                    let id = id.to_string();
                    // Each occurs once, as in a valid spec.
                    let routes: BTreeSet<_> =
                        routes.iter().map(|(h, p)| route(HOSTS[*h], PATHS[*p])).collect();
                    let target = targets.entry(id.clone()).or_insert_with(|| Arc::new(Unique(0)));
                    router.set(&id, routes.iter().map(|r| (r.clone(), Arc::clone(target))).collect());
                    naive.replicas.entry(id).or_default().0 = routes.into_iter().collect();
                }
                Change::Ready(id, ready) => {
                    router.set_ready(&id.to_string(), ready);
                    if let Some(replica) = naive.replicas.get_mut(&id.to_string()) {
                        replica.1 = ready;
                    }
                }
                Change::Remove(id) => {
                    router.remove(&id.to_string());
                    naive.replicas.remove(&id.to_string());
                }
                Change::SetOthers(routes) => {
                    router.set_others(remotes(&routes));
                    naive.others = routes;
                }
                Change::MoreOthers(removed, added) => {
                    let gone: Vec<_> = removed.iter().cloned().collect();
                    router.change_others(&gone, remotes(&added));
                    naive.others.retain(|route| !removed.contains(route));
                    naive.others.extend(added);
                }
            }
            for host in ["a.localhost", "B.LOCALHOST:8000", "c.localhost", ""] {
                for path in ["/", "/api", "/api/v1/x", "/apix", "/other", "/none", "*", ""] {
                    let id = |target: &Arc<dyn HttpTarget>| {
                        targets.iter().find(|(_, t)| Arc::ptr_eq(t, target)).unwrap().0.clone()
                    };
                    let wanted = naive.answer(host, path);
                    // Every replica whose turn it may be gets it.
                    let turns = if let Answer::OneOf(ids) = &wanted { ids.len() } else { 1 };
                    let mut found = BTreeSet::new();
                    let mut answer = Answer::NoRoute;
                    for _ in 0..turns {
                        answer = match router.choose(host, path) {
                            Choice::NoRoute => Answer::NoRoute,
                            Choice::NotReady => Answer::NotReady,
                            Choice::Other(remote) => Answer::Other(remote.route.clone()),
                            Choice::Own(target) => {
                                found.insert(id(&target.target));
                                Answer::OneOf(found.clone())
                            }
                        };
                    }
                    prop_assert_eq!(answer, wanted, "{} {}", host, path);
                }
            }
        }
    }
}

#[test]
fn ready_replicas_take_turns_and_others_get_none() {
    let router = Router::new();
    let targets: Vec<Arc<dyn HttpTarget>> = (0..3).map(|i| Arc::new(Unique(i)) as _).collect();
    for (i, target) in targets.iter().enumerate() {
        router.set(&i.to_string(), vec![(route("", "/"), Arc::clone(target))]);
        router.set_ready(&i.to_string(), i != 1);
    }
    let mut counts = [0; 3];
    for _ in 0..100 {
        let Choice::Own(target) = router.choose("any", "/x") else {
            panic!("no target")
        };
        counts[targets
            .iter()
            .position(|t| Arc::ptr_eq(t, &target.target))
            .unwrap()] += 1;
    }
    assert_eq!(counts, [50, 0, 50]);
}

#[test]
fn new_routes_keep_readiness_and_a_new_replica_has_none() {
    let router = Router::new();
    router.set_ready("r", true);
    router.set("r", vec![(route("", "/"), Arc::new(Unique(0)))]);
    assert!(matches!(router.choose("h", "/"), Choice::NotReady));
    router.set_ready("r", true);
    router.set("r", vec![(route("", "/new"), Arc::new(Unique(0)))]);
    assert!(matches!(router.choose("h", "/new"), Choice::Own(_)));
    assert!(matches!(router.choose("h", "/"), Choice::NoRoute));
    router.remove("r");
    router.set("r", vec![(route("", "/new"), Arc::new(Unique(0)))]);
    assert!(matches!(router.choose("h", "/new"), Choice::NotReady));
}

#[test]
fn the_table_is_empty_once_nothing_answers() {
    let router = Router::new();
    router.set("r", vec![(route("a", "/"), Arc::new(Unique(0)))]);
    let routes = BTreeSet::from([route("a", "/"), route("", "/x")]);
    router.set_others(remotes(&routes));
    assert_eq!(router.0.table.read().values().count(), 2);
    router.remove("r");
    assert!(matches!(router.choose("a", "/"), Choice::Other(_)));
    router.set_others(Vec::new());
    assert_eq!(router.0.table.read().values().count(), 0);
}
