//! The process: opens the data directory, starts the tasks, serves, and shuts everything down in
//! order.

use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::TcpListener,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::ServiceBuilder;
use warren_model::{ambient, component::Limits, descriptors};
use warren_proto::v1;

use crate::{
    artifact::{ArtifactFiles, Artifacts},
    backup,
    collector::Collector,
    data_dir::{self, ARTIFACTS, STORE},
    dirty::DirtySet,
    events::Events,
    fleet::{
        Fleet, Registry, SessionPlaces, leases::Leases, logs::LogsBroker, newcomers::Newcomers,
        presence, retire::Retention, usage::Usages,
    },
    grpc::{
        Services,
        authz::{AdmitAll, AuthzLayer},
        details::DetailsLayer,
        limits::LimitsLayer,
        routes, tracing as trace,
    },
    identity,
    index::{Index, IndexTask},
    links,
    listen::{self, ClientLimits},
    reconcile::Reconciler,
    state::{State, TERMS_PER_LOSS},
    store::{Durability, OnLoss, Store, StoreError, sled::SledStore, volatile::VolatileStore},
    workload::Workloads,
};

/// The default address that a control plane listens on.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7700";
/// The default time for which a worker may be silent before its replicas are LOST.
pub const DEFAULT_WORKER_TIMEOUT: Duration = Duration::from_secs(10);

/// The default time for which a disconnected worker is remembered.
pub const DEFAULT_WORKER_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// The default time for which a disconnected worker that has never run anything is remembered.
pub const DEFAULT_UNUSED_WORKER_RETENTION: Duration = Duration::from_secs(60);

/// The default number of revisions that are kept for each workload.
pub const DEFAULT_REVISION_HISTORY_LIMIT: usize = 10;

/// The default time for which an artifact that no revision references is kept.
pub const DEFAULT_ARTIFACT_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// The time that connections and tasks have to end after the shutdown begins.
const GRACE: Duration = Duration::from_secs(5);

/// The configuration of a control plane.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory: created if it is missing, and used by one process at a time.
    pub data: PathBuf,
    /// Whether the state is in memory alone and ends with the process. Artifacts are in the data
    /// directory all the same, which must be empty and is not locked.
    pub volatile: bool,
    /// The time of silence after which a worker's replicas are LOST and replaced.
    pub worker_timeout: Duration,
    /// Whether updates stop the old replica before the new one starts, instead of running an extra
    /// one for a while, and a stalled update is not rolled back: for a user who is developing the
    /// workload.
    pub stop_first: bool,
    /// The number of revisions that are kept for each workload, besides those that run or may be
    /// rolled back to; at least 1.
    pub revision_history_limit: usize,
    /// The limits on the contents of a pushed component.
    pub artifact_limits: Limits,
    /// How long an artifact is kept after the last push, or the last revision, that referenced it.
    pub artifact_retention: Duration,
    /// Whether to continue with what is left if the store has lost acknowledged data.
    pub on_loss: OnLoss,
    /// The time after which disconnected workers are forgotten.
    pub worker_retention: Duration,
    /// The same for workers that have never run anything.
    pub unused_worker_retention: Duration,
    /// The limits on what clients and workers may have at once.
    pub limits: ClientLimits,
}

/// The reason why a control plane could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot open the store: {0}")]
    Store(#[from] StoreError),
    #[error(
        "{what}\n\
         bring a backup back with `warren restore FILE --force --data {0}`, or go on with what is left by starting \
         once with `warren control --accept-data-loss --data {0}`",
        data.display()
    )]
    Damaged { data: PathBuf, what: StoreError },
    #[error(
        "a restore into `{0}` was not finished: run `warren restore FILE --data {0}` again",
        data.display()
    )]
    UnfinishedRestore { data: PathBuf },
    #[error("cannot use `{}` as data directory: {source}", data.display())]
    Data { data: PathBuf, source: io::Error },
    #[error("cannot open the artifacts' directory {directory}: {source}")]
    Artifacts {
        directory: PathBuf,
        source: io::Error,
    },
}

