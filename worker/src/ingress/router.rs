//! Decides which of this worker's replicas answers a request.

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

/// The routes of this worker's replicas. Clones are cheap and share the same routes.
#[derive(Clone, Default)]
pub struct Router(Arc<Inner>);

/// The router's result for a host and a path.
pub enum Choice<T = Admitted> {
    /// This replica answers.
    Target(T),
    /// The route exists, but no replica of it is ready.
    NotReady,
    NoRoute,
}

#[derive(Default)]
struct Inner {
    replicas: Mutex<BTreeMap<String, Replica>>,
    /// Rebuilt when routes change and replaced as a whole, so a lookup holds the lock only for one
    /// `Arc::clone`.
    table: RwLock<Arc<Table>>,
}

struct Replica {
    routes: Vec<(Route, Arc<dyn HttpTarget>)>,
    /// Shared with the table, so that a change of readiness does not rebuild it.
    ready: Arc<AtomicBool>,
}

type Table = RouteTable<Group>;

/// The route that a request takes.
pub(super) struct Best {
    pub route: Route,
    /// `None` if no replica of the route is ready.
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

    /// Sets the routes of a replica, replacing earlier ones. A new replica is not ready.
    pub fn set(&self, replica: &str, routes: Vec<(Route, Arc<dyn HttpTarget>)>) {
        let mut replicas = self.0.replicas.lock();
        let ready = replicas
            .get(replica)
            .map(|r| Arc::clone(&r.ready))
            .unwrap_or_default();
        replicas.insert(replica.to_owned(), Replica { routes, ready });
        self.0.publish(&replicas);
    }

    /// Sets whether a replica takes requests. Has no effect on one without routes.
    pub fn set_ready(&self, replica: &str, ready: bool) {
        if let Some(replica) = self.0.replicas.lock().get(replica) {
            replica.ready.store(ready, Ordering::Release);
        }
    }

    /// Removes a replica's routes. Requests that it is already answering continue.
    pub fn remove(&self, replica: &str) {
        let mut replicas = self.0.replicas.lock();
        if replicas.remove(replica).is_some() {
            self.0.publish(&replicas);
        }
    }

    /// Returns the replica that answers next for this host (with or without port) and path.
    pub fn choose(&self, host: &str, path: &str) -> Choice {
        match self.best(host, path) {
            None => Choice::NoRoute,
            Some(best) => best.target.map_or(Choice::NotReady, Choice::Target),
        }
    }

    /// Returns the same, with the route that was found.
    pub(super) fn best(&self, host: &str, path: &str) -> Option<Best> {
        let table = Arc::clone(&self.0.table.read());
        table.lookup(host, path).map(|group| Best {
            route: group.route.clone(),
            target: group.next(),
        })
    }

    /// Returns the replica that answers next for exactly this route.
    pub(super) fn exact(&self, route: &Route) -> Option<Admitted> {
        // No route that matches is longer than the route itself.
        let best = self.best(route.host.as_deref().unwrap_or_default(), &route.path)?;
        best.target.filter(|_| best.route == *route)
    }
}

// === impl Inner ===

impl Inner {
    /// Publishes a new table. The caller holds the lock of `replicas`, so that tables appear in the
    /// order of the changes.
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
    /// Returns the next ready member; ready members take turns.
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
        // A member may have stopped being ready since they were counted, or may stop just now. Any
        // other one will do.
        let mut in_turn = ready().skip(turn).chain(ready().take(turn));
        in_turn.find_map(|member| Admitted::by(&member.target))
    }
}

#[cfg(test)]
mod tests;
