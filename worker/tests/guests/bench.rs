//! The network and log of one replica, with guests that tests start directly.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use warren_model::{
    digest::Digest,
    egress::EgressRule,
    name::{Name, WorkloadId},
    spec::{
        BodyLimits, Component, Placement, Recovery, Restart, RestartPolicy, Service, Update,
        WorkloadSpec,
    },
};
use warren_net::{NetLimits, Network};
use warren_worker::{
    logs::{LogHub, LogLimits, LogQuery},
    policy::{HostAccess, Refusal, Role, refusals},
    runtime::{
        Code, Prepared, ReplicaContext, Runtime, ServiceEnd, ServiceRuntime,
        compile::CompileSettings,
    },
};

/// How long tests wait for anything: much longer than it takes, so that only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Shared by all tests, so that compiled code is reused: compiling takes most of the time.
static RUNTIME: LazyLock<Arc<Runtime>> = LazyLock::new(|| {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    Arc::new(Runtime::new(&cache, u64::MAX, u64::MAX, CompileSettings::in_process()).unwrap())
});

/// The sandbox that the guests of one replica share.
pub struct Bench {
    pub context: ReplicaContext,
    logs: LogHub,
    /// The refusals of the guests.
    pub refused: mpsc::Receiver<Refusal>,
}

pub struct Running {
    task: JoinHandle<ServiceEnd>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with_host(HostAccess::default())
    }

    pub fn with_host(host: HostAccess) -> Self {
        Self::with(host, NetLimits::default())
    }

    /// Creates a bench whose network has other limits than a replica's.
    pub fn with_limits(limits: NetLimits) -> Self {
        Self::with(HostAccess::default(), limits)
    }

    fn with(host: HostAccess, limits: NetLimits) -> Self {
        let logs = LogHub::new(LogLimits::default());
        let (refusals, refused) = refusals();
        Self {
            context: ReplicaContext {
                workload: WorkloadId {
                    namespace: Name::parse("default").unwrap(),
                    name: Name::parse("bench").unwrap(),
                },
                mounts: Arc::default(),
                network: Network::new(limits),
                log: logs.open("bench"),
                host,
                lease: None,
                refusals,
            },
            logs,
            refused,
        }
    }

    /// Prepares a workload of prebuilt guest components of this repository.
    pub async fn prepare(&self, service: Service, components: Vec<Component>) -> Prepared {
        let mut code = Code::new();
        let workload = self.context.workload.clone();
        let service_code = [(Role::Service, service.component)].into_iter();
        let component_code = components.iter().map(|c| (Role::Component, c.component));
        for (role, digest) in service_code.chain(component_code) {
            let loaded = RUNTIME
                .load(role, &workload, digest, &path_of(digest))
                .await;
            code.insert((role, digest), loaded.unwrap());
        }
        let spec = WorkloadSpec {
            replicas: None,
            service: Some(service),
            components,
            volumes: Vec::new(),
            placement: Placement::default(),
            update: Update::default(),
        };
        RUNTIME.prepare(&spec, None, &code, &self.context).unwrap()
    }

    /// Starts a guest as the service, with these arguments.
    pub async fn start(&self, guest: &str, args: &[&str]) -> Running {
        self.start_with(service(guest, args)).await
    }

    pub async fn start_with(&self, service: Service) -> Running {
        Running::of(self.prepare(service, Vec::new()).await.service.unwrap())
    }

    /// Runs a guest to its end, and returns how it ended.
    pub async fn run(&self, guest: &str, args: &[&str]) -> ServiceEnd {
        self.start(guest, args).await.end().await
    }

    /// Runs a guest that must succeed, and returns the lines that were written while it ran: its
    /// own, and those of other guests that run beside it.
    pub async fn stdout(&self, guest: &str, args: &[&str]) -> Vec<String> {
        self.stdout_of(service(guest, args)).await
    }

    pub async fn stdout_of(&self, service: Service) -> Vec<String> {
        let before = self.lines().await.len();
        let end = self.start_with(service).await.end().await;
        let lines = self.lines().await.split_off(before);
        assert_eq!(end, ServiceEnd::Exited(0), "{lines:?}");
        lines
    }

    /// Returns all lines written so far, by all guests.
    pub async fn lines(&self) -> Vec<String> {
        let mut stream = self.logs.subscribe("bench", LogQuery::default()).unwrap();
        let mut lines = Vec::new();
        while let Some(batch) = stream.next().await {
            lines.extend(batch.into_iter().map(|line| line.line));
        }
        lines
    }

    /// Waits until a line contains `text`.
    pub async fn saw(&self, text: &str) {
        self.saw_after(0, text).await;
    }

    /// Waits until a line after the first `before` lines contains `text`.
    pub async fn saw_after(&self, before: usize, text: &str) {
        let query = LogQuery {
            follow: true,
            ..LogQuery::default()
        };
        let mut stream = self.logs.subscribe("bench", query).unwrap();
        let found = async {
            let mut before = before;
            while let Some(batch) = stream.next().await {
                let mut news = batch.iter().skip(before);
                if news.any(|line| line.line.contains(text)) {
                    return;
                }
                before = before.saturating_sub(batch.len());
            }
            panic!("the log ended before a line with {text:?}");
        };
        timeout(PATIENCE, found).await.unwrap();
    }

    /// Waits until a socket listens on this port of the network.
    pub async fn listens(&self, port: u16) {
        let network = &self.context.network;
        let mut changes = network.listening();
        let listening = changes.wait_for(|_| network.is_listening(port));
        timeout(PATIENCE, listening).await.unwrap().unwrap();
    }
}