/// The reason why a control plane stopped serving.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An error in the build.
    #[error("the control plane's own descriptors cannot be read: {0}")]
    Descriptors(String),
}

/// A control plane that holds its data directory and is ready to serve.
pub struct ControlPlane {
    store: Arc<dyn Store>,
    services: Services,
    collector: Collector,
    index_task: IndexTask,
    reconciler: Reconciler,
    retention: Retention,
    limits: ClientLimits,
}

fn open_artifacts(data: &Path) -> Result<ArtifactFiles, OpenError> {
    let directory = data.join(ARTIFACTS);
    ArtifactFiles::open(&directory).map_err(|source| OpenError::Artifacts { directory, source })
}

// === impl Config ===

impl Config {
    /// Returns the default configuration with this data directory.
    pub fn new(data: PathBuf) -> Self {
        Self {
            data,
            volatile: false,
            worker_timeout: DEFAULT_WORKER_TIMEOUT,
            stop_first: false,
            revision_history_limit: DEFAULT_REVISION_HISTORY_LIMIT,
            artifact_limits: Limits::default(),
            artifact_retention: DEFAULT_ARTIFACT_RETENTION,
            on_loss: OnLoss::Refuse,
            worker_retention: DEFAULT_WORKER_RETENTION,
            unused_worker_retention: DEFAULT_UNUSED_WORKER_RETENTION,
            limits: ClientLimits::default(),
        }
    }
}

// === impl ControlPlane ===

