//! The composition root of a worker: it opens the parts, serves, and stops in order.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch, task::JoinError, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use warren_model::{
    admission::Bounds,
    cidr::Cidr,
    descriptors,
    error::Violations,
    label,
    listen::{self, InsecureListen},
    name::{Name, NameError},
    publish_rule::PublishRule,
    spec::SHORT_RUN,
};
use warren_proto::v1;

use crate::{
    agent::{
        capacity::{MAX_REPLICAS, default_memory},
        identity::{Identity, IdentityError, default_name, host_name},
        network,
        seen::Seen,
        session::{
            Addresses, Ending, InvalidControl, Session, SessionConfig, SessionError, endpoint,
        },
        state::Keeper,
    },
    artifacts::Artifacts,
    health::Health,
    http::{forwarded::TrustedProxies, listener},
    ingress::{ClusterFront, FleetRoutes, Ingress, Router},
    lease::SharedLease,
    logs::{DiskLimits, LogHub, LogLimits},
    policy::{HostAccess, Kernel, Listeners, Whose},
    publish::PublishPolicy,
    remote::{Channel, Remote},
    replica::{Assignment, Replicas as _, reports::ReportBook},
    runtime::{
        Runtime, RuntimeError,
        compile::{CompileLimits, CompileSettings},
    },
    supervisor::{Supervisor, SupervisorParts},
    volumes::{HostVolume, VolumeError, Volumes},
};

/// The settings of a worker.
#[derive(Clone, Debug)]
pub struct Config {
    /// The URLs of the control planes, at least one, which are tried in turn.
    pub control: Vec<String>,
    /// `None` is the host's name, or a name made from the worker's id.
    pub name: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// The directory of this worker alone, for its id, its artifacts and its guests' output.
    pub data: PathBuf,
    /// The directory of compiled code, which workers may share. `None` is the data directory.
    pub cache: Option<PathBuf>,
    /// The bytes that artifacts, and compiled code, may take before unused ones are removed.
    pub cache_limit: u64,
    /// The bytes that guests may use. `None` is four fifths of the machine's or control group's.
    pub memory: Option<u64>,
    /// The limits of compilation, which takes memory beside that of guests.
    pub compile: CompileSettings,
    /// The bounds of what is kept of guests' output.
    pub logs: DiskLimits,
    /// The directories that workloads may mount by name.
    pub volumes: Vec<HostVolume>,
    /// Guests whose egress names `host.warren.internal` reach the machine's own 127.0.0.1.
    pub allow_host_loopback: bool,
    /// Proxies before the ingress whose `X-Forwarded-*` and `Forwarded` are kept.
    pub trusted_proxies: Vec<Cidr>,
    /// The addresses that workloads may publish on. Empty is all but Warren's own.
    pub publish_allow: Vec<PublishRule>,
    /// The URL at which others reach the worker. `None` is its `listen` address.
    pub advertise: Option<String>,
    /// Whether `listen` may be an address that other machines reach.
    pub insecure: bool,
    /// The bounds on simultaneous connections, for the ingress and for `listen` separately.
    pub connections: Bounds,
    /// The longest wait for what is in flight at a stop, where a workload's own grace is longer.
    pub longest_grace: Option<Duration>,
    /// The time for which its replicas are kept for its return after it stops in order. At zero,
    /// others take their places at once.
    pub stop_keeps: Duration,
}

/// A worker that holds its data directory and runs nothing yet.
pub struct Worker {
    identity: Identity,
    name: Name,
    /// The bytes that guests may use.
    memory: u64,
    config: Config,
    control: Vec<Arc<dyn Remote>>,
    supervisor: Arc<Supervisor>,
    volumes: Arc<Volumes>,
    router: Router,
    fleet: Arc<FleetRoutes>,
    /// The addresses on which Warren listens, which no guest reaches.
    listeners: Arc<Listeners>,
    logs: LogHub,
    reports: ReportBook,
    lease: Arc<SharedLease>,
    keeper: Arc<Keeper>,
    /// The state that an earlier worker left in this directory.
    last: (Vec<Assignment>, Seen),
    source: watch::Sender<Option<Channel>>,
}

