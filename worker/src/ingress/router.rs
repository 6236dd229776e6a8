//! The one table of routes, which decides what answers a request: a replica of this worker, or
//! another worker.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use warren_model::route::{Route, RouteTable};

use super::peers::Remote;
use crate::http::{Admitted, HttpTarget};

/// The routes of this worker's replicas, and of other workers'. Clones are cheap and share the same
/// routes.
#[derive(Clone, Default)]
pub struct Router(Arc<Inner>);

/// The router's result for a host and a path.
pub(super) enum Choice {
    /// This replica of this worker answers.
    Own(Admitted),
    /// Another worker answers.
    Other(Arc<Remote>),
    /// The route exists, but no replica of it is ready.
    NotReady,
    NoRoute,
}

#[derive(Default)]
struct Inner {
    /// This worker's replicas. Whatever changes the table holds this lock.
    replicas: Mutex<BTreeMap<String, Replica>>,
    /// A change replaces the table as a whole, so the lock is only ever held for a lookup, or to
    /// exchange two pointers.
    table: RwLock<Arc<Table>>,
}

struct Replica {
    routes: Vec<Route>,
    /// Shared with the table, so that a change of readiness does not change the table.
    ready: Arc<AtomicBool>,
}

type Table = RouteTable<Arc<Entry>>;

/// Everything that answers the requests of one route.
#[derive(Clone, Default)]
struct Entry {
    /// The replicas of this worker.
    own: Vec<Member>,
    /// The number of requests that chose between them. Shared by all states of the entry.
    turn: Arc<AtomicUsize>,
    /// Other workers, if the control plane announced the route.
    others: Option<Arc<Remote>>,
}

#[derive(Clone)]
struct Member {
    replica: Arc<str>,
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
        let before = replicas.remove(replica);
        let ready = before.as_ref().map(|before| Arc::clone(&before.ready));
        let new = Replica {
            routes: routes.iter().map(|(route, _)| route.clone()).collect(),
            ready: ready.unwrap_or_default(),
        };
        self.0.change(|table| {
            if let Some(before) = &before {
                before.leave(replica, table);
            }
            let name = Arc::<str>::from(replica);
            for (route, target) in routes {
                let member = Member {
                    replica: Arc::clone(&name),
                    ready: Arc::clone(&new.ready),
                    target,
                };
                update(table, &route, |entry| entry.own.push(member));
            }
        });
        replicas.insert(replica.to_owned(), new);
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
        if let Some(before) = replicas.remove(replica) {
            self.0.change(|table| before.leave(replica, table));
        }
    }

    /// Replaces the routes of other workers.
    pub(super) fn set_others(&self, remotes: Vec<Arc<Remote>>) {
        let _changes = self.0.replicas.lock();
        self.0.change(|table| {
            let known = table.values().filter_map(|entry| entry.others.clone());
            for remote in known.collect::<Vec<_>>() {
                update(table, &remote.route, |entry| entry.others = None);
            }
            add(table, remotes);
        });
    }

    /// Changes the routes of other workers.
    pub(super) fn change_others(&self, removed: &[Route], remotes: Vec<Arc<Remote>>) {
        let _changes = self.0.replicas.lock();
        self.0.change(|table| {
            for route in removed {
                update(table, route, |entry| entry.others = None);
            }
            add(table, remotes);
        });
    }

    /// Chooses what answers a request for this host (with or without port) and path: of the best
    /// route, a replica of this worker, or else another worker.
    pub(super) fn choose(&self, host: &str, path: &str) -> Choice {
        let table = self.0.table.read();
        let Some(entry) = table.lookup(host, path) else {
            return Choice::NoRoute;
        };
        match (entry.next(), &entry.others) {
            (Some(own), _) => Choice::Own(own),
            (None, Some(others)) => Choice::Other(Arc::clone(others)),
            (None, None) => Choice::NotReady,
        }
    }

    /// Returns the replica of this worker that answers next for exactly this route.
    pub(super) fn exact(&self, route: &Route) -> Option<Admitted> {
        let table = self.0.table.read();
        let host = route.host.as_deref().unwrap_or_default();
        table.get(host, &route.path)?.next()
    }
}

fn add(table: &mut Table, remotes: Vec<Arc<Remote>>) {
    for remote in remotes {
        let others = Some(Arc::clone(&remote));
        update(table, &remote.route, |entry| entry.others = others);
    }
}

/// Changes the entry of one route. An entry that nothing answers is removed.
fn update(table: &mut Table, route: &Route, change: impl FnOnce(&mut Entry)) {
    let host = route.host.as_deref().unwrap_or_default();
    let entry = table.get(host, &route.path);
    let mut entry = entry.map_or_else(Entry::default, |entry| Entry::clone(entry));
    change(&mut entry);
    match entry.own.is_empty() && entry.others.is_none() {
        true => table.remove(route),
        false => table.insert(route, Arc::new(entry)),
    }
}

// === impl Inner ===

impl Inner {
    /// Publishes a changed table. The caller holds the lock of `replicas`, so that no change is
    /// lost.
    fn change(&self, change: impl FnOnce(&mut Table)) {
        let mut table = Table::clone(&self.table.read());
        change(&mut table);
        let before = mem::replace(&mut *self.table.write(), Arc::new(table));
        // This may release targets and connections, which no reader should wait for.
        drop(before);
    }
}

// === impl Replica ===

impl Replica {
    fn leave(&self, name: &str, table: &mut Table) {
        for route in &self.routes {
            update(table, route, |entry| {
                entry.own.retain(|member| *member.replica != *name);
            });
        }
    }
}

// === impl Entry ===

impl Entry {
    /// Returns this worker's next ready replica; ready ones take turns.
    fn next(&self) -> Option<Admitted> {
        let ready = || self.own.iter().filter(|m| m.ready.load(Ordering::Acquire));
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