impl Running {
    pub fn of(service: Arc<ServiceRuntime>) -> Self {
        Self {
            task: tokio::spawn(async move { service.run(None, || {}).await }),
        }
    }

    pub async fn end(self) -> ServiceEnd {
        timeout(PATIENCE, self.task).await.unwrap().unwrap()
    }

    /// Kills the guest and waits until it is gone.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

pub fn service(guest: &str, args: &[&str]) -> Service {
    Service {
        component: digest_of(guest),
        args: args.iter().map(ToString::to_string).collect(),
        env: BTreeMap::new(),
        config: BTreeMap::new(),
        restart: RestartPolicy {
            restart: Restart::Never,
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(30),
            reset_after: Duration::from_secs(60),
            max_restarts: 10,
            window: Duration::from_secs(300),
            on_failed: Recovery::Keep,
            on_lost: Recovery::Keep,
        },
        publish: Vec::new(),
        routes: Vec::new(),
        egress: Vec::new(),
        readiness: None,
        liveness: None,
        volumes: Vec::new(),
        memory_bytes: 64 << 20,
        reserve_bytes: 16 << 20,
        cpu_weight: 100,
        bodies: BodyLimits::default(),
        stop_grace: Duration::from_secs(10),
        exclusive: false,
    }
}

pub fn component(name: &str, guest: &str) -> Component {
    Component {
        name: Name::parse(name).unwrap(),
        component: digest_of(guest),
        routes: Vec::new(),
        env: BTreeMap::new(),
        config: BTreeMap::new(),
        egress: Vec::new(),
        memory_bytes: 32 << 20,
        reserve_bytes: 8 << 20,
        timeout: Duration::from_secs(30),
        concurrency: 256,
        bodies: BodyLimits::default(),
        reuse: None,
    }
}

pub fn egress(rule: &str) -> Vec<EgressRule> {
    vec![rule.parse().unwrap()]
}

fn guest_path(guest: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let name = format!("{guest}.wasm");
    let of_tests = root.join("tests/guests/components").join(&name);
    match of_tests.exists() {
        true => of_tests,
        false => root.join("examples/components").join(&name),
    }
}

static DIGESTS: LazyLock<parking_lot::Mutex<HashMap<Digest, PathBuf>>> =
    LazyLock::new(Default::default);

fn digest_of(guest: &str) -> Digest {
    let path = guest_path(guest);
    let digest = Digest::of(&std::fs::read(&path).unwrap());
    DIGESTS.lock().insert(digest, path);
    digest
}

fn path_of(digest: Digest) -> PathBuf {
    DIGESTS.lock()[&digest].clone()
}