/// The worker cannot start with these settings.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("no control plane was given: name one with --control, such as http://127.0.0.1:7700")]
    NoControl,
    #[error(transparent)]
    Control(#[from] InvalidControl),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("{0}")]
    Labels(Violations),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("cannot keep artifacts in {}: {source}", path.display())]
    Artifacts { path: PathBuf, source: io::Error },
    #[error(
        "{0} bytes are too few for a replica's log: give at least {least}KiB with --log-max-size",
        least = DiskLimits::LEAST >> 10
    )]
    LogSize(u64),
    #[error("cannot save the assignments in {}: {source}", path.display())]
    State { path: PathBuf, source: io::Error },
    #[error("cannot store guests' output in {}: {source}", path.display())]
    Logs { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Volumes(#[from] VolumeError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// The worker cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Insecure(#[from] InsecureListen),
    #[error(
        "others cannot reach this worker at {0}: give its address with --advertise, such as http://10.0.0.7:{port}",
        port = .0.port()
    )]
    NoAddress(SocketAddr),
    #[error("the listener cannot be used: {0}")]
    Listener(#[from] io::Error),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("a part of the worker ended because of a bug: {0}")]
    Bug(#[from] JoinError),
}

/// The time for HTTP requests in flight when the worker stops.
const DRAIN: Duration = Duration::from_secs(10);
/// The time for requests to `listen` that are in flight when the replicas have stopped.
const CLOSE: Duration = Duration::from_secs(1);
/// Replicas stop within their own grace, of an hour at most. This bounds one that does not.
const STOP: Duration = Duration::from_secs(3660);
/// The time for writing the guests' last lines.
const LAST_LINES: Duration = Duration::from_secs(5);

// === impl Worker ===

impl Worker {
    /// Locks the data directory and starts the engine. Opens no connection and no listener.
    /// Raises the process's soft limit of open files to the hard one.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        if config.control.is_empty() {
            return Err(OpenError::NoControl);
        }
        let control = config
            .control
            .iter()
            .map(|url| Ok(Arc::new(endpoint(url)?) as Arc<dyn Remote>))
            .collect::<Result<_, InvalidControl>>()?;
        let mut violations = Violations::default();
        label::check("labels", &config.labels, &mut violations);
        if !violations.0.is_empty() {
            return Err(OpenError::Labels(violations));
        }
        if config.logs.replica < DiskLimits::LEAST {
            return Err(OpenError::LogSize(config.logs.replica));
        }
        raise_open_files();
        let given = config.name.as_deref().map(Name::parse).transpose()?;
        let identity = Identity::open(&config.data)?;
        let name = given.unwrap_or_else(|| default_name(&host_name(), identity.id));

        let source = watch::Sender::new(None);
        let path = config.data.join("artifacts");
        let artifacts = Artifacts::open(path.clone(), config.cache_limit, source.subscribe())
            .map_err(|source| OpenError::Artifacts { path, source })?;
        let cache = config
            .cache
            .clone()
            .unwrap_or_else(|| config.data.join("cache"));
        let volumes = Arc::new(Volumes::open(&config.data, config.volumes.clone())?);
        let (router, reports) = (Router::new(), ReportBook::new());
        let listeners = Arc::<Listeners>::default();
        listeners.set(Whose::Dialled, &config.control);
        let path = config.data.join("logs");
        let logs = LogHub::on_disk(LogLimits::default(), path.clone(), config.logs)
            .map_err(|source| OpenError::Logs { path, source })?;
        let path = config.data.join("replicas");
        let (keeper, last) =
            Keeper::open(path.clone()).map_err(|source| OpenError::State { path, source })?;
        let (seen, lease) = (last.seen.clone(), SharedLease::new());
        let (left, ended) = last.split();
        for (replica, state) in ended {
            reports.record(&replica, state, None);
        }
        let memory = config.memory.unwrap_or_else(default_memory);
        let host = HostAccess {
            allow_host_loopback: config.allow_host_loopback,
            machine: Arc::new(Kernel::default()),
            listeners: Arc::clone(&listeners),
        };
        let supervisor = Supervisor::new(SupervisorParts {
            runtime: Arc::new(Runtime::new(
                &cache,
                config.cache_limit,
                memory,
                config.compile.clone(),
            )?),
            artifacts: Arc::new(artifacts),
            router: router.clone(),
            logs: logs.clone(),
            reports: reports.clone(),
            lease: lease.clone(),
            publish: PublishPolicy::new(
                config.publish_allow.iter().cloned(),
                Arc::clone(&listeners),
                Arc::clone(&host.machine),
            ),
            host,
            volumes: Arc::clone(&volumes),
            longest_grace: config.longest_grace.unwrap_or(Duration::MAX),
            short_run: SHORT_RUN,
        });
        Ok(Self {
            identity,
            fleet: FleetRoutes::new(name.as_str(), router.clone()),
            listeners,
            name,
            memory,
            config,
            control,
            supervisor,
            volumes,
            router,
            logs,
            reports,
            lease,
            keeper,
            last: (left, seen),
            source,
        })
    }

    /// Returns the name by which the control plane knows it.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Serves until `shutdown`, then stops in order: health reports it, requests in flight finish,
    /// replicas stop, and the control plane is notified. `http` is the ingress; `listen` serves
    /// other workers and health checks. If the future is dropped, the worker stops at once.
    pub async fn serve(
        mut self,
        http: TcpListener,
        listen: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), ServeError> {
        let address = self.address(&listen)?;
        let bound = listen.local_addr()?;
        let own = [bound.to_string(), address.clone()];
        self.listeners.set(Whose::Own, own);
        let http_address = http_address(http.local_addr()?, &address);
        let mut health = Health::new().await;
        let (ending, draining, closing) =
            <(Ending, CancellationToken, CancellationToken)>::default();
        let opened = watch::Sender::new(false);
        let mut first_session = opened.subscribe();
        let refused = watch::Sender::new(None);
        let mut refusals = refused.subscribe();

        let front = ClusterFront::new(self.router.clone(), health.clone());
        let limits = listener::Limits {
            connections: self.config.connections.total,
            connections_per_peer: self.config.connections.per_peer,
            ..listener::Limits::default()
        };
        let serve = listener::serve_within(limits, listen, front, closing.clone(), CLOSE);
        let mut listen_task = spawn(serve);
        let ingress = Ingress {
            router: self.router.clone(),
            proxies: TrustedProxies::new(self.config.trusted_proxies.iter().copied()),
        };
        let mut ingress_task = spawn(listener::serve_within(
            limits,
            http,
            ingress,
            draining.clone(),
            self.config
                .longest_grace
                .map_or(DRAIN, |longest| longest.min(DRAIN)),
        ));
        let addresses = Addresses {
            address,
            http_address,
            listen: bound,
        };
        let session = self.session(addresses, opened, refused, ending.clone());
        let _resolving = spawn(Arc::clone(&self.listeners).resolve(closing.clone()));
        let mut session_task = spawn(session.run());
        let keeping = Arc::clone(&self.keeper).watch(self.reports.clone(), closing.clone());
        let mut keeper_task = spawn(keeping);

        let serving = async {
            // This fails when the session has ended, which its task reports.
            if first_session.wait_for(|open| *open).await.is_ok() {
                health.serves().await;
            }
            std::future::pending::<()>().await;
        };
        let refusing = async {
            while refusals.changed().await.is_ok() {
                let why = refusals.borrow_and_update().clone();
                health.refused(why).await;
            }
            std::future::pending::<()>().await;
        };
        let result = tokio::select! {
            () = shutdown => Ok(()),
            () = serving => Ok(()),
            () = refusing => Ok(()),
            ended = &mut session_task => ended.map_err(ServeError::Bug).and_then(|r| Ok(r?)),
            ended = &mut ingress_task => ended.map_err(ServeError::Bug),
            ended = &mut keeper_task => ended.map_err(ServeError::Bug),
            ended = &mut listen_task => ended.map_err(ServeError::Bug),
        };

        health.stops().await;
        ending.draining.cancel();
        draining.cancel();
        finish(ingress_task).await;
        // The next worker on this directory may start their replicas again.
        self.logs.leave();
        let ran = self.supervisor.replicas();
        if !self.config.stop_keeps.is_zero() {
            self.reports.keep(self.supervisor.wanted());
        }
        if self.supervisor.shutdown(STOP).await {
            ending.stopped.cancel();
        }
        if timeout(LAST_LINES, self.logs.finish()).await.is_err() {
            tracing::warn!("the disk is too slow: the last lines of guests are lost");
        }
        ending.close.cancel();
        finish(session_task).await;
        closing.cancel();
        health.close().await;
        finish(listen_task).await;
        finish(keeper_task).await;
        // The control plane has replaced the replicas that it knows to have stopped. The others
        // continue with the next start.
        let told = ran.into_iter().filter(|it| !self.reports.contains(it));
        self.keeper.forget(told.collect()).await;
        result
    }

    /// Returns the URL at which others reach this worker.
    fn address(&self, listen: &TcpListener) -> Result<String, ServeError> {
        let local = listen.local_addr()?;
        listen::check(local, self.config.insecure)?;
        match &self.config.advertise {
            Some(url) => Ok(url.clone()),
            None if local.ip().is_unspecified() => Err(ServeError::NoAddress(local)),
            None => Ok(format!("http://{local}")),
        }
    }

    fn session(
        &mut self,
        addresses: Addresses,
        opened: watch::Sender<bool>,
        refused: watch::Sender<Option<String>>,
        ending: Ending,
    ) -> Session {
        let config = SessionConfig {
            control: self.control.clone(),
            worker_id: self.identity.id.to_string(),
            instance: uuid::Uuid::new_v4().to_string(),
            name: self.name.clone(),
            addresses,
            labels: self.config.labels.clone(),
            volumes: self.volumes.offered(),
            publish_allow: self
                .config
                .publish_allow
                .iter()
                .map(ToString::to_string)
                .collect(),
            network: network(),
            capacity: v1::Resources {
                memory_bytes: self.memory,
                replicas: MAX_REPLICAS,
                keeps_reserves: Some(true),
            },
            compile_limits: Some(compile_limits(&self.config.compile.limits)),
            interfaces: Runtime::provides(),
            stop_keeps: self.config.stop_keeps,
        };
        Session {
            config,
            replicas: self.supervisor.clone(),
            reports: self.reports.clone(),
            routes: Arc::clone(&self.fleet),
            listeners: Arc::clone(&self.listeners),
            logs: self.logs.clone(),
            lease: self.lease.clone(),
            keeper: self.keeper.clone(),
            left: std::mem::take(&mut self.last.0),
            seen: std::mem::take(&mut self.last.1),
            told: AtomicBool::new(false),
            source: self.source.clone(),
            opened,
            refused,
            ending,
        }
    }
}

