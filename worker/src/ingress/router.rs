//! Which replica answers a request.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use warren_model::route::{Route, RouteTable};

use crate::http::{Admitted, HttpTarget};

/// The routes of this worker's replicas. Cheap to clone; all clones are one router.
#[derive(Clone, Default)]
pub struct Router(Arc<Inner>);

/// What the router says about a host and a path.
pub enum Choice<T = Admitted> {
    /// This replica answers.
    Target(T),
    /// The route exists, and no replica of it is ready.
    NotReady,
    NoRoute,
}

#[derive(Default)]
struct Inner {
    replicas: Mutex<BTreeMap<String, Replica>>,
    /// Built anew when routes change and swapped whole: a lookup holds the lock for one
    /// `Arc::clone`.
    table: RwLock<Arc<Table>>,
}

struct Replica {
    routes: Vec<(Route, Arc<dyn HttpTarget>)>,
    /// Shared with the table, so that a change of readiness builds nothing.
    ready: Arc<AtomicBool>,
}

type Table = RouteTable<Group>;

/// The route that a request takes.
pub(super) struct Best {
    pub route: Route,
    /// `None`: no replica of it is ready.
    pub target: Option<Admitted>,
}

/// Every replica of one route.
struct Group {
    route: Route,
    members: Vec<Member>,
    turn: AtomicUsize,
}

struct Member {
    ready: Arc<AtomicBool>,
    target: Arc<dyn HttpTarget>,
}

// === impl Router ===

impl Router {
    pub fn new() -> Self {
        Self::default()
    }

    /// The routes of a replica, in place of those that it had. A new replica is not ready.
    pub fn set(&self, replica: &str, routes: Vec<(Route, Arc<dyn HttpTarget>)>) {
        let mut replicas = self.0.replicas.lock();
        let ready = replicas
            .get(replica)
            .map(|r| Arc::clone(&r.ready))
            .unwrap_or_default();
        replicas.insert(replica.to_owned(), Replica { routes, ready });
        self.0.publish(&replicas);
    }

    /// Whether a replica takes requests. Without effect on one that has no routes.
    pub fn set_ready(&self, replica: &str, ready: bool) {
        if let Some(replica) = self.0.replicas.lock().get(replica) {
            replica.ready.store(ready, Ordering::Release);
        }
    }

    /// Takes a replica's routes away; requests that it is answering are its own to finish.
    pub fn remove(&self, replica: &str) {
        let mut replicas = self.0.replicas.lock();
        if replicas.remove(replica).is_some() {
            self.0.publish(&replicas);
        }
    }

    /// The replica that answers next for this host (with or without port) and path.
    pub fn choose(&self, host: &str, path: &str) -> Choice {
        match self.best(host, path) {
            None => Choice::NoRoute,
            Some(best) => best.target.map_or(Choice::NotReady, Choice::Target),
        }
    }

    /// The same, with the route that was found.
    pub(super) fn best(&self, host: &str, path: &str) -> Option<Best> {
        let table = Arc::clone(&self.0.table.read());
        table.lookup(host, path).map(|group| Best {
            route: group.route.clone(),
            target: group.next(),
        })
    }

    /// The replica that answers next for this route and no other.
    pub(super) fn exact(&self, route: &Route) -> Option<Admitted> {
        // Nothing is longer than the route itself.
        let best = self.best(route.host.as_deref().unwrap_or_default(), &route.path)?;
        best.target.filter(|_| best.route == *route)
    }
}

// === impl Inner ===

impl Inner {
    /// Called under the lock of `replicas`, so that tables appear in the order of the changes.
    fn publish(&self, replicas: &BTreeMap<String, Replica>) {
        let mut groups: BTreeMap<Route, Group> = BTreeMap::new();
        for replica in replicas.values() {
            for (route, target) in &replica.routes {
                let ready = Arc::clone(&replica.ready);
                let member = Member {
                    ready,
                    target: Arc::clone(target),
                };
                let group = groups.entry(route.clone()).or_insert_with(|| Group {
                    route: route.clone(),
                    members: Vec::new(),
                    turn: AtomicUsize::new(0),
                });
                group.members.push(member);
            }
        }
        *self.table.write() = Arc::new(RouteTable::new(groups));
    }
}

// === impl Group ===

impl Group {
    /// Ready members take turns.
    fn next(&self) -> Option<Admitted> {
        let ready = || {
            self.members
                .iter()
                .filter(|m| m.ready.load(Ordering::Acquire))
        };
        let count = ready().count();
        if count == 0 {
            return None;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        // One may have stopped being ready since they were counted, or stops just now: any other
        // will do.
        let mut in_turn = ready().skip(turn).chain(ready().take(turn));
        in_turn.find_map(|member| Admitted::by(&member.target))
    }
}

#[cfg(test)]
mod tests;
