//! Reads the routes of the whole fleet, as the control plane sends them, into the router.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::HeaderValue;
use parking_lot::Mutex;
use warren_model::route::Route;
use warren_proto::v1;

use super::{peer::Peer, wire};
use crate::ingress::Router;

/// Keeps a router's routes of other workers up to date. The last known state is kept while the
/// control plane is away.
pub struct FleetRoutes {
    /// This worker's name. It is not its own peer.
    me: String,
    version: Mutex<u64>,
    router: Router,
    /// The peers by address. A worker to which no route leads is forgotten, with its connections.
    peers: Mutex<HashMap<String, Weak<Peer>>>,
}

/// One route, and the other workers that have ready replicas of it.
pub(in crate::ingress) struct Remote {
    pub route: Route,
    /// The route as forwarded requests name it.
    pub mark: HeaderValue,
    peers: Vec<Arc<Peer>>,
    turn: AtomicUsize,
}

// === impl FleetRoutes ===

impl FleetRoutes {
    /// Sets the routes of `router`. `me` is this worker's name.
    pub fn new(me: &str, router: Router) -> Arc<Self> {
        Arc::new(Self {
            me: me.to_owned(),
            version: Mutex::default(),
            router,
            peers: Mutex::default(),
        })
    }

    /// Takes in a message of the control plane: a whole table, or changes to the previous one.
    pub fn learn(&self, news: v1::FleetRoutes) {
        let mut version = self.version.lock();
        if !news.complete && news.version <= *version {
            tracing::warn!(
                version = news.version,
                seen = *version,
                "dropped an outdated message about routes"
            );
            return;
        }
        *version = news.version;
        let read = |route: &v1::Route| Route::parse(&route.host, &route.path).ok();
        let told = news
            .routes
            .iter()
            .filter_map(|told| Some((read(told.route.as_ref()?)?, &told.places)))
            .map(|(route, places)| Arc::new(self.remote(route, places)))
            .collect();
        if news.complete {
            self.router.set_others(told);
        } else {
            let removed: Vec<_> = news.removed.iter().filter_map(read).collect();
            self.router.change_others(&removed, told);
        }
        let mut peers = self.peers.lock();
        peers.retain(|_, peer| peer.strong_count() > 0);
    }

    fn remote(&self, route: Route, places: &[v1::RoutePlace]) -> Remote {
        let others = places.iter().filter(|place| place.worker != self.me);
        let peers = others.filter_map(|place| self.peer(&place.address));
        Remote::new(route, peers.collect())
    }

    fn peer(&self, address: &str) -> Option<Arc<Peer>> {
        let mut peers = self.peers.lock();
        if let Some(peer) = peers.get(address).and_then(Weak::upgrade) {
            return Some(peer);
        }
        let Some(peer) = Peer::new(address) else {
            tracing::warn!(address, "a worker's address is not an http://HOST:PORT URL");
            return None;
        };
        let peer = Arc::new(peer);
        peers.insert(address.to_owned(), Arc::downgrade(&peer));
        Some(peer)
    }
}

// === impl Remote ===

impl Remote {
    pub fn new(route: Route, peers: Vec<Arc<Peer>>) -> Self {
        Self {
            mark: wire::name(&route),
            route,
            peers,
            turn: AtomicUsize::new(0),
        }
    }

    /// Returns the next peer to try, other than those in `tried`: of the peers that could be
    /// reached, the one with the fewest requests in flight; equals take turns.
    pub fn next(&self, tried: &[Arc<Peer>]) -> Option<Arc<Peer>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.peers.len();
        let in_turn = (0..count).map(|i| &self.peers[(turn.wrapping_add(i)) % count]);
        let rest = in_turn.filter(|peer| !tried.iter().any(|t| Arc::ptr_eq(t, peer)));
        rest.min_by_key(|peer| peer.burden()).cloned()
    }
}