fn compile_limits(limits: &CompileLimits) -> v1::CompileLimits {
    v1::CompileLimits {
        memory_bytes: limits.memory,
        cpu_time: prost_types::Duration::try_from(limits.timeout).ok(),
    }
}

/// Returns the URL at which others reach the ingress: its address or, if that is unspecified, the
/// host of `address`.
fn http_address(local: SocketAddr, address: &str) -> String {
    let host = address
        .parse::<http::Uri>()
        .ok()
        .filter(|_| local.ip().is_unspecified())
        .and_then(|uri| uri.host().map(str::to_owned));
    match host {
        Some(host) => format!("http://{host}:{}", local.port()),
        None => format!("http://{local}"),
    }
}

/// Raises the limit of open files: all guests share the descriptors of the process.
fn raise_open_files() {
    match descriptors::raise_limit() {
        Ok(None) => {}
        Ok(Some(raised)) => tracing::info!(
            from = raised.from,
            to = raised.to,
            "raised the soft limit of open files to the hard one"
        ),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
}

/// Waits for a part that was asked to end, unless it has already ended.
async fn finish<T>(part: AbortOnDropHandle<T>) {
    if !part.is_finished()
        && let Err(error) = part.await
    {
        tracing::error!(%error, "a part of the worker ended because of a bug");
    }
}

fn spawn<T: Send + 'static>(
    part: impl Future<Output = T> + Send + 'static,
) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::spawn(part))
}

#[cfg(test)]
mod tests;
