//! Which replica answers a request.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures::future::BoxFuture;
use http::{Request, Response, uri::Scheme};
use hyper::body::Incoming;
use parking_lot::{Mutex, RwLock};
use warren_model::route::{Route, RouteTable};

use super::Body;

/// What answers the requests of a route: a component of one replica, or a port of its service.
pub trait HttpTarget: Send + Sync {
    /// Answers a request. Dropping the future, or the response's body, gives the request up.
    fn call(
        &self,
        request: Request<Incoming>,
        meta: RequestMeta,
    ) -> BoxFuture<'static, Response<Body>>;
}

/// What the request itself does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestMeta {
    /// As the client spoke to the ingress.
    pub scheme: Scheme,
    /// Host and port that the client asked for; empty where HTTP/1.0 named none.
    pub authority: String,
    /// The client.
    pub peer: SocketAddr,
}

/// The routes of this worker's replicas. Cheap to clone; all clones are one router.
#[derive(Clone, Default)]
pub struct Router(Arc<Inner>);

/// What the router says about a host and a path.
pub enum Choice {
    /// This replica answers.
    Target(Arc<dyn HttpTarget>),
    /// The route exists, and no replica of it is ready.
    NotReady,
    NoRoute,
}

#[derive(Default)]
struct Inner {
    replicas: Mutex<BTreeMap<String, Replica>>,
    /// Built anew when routes change and swapped whole: a lookup holds the lock for one `Arc::clone`.
    table: RwLock<Arc<Table>>,
}

struct Replica {
    routes: Vec<(Route, Arc<dyn HttpTarget>)>,
    /// Shared with the table, so that a change of readiness builds nothing.
    ready: Arc<AtomicBool>,
}

type Table = RouteTable<Group>;

/// Every replica of one route.
#[derive(Default)]
struct Group {
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
        let table = Arc::clone(&self.0.table.read());
        match table.lookup(host, path) {
            None => Choice::NoRoute,
            Some(group) => group.next().map_or(Choice::NotReady, Choice::Target),
        }
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
                groups
                    .entry(route.clone())
                    .or_default()
                    .members
                    .push(member);
            }
        }
        *self.table.write() = Arc::new(RouteTable::new(groups));
    }
}

// === impl Group ===

impl Group {
    /// Ready members take turns.
    fn next(&self) -> Option<Arc<dyn HttpTarget>> {
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
        // One may have stopped being ready since they were counted: any other will do.
        let member = ready().nth(turn).or_else(|| ready().next())?;
        Some(Arc::clone(&member.target))
    }
}

#[cfg(test)]
mod tests;