impl ControlPlane {
    /// Locks and opens the data directory, and reads the current state. Raises the process's soft
    /// limit of open files to the hard one.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        match descriptors::raise_limit() {
            Ok(None) => {}
            Ok(Some(raised)) => tracing::info!(
                from = raised.from,
                to = raised.to,
                "raised the soft limit of open files to the hard one"
            ),
            Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
        }
        if config.volatile {
            return Self::open_volatile(&config).await;
        }
        let (data, on_loss) = (config.data.clone(), config.on_loss);
        let opened = tokio::task::spawn_blocking(move || {
            if backup::is_unfinished(&data) {
                return Err(OpenError::UnfinishedRestore { data });
            }
            data_dir::open(&data).map_err(|source| OpenError::Data {
                data: data.clone(),
                source,
            })?;
            let store =
                SledStore::open(&data.join(STORE), on_loss).map_err(|error| match error {
                    what @ StoreError::Damaged(_) => OpenError::Damaged {
                        data: data.clone(),
                        what,
                    },
                    error => error.into(),
                })?;
            // This comes after the store, whose lock is the lock of the data directory.
            Ok((store, open_artifacts(&data)?))
        });
        let (store, artifacts) = opened
            .await
            .map_err(|error| StoreError::Unavailable(format!("opening it ended: {error}")))??;
        if let Some(what) = store.lost() {
            tracing::warn!(what, "the store is damaged; continuing with what is left");
        }
        // The lost data may have included terms that workers have seen, and fences.
        let above = if store.lost().is_some() {
            TERMS_PER_LOSS
        } else {
            1
        };
        let directory = config.data.join(STORE);
        let known = store.lost().and_then(|_| identity::read(&directory));
        let opened = Self::over(Arc::new(store), above, known, artifacts, &config).await?;
        let id = opened.services.fleet.cluster_id.clone();
        let noted = tokio::task::spawn_blocking(move || identity::note(&directory, &id));
        // Only what a later loss costs depends on it.
        if let Err(error) = noted.await.map_err(io::Error::other).flatten() {
            tracing::warn!(%error, "cannot record the store's identity");
        }
        Ok(opened)
    }

    async fn open_volatile(config: &Config) -> Result<Self, OpenError> {
        let data = &config.data;
        data_dir::open(data).map_err(|source| OpenError::Data {
            data: data.clone(),
            source,
        })?;
        let artifacts = open_artifacts(data)?;
        let store = Arc::new(VolatileStore::open().await?);
        Ok(Self::over(store, 1, None, artifacts, config).await?)
    }

    /// Reads the current state of a store and begins a term this many above the last. `known` is
    /// its identity, in case the store has lost it.
    pub(crate) async fn over(
        store: Arc<dyn Store>,
        above: u64,
        known: Option<String>,
        files: ArtifactFiles,
        config: &Config,
    ) -> Result<Self, StoreError> {
        let state = State::new(store.clone());
        let cluster_id = state.cluster_id(known).await?;
        let term = state.begin_term(above).await?;
        tracing::info!(cluster = cluster_id, term, "the store is open");
        // Every store has one, and so has every backup, above which a restore counts on.
        state.next_fence(above).await?;
        let events = Arc::new(Events::load(&state).await?);
        let leases = Leases::starting_now(outlast(&state, config.worker_timeout).await?);
        let dirty = Arc::new(DirtySet::default());
        let (index, index_task) = IndexTask::load(state.clone(), dirty.clone()).await?;
        forget_connections(&state, &index).await?;
        links::plan_earlier(&state, &index).await?;
        // Looks at everything once, to catch up with what happened while the control plane was
        // down.
        dirty.mark(index.ids());
        let registry = Arc::new(Registry::default());
        let fleet = Arc::new(Fleet {
            state: state.clone(),
            index: index.clone(),
            events: events.clone(),
            dirty: dirty.clone(),
            leases: leases.clone(),
            usages: Usages::new(),
            logs: LogsBroker::new(registry.clone()),
            registry,
            routes: Arc::default(),
            listeners: Arc::default(),
            cluster_id,
            term,
            worker_timeout: config.worker_timeout,
            newcomers: Newcomers::default(),
            fences: tokio::sync::Mutex::default(),
            places: SessionPlaces::new(&config.limits),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        });
        let collector = Collector::new(state.clone(), files.clone(), config.artifact_retention);
        let artifacts = Arc::new(Artifacts::new(
            state.clone(),
            index.clone(),
            files.clone(),
            config.artifact_limits.clone(),
            config.artifact_retention,
        ));
        let workloads = Arc::new(Workloads {
            state: state.clone(),
            index: index.clone(),
            events: events.clone(),
            artifacts: files,
            revision_history_limit: config.revision_history_limit.max(1),
        });
        let reconciler = Reconciler {
            state,
            index,
            events,
            leases,
            dirty,
            worker_timeout: config.worker_timeout,
            stop_first: config.stop_first,
            workloads: workloads.clone(),
        };
        let services = Services {
            workloads,
            artifacts,
            fleet,
        };
        Ok(Self {
            store,
            services,
            collector,
            index_task,
            reconciler,
            retention: Retention {
                used: config.worker_retention,
                unused: config.unused_worker_retention,
            },
            limits: config.limits,
        })
    }

    /// Serves until `shutdown` resolves: then health reports NOT_SERVING, streams end, requests in
    /// progress are finished within 5 s, and the store is flushed. If the future is dropped
    /// earlier, it stops as a killed process does.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        let (store, services) = (self.store.clone(), self.services.clone());
        let fleet = services.fleet.clone();
        let ending = fleet.shutdown.clone();
        if let Ok(bound) = listener.local_addr() {
            fleet.listeners.serves(bound);
        }
        // Whichever way this future ends, its tasks end with it.
        let _end = ending.clone().drop_guard();
        let limits = self.limits;
        let background = self.start();
        let watching = fleet.listeners.clone().watch(ending.clone());
        background.spawn(watching);

        let health = HealthReporter::new();
        let descriptors =
            |error: &dyn std::error::Error| ServeError::Descriptors(error.to_string());
        let routes = routes::routes(&services, &health).map_err(|error| descriptors(&error))?;
        let methods = Arc::new(routes::methods().map_err(|error| descriptors(&error))?);
        routes::set_health(&health, ServingStatus::Serving).await;
        let service = ServiceBuilder::new()
            .map_response(|response: http::Response<_>| response.map(Body::new))
            .layer(trace::layer())
            .layer(DetailsLayer(methods.clone()))
            .layer(AuthzLayer(Arc::new(AdmitAll)))
            .layer(LimitsLayer::new(methods, &limits, ending.clone()))
            .service(routes.prepare());
        let server = listen::serve(listener, service, limits, ending.clone());
        let mut server = std::pin::pin!(server);
        tokio::select! {
            () = &mut server => {}
            () = shutdown => {}
        }
        routes::set_health(&health, ServingStatus::NotServing).await;
        ending.cancel();
        fleet.tasks.close();
        background.close();
        let deadline = Instant::now() + GRACE;
        // A connection that is still open by then is closed when the future is dropped.
        if timeout_at(deadline, server.as_mut()).await.is_err() {
            tracing::warn!("connections were cut off at shutdown");
        }
        let tasks = async { tokio::join!(fleet.tasks.wait(), background.wait()) };
        if timeout_at(deadline, tasks).await.is_err() {
            tracing::warn!("tasks were still running at shutdown");
        }
        store.close().await;
        Ok(())
    }
}

