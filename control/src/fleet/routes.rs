//! The routing table of the fleet: which workers serve each route. All sessions share it, and it is
//! updated as replicas change.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use warren_model::name::{Name, WorkloadId};
use warren_proto::v1::{self, replica::Phase};

use crate::index::Index;

/// The number of routes that are announced. A route beyond it is served only by the workers that
/// run it.
const MAX_ROUTES: usize = 20_000;
/// The number of workers that are announced for one route: enough to find one that answers.
const MAX_PLACES: usize = 32;
/// The number of changes that a session may lag behind before it is sent the whole table again.
const BEHIND: usize = 1024;
/// The number of workloads whose changes are sent in one message.
const BATCH: usize = 256;
/// The interval between two messages, multiplied by the number of sessions. A single change is sent
/// at once and a burst of changes in a few messages, so that a large fleet costs no more CPU than a
/// small one.
const PACE_PER_SESSION: Duration = Duration::from_micros(100);
/// The longest time that a change waits to be sent together with others.
const MAX_PACE: Duration = Duration::from_millis(100);

/// The key of a route in the map: host and path.
type Key = (String, String);

/// The table, and the sessions that follow its changes.
pub struct RouteBoard {
    table: Mutex<Table>,
    changes: broadcast::Sender<Arc<v1::FleetRoutes>>,
}

#[derive(Default)]
struct Table {
    version: u64,
    routes: BTreeMap<Key, Entry>,
    /// The routes that each workload has in `routes`.
    of: HashMap<WorkloadId, BTreeSet<Key>>,
}

/// One route.
struct Entry {
    /// A route moves from one workload to another, and news of the two come in any order.
    owner: WorkloadId,
    places: Vec<v1::RoutePlace>,
}

/// The changes that one session still has to send.
pub(super) struct RouteNews {
    board: Arc<RouteBoard>,
    /// `None` if the whole table is to be sent first.
    changes: Option<broadcast::Receiver<Arc<v1::FleetRoutes>>>,
}

// === impl RouteBoard ===

impl Default for RouteBoard {
    fn default() -> Self {
        Self {
            table: Mutex::default(),
            changes: broadcast::Sender::new(BEHIND),
        }
    }
}

impl RouteBoard {
    /// Loads everything that the index holds at once, so that no session receives an incomplete
    /// table, and then returns a future that follows the changes until cancelled.
    pub fn follow(
        self: Arc<Self>,
        index: Arc<Index>,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send {
        let touched = index.touched();
        self.update(&index, index.ids());
        self.keep(index, touched, shutdown)
    }

    async fn keep(
        self: Arc<Self>,
        index: Arc<Index>,
        mut touched: broadcast::Receiver<WorkloadId>,
        shutdown: CancellationToken,
    ) {
        loop {
            let first = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                first = touched.recv() => first,
            };
            let mut ids = match first {
                Ok(id) => BTreeSet::from([id]),
                Err(broadcast::error::RecvError::Closed) => return,
                Err(broadcast::error::RecvError::Lagged(_)) => self.all(&index),
            };
            while ids.len() < BATCH {
                match touched.try_recv() {
                    Ok(id) => _ = ids.insert(id),
                    Err(broadcast::error::TryRecvError::Lagged(_)) => ids = self.all(&index),
                    Err(_) => break,
                }
            }
            if self.update(&index, ids) {
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(pace(self.changes.receiver_count())) => {}
                }
            }
        }
    }

    /// Every workload that there is or was.
    fn all(&self, index: &Index) -> BTreeSet<WorkloadId> {
        let known = self.table.lock().of.keys().cloned().collect::<Vec<_>>();
        index.ids().into_iter().chain(known).collect()
    }

    /// Updates these workloads' routes and announces what changed, if anything did.
    fn update(&self, index: &Index, ids: impl IntoIterator<Item = WorkloadId>) -> bool {
        let mut table = self.table.lock();
        let mut news = v1::FleetRoutes::default();
        for id in ids {
            table.put(&id, present(index, &id), &mut news);
        }
        if news == v1::FleetRoutes::default() {
            return false;
        }
        table.version += 1;
        news.version = table.version;
        // Done under the lock, so that a reader of the table misses nothing. It is not an error if
        // there is no receiver.
        let _ = self.changes.send(Arc::new(news));
        true
    }

    /// Returns the whole table and its later changes, for a session that has sent nothing yet.
    pub(super) fn news(self: &Arc<Self>) -> RouteNews {
        RouteNews {
            board: Arc::clone(self),
            changes: None,
        }
    }

    fn whole(&self) -> (v1::FleetRoutes, broadcast::Receiver<Arc<v1::FleetRoutes>>) {
        let table = self.table.lock();
        let routes = table.routes.iter();
        let whole = v1::FleetRoutes {
            version: table.version,
            complete: true,
            routes: routes
                .map(|(key, entry)| told(key, &entry.places))
                .collect(),
            removed: Vec::new(),
        };
        (whole, self.changes.subscribe())
    }
}