impl ControlPlane {
    /// Starts the background tasks, which run until the fleet shuts down.
    pub(crate) fn start(self) -> TaskTracker {
        let Self {
            store: _,
            services,
            collector,
            index_task,
            reconciler,
            retention,
            limits: _,
        } = self;
        let fleet = &services.fleet;
        let ending = fleet.shutdown.clone();
        let background = TaskTracker::new();
        background.spawn(ambient::scheduled(index_task.run(ending.clone())));
        background.spawn(ambient::scheduled(reconciler.run(ending.clone())));
        let (board, index) = (fleet.routes.clone(), fleet.index.clone());
        background.spawn(board.follow(index, ending.clone()));
        let (events, state) = (fleet.events.clone(), fleet.state.clone());
        background.spawn(fleet.clone().retire(retention, ending.clone()));
        background.spawn(forget_earlier(fleet.clone(), ending.clone()));
        background.spawn(ambient::scheduled(collector.run(ending.clone())));
        background.spawn(async move { events.write_behind(state, ending).await });
        background
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn services(&self) -> &Services {
        &self.services
    }
}

/// Returns how long workers may rely on heartbeats that were acknowledged before this start: the
/// timeout of that time, if it was longer. It is stored until it has passed, whatever happens until
/// then.
async fn outlast(state: &State, timeout: Duration) -> Result<Duration, StoreError> {
    let before = state.worker_timeout().await?;
    let longest = before.unwrap_or_default().max(timeout);
    if before != Some(longest) {
        state.set_worker_timeout(longest).await?;
    }
    Ok(longest)
}

/// Once no worker relies on a longer earlier timeout, stores the current one as the time that the
/// next start has to wait out.
async fn forget_earlier(fleet: Arc<Fleet>, ending: CancellationToken) {
    let forget = async {
        tokio::time::sleep(fleet.leases.earlier_left()).await;
        match fleet.state.worker_timeout().await? {
            Some(before) if before == fleet.worker_timeout => Ok(()),
            _ => fleet.state.set_worker_timeout(fleet.worker_timeout).await,
        }
    };
    tokio::select! {
        biased;
        () = ending.cancelled() => {}
        // Until this succeeds, the next start waits longer than necessary, which is harmless.
        forgotten = forget => if let Err(error) = forgotten {
            tracing::warn!(%error, "cannot store the worker timeout");
        }
    }
}

/// Marks every worker as disconnected, since none is connected to a control plane that has just
/// started.
async fn forget_connections(state: &State, index: &Index) -> Result<(), StoreError> {
    for held in index.workers() {
        let unready =
            |worker: Option<v1::Worker>| presence::not_yet_back(worker?, crate::clock::now());
        state
            .update_worker(&held.name, Durability::Relaxed, unready)
            .await?;
    }
    Ok(())
}