// === impl Table ===

impl Table {
    /// Replaces the routes of a workload, each with the places where it is served.
    fn put(
        &mut self,
        id: &WorkloadId,
        routes: BTreeMap<Key, Vec<v1::RoutePlace>>,
        news: &mut v1::FleetRoutes,
    ) {
        let before = self.of.remove(id).unwrap_or_default();
        for key in before.iter().filter(|key| !routes.contains_key(*key)) {
            if self.routes.get(key).is_some_and(|entry| entry.owner == *id) {
                self.routes.remove(key);
                news.routes.retain(|told| told.route != Some(route(key)));
                news.removed.push(route(key));
            }
        }
        let mut held = BTreeSet::new();
        for (key, places) in routes {
            let known = self.routes.get(&key);
            if known.is_none() && self.routes.len() >= MAX_ROUTES {
                tracing::warn!(workload = %id, "the fleet has too many routes: some are not announced to other workers");
                continue;
            }
            if known.is_none_or(|entry| entry.places != places) {
                news.removed.retain(|removed| *removed != route(&key));
                news.routes.retain(|told| told.route != Some(route(&key)));
                news.routes.push(told(&key, &places));
            }
            let owner = id.clone();
            self.routes.insert(key.clone(), Entry { owner, places });
            held.insert(key);
        }
        if !held.is_empty() {
            self.of.insert(id.clone(), held);
        }
    }
}

// === impl RouteNews ===

impl RouteNews {
    /// Returns what to send next as soon as there is something. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Arc<v1::FleetRoutes> {
        if let Some(changes) = &mut self.changes
            && let Ok(change) = changes.recv().await
        {
            return change;
        }
        // It is the first time, or the session fell behind.
        let (whole, changes) = self.board.whole();
        self.changes = Some(changes);
        Arc::new(whole)
    }
}

/// Returns a workload's routes and the workers that have ready replicas of it.
fn present(index: &Index, id: &WorkloadId) -> BTreeMap<Key, Vec<v1::RoutePlace>> {
    let observed = index.observe(id);
    let Some(workload) = observed.workload else {
        return BTreeMap::new();
    };
    // The text is read, not the parsed spec: a workload whose spec this version of Warren cannot
    // read still runs, and keeps its routes.
    let spec = workload.value.spec.as_ref();
    let service = spec.and_then(|spec| spec.service.as_ref());
    let service = service.into_iter().flat_map(|service| &service.routes);
    let service = service.map(|route| (route.host.clone(), route.path.clone()));
    let components = spec.into_iter().flat_map(|spec| &spec.components);
    let components = components.flat_map(|component| &component.routes);
    let components = components.map(|route| (route.host.clone(), route.path.clone()));
    let keys: BTreeSet<Key> = service.chain(components).collect();
    if keys.is_empty() {
        return BTreeMap::new();
    }
    let ready = observed.replicas.iter().map(|held| &held.value);
    let ready = ready.filter(|held| held.replica.ready && held.phase() == Phase::Running);
    let workers: BTreeSet<&str> = ready.map(|held| held.replica.worker.as_str()).collect();
    let place = |name: &str| {
        let worker = index.worker(&Name::parse(name).ok()?)?.worker;
        Some(v1::RoutePlace {
            worker: worker.name.clone(),
            address: worker.address.clone(),
        })
    };
    let places: Vec<_> = workers
        .into_iter()
        .filter_map(place)
        .take(MAX_PLACES)
        .collect();
    keys.into_iter().map(|key| (key, places.clone())).collect()
}

/// Returns how long to wait after a message to this many sessions.
fn pace(sessions: usize) -> Duration {
    let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
    PACE_PER_SESSION.saturating_mul(sessions).min(MAX_PACE)
}

fn route((host, path): &Key) -> v1::Route {
    v1::Route {
        host: host.clone(),
        path: path.clone(),
    }
}

fn told(key: &Key, places: &[v1::RoutePlace]) -> v1::RoutePlaces {
    v1::RoutePlaces {
        route: Some(route(key)),
        places: places.to_vec(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt as _;
    use warren_model::name::Name;

    use super::*;

    fn id(name: &str) -> WorkloadId {
        WorkloadId {
            namespace: Name::parse("default").unwrap(),
            name: Name::parse(name).unwrap(),
        }
    }

    fn routes(routes: Hosts<'_>) -> BTreeMap<Key, Vec<v1::RoutePlace>> {
        let place = |worker: &&str| v1::RoutePlace {
            worker: (*worker).to_owned(),
            address: format!("http://{worker}:7701"),
        };
        let entry = |(host, workers): &(&str, &[&str])| {
            let key = ((*host).to_owned(), "/".to_owned());
            (key, workers.iter().map(place).collect())
        };
        routes.iter().map(entry).collect()
    }

    /// Returns the table of a worker that received all these changes.
    #[derive(Default)]
    struct Told(BTreeMap<String, Vec<String>>);

    impl Told {
        fn hear(&mut self, news: &v1::FleetRoutes) {
            if news.complete {
                self.0.clear();
            }
            for gone in &news.removed {
                self.0.remove(&gone.host);
            }
            for told in &news.routes {
                let workers = told.places.iter().map(|place| place.worker.clone());
                let host = told.route.clone().unwrap().host;
                self.0.insert(host, workers.collect());
            }
        }

        fn shown(&self) -> Vec<String> {
            let shown = self.0.iter();
            shown
                .map(|(host, workers)| format!("{host}:{}", workers.join("+")))
                .collect()
        }
    }

    /// The hosts, each with the workers that serve it.
    type Hosts<'a> = &'a [(&'a str, &'a [&'a str])];

    fn put(board: &RouteBoard, changes: &[(&str, Hosts<'_>)]) {
        let mut table = board.table.lock();
        let mut news = v1::FleetRoutes::default();
        for (name, held) in changes {
            table.put(&id(name), routes(held), &mut news);
        }
        if news != v1::FleetRoutes::default() {
            table.version += 1;
            news.version = table.version;
            let _ = board.changes.send(Arc::new(news));
        }
    }

    #[test]
    fn a_session_hears_the_whole_table_and_then_what_changes() {
        let board = Arc::new(RouteBoard::default());
        put(
            &board,
            &[
                ("a", &[("a.localhost", &["w1", "w2"])]),
                ("b", &[("b.localhost", &[])]),
            ],
        );
        let (mut news, mut told) = (board.news(), Told::default());
        let first = news.next().now_or_never().unwrap();
        assert!(first.complete);
        told.hear(&first);
        assert_eq!(told.shown(), ["a.localhost:w1+w2", "b.localhost:"]);

        put(&board, &[("a", &[("a.localhost", &["w1", "w2"])])]);
        assert!(news.next().now_or_never().is_none(), "nothing is new");
        put(&board, &[("b", &[("b.localhost", &["w2"])])]);
        let change = news.next().now_or_never().unwrap();
        assert!(!change.complete && change.version > first.version);
        assert_eq!(change.routes.len(), 1, "what did not change is not told");
        told.hear(&change);
        // A route that moves from one workload to another within one update is not lost.
        put(
            &board,
            &[("b", &[]), ("c", &[("b.localhost", &["w3"])]), ("a", &[])],
        );
        told.hear(&news.next().now_or_never().unwrap());
        assert_eq!(told.shown(), ["b.localhost:w3"]);
        put(&board, &[("a", &[("b.localhost", &["w3"])]), ("c", &[])]);
        put(&board, &[("a", &[("b.localhost", &["w4"])])]);
        told.hear(&news.next().now_or_never().unwrap());
        assert_eq!(told.shown(), ["b.localhost:w4"]);
        put(&board, &[("a", &[])]);
        told.hear(&news.next().now_or_never().unwrap());
        assert!(told.shown().is_empty());
        let table = board.table.lock();
        assert!(
            table.routes.is_empty() && table.of.is_empty(),
            "nothing is left behind"
        );
    }

    #[test]
    fn a_session_that_falls_behind_is_sent_the_whole_table_again() {
        let board = Arc::new(RouteBoard::default());
        let (mut news, mut told) = (board.news(), Told::default());
        told.hear(&news.next().now_or_never().unwrap());
        for turn in 0..=2 * BEHIND {
            let worker: &[&str] = if turn % 2 == 0 { &["w1"] } else { &["w2"] };
            put(&board, &[("a", &[("a.localhost", worker)])]);
        }
        let again = news.next().now_or_never().unwrap();
        assert!(again.complete);
        told.hear(&again);
        assert_eq!(told.shown(), ["a.localhost:w1"]);
        assert!(news.next().now_or_never().is_none());
    }

    #[test]
    fn a_message_to_many_is_followed_by_a_pause_and_one_to_few_hardly() {
        let cases = [(0, 0), (3, 300), (500, 50_000), (100_000, 100_000)];
        for (sessions, micros) in cases {
            assert_eq!(pace(sessions), Duration::from_micros(micros), "{sessions}");
        }
    }
}
