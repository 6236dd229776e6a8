//! The machines of a fleet, which start and die.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, sleep},
};
use warren_control::simulation::{Disk, Serving, Step};
use warren_proto::v1;

use crate::{
    chance::Chance,
    network::{Network, Peer, Way},
    promise::Promise,
    trace::Trace,
    truth::Truth,
    worker::Worker,
};

/// All machines.
pub struct World {
    pub trace: Trace,
    pub chance: Chance,
    pub truth: Arc<Truth>,
    pub network: Arc<Network>,
    pub control: Control,
    pub workers: BTreeMap<String, Worker>,
    /// The connections of users to the control plane.
    pub users: BTreeMap<String, Arc<Peer>>,
    pub perils: Perils,
    /// Reports from the machines.
    pub news: mpsc::UnboundedReceiver<News>,
    pub sender: mpsc::UnboundedSender<News>,
}

/// The chances of faults, in thousandths, and the times that disks take, in milliseconds.
#[derive(Clone, Default)]
pub struct Perils {
    /// The chance that a step of a store's write is the control plane's last.
    pub store: Arc<AtomicU32>,
    /// The longest flush.
    pub flush: Arc<AtomicU32>,
    /// The chance that a step of a worker's write is its last.
    pub files: Arc<AtomicU32>,
    /// The longest time that a worker's disk takes.
    pub disk: Arc<AtomicU32>,
    /// Whether the control plane's tasks are late now and then.
    pub late: Arc<AtomicBool>,
    /// The chance that a start of a guest ends in a trap.
    pub guests: Arc<AtomicU32>,
}

pub enum News {
    ControlServes(u64, Arc<Serving>),
    ControlDies(u64),
    WorkerDies(String, u64),
    WorkerStopped(String, u64),
}

pub struct Control {
    disk: Disk,
    artifacts: PathBuf,
    artifact: v1::Artifact,
    timeout: Duration,
    life: u64,
    start: Option<AbortHandle>,
    pub serving: Option<Arc<Serving>>,
    pub since: Instant,
    /// The time at which the one before started to serve.
    pub since_before: Instant,
    /// Whether what this one found has not been checked yet.
    pub found: bool,
    pub down_until: Option<Instant>,
}

/// The digest of the component of all replicas. Its content does not matter.
pub const COMPONENT: &str =
    "sha256:00000000000000000000000000000000000000000000000000000000000000ff";

// === impl World ===

impl World {
    pub fn new(
        chance: Chance,
        trace: Trace,
        perils: Perils,
        artifacts: PathBuf,
        timeout: Duration,
    ) -> Self {
        let (sender, news) = mpsc::unbounded_channel();
        let network = Arc::new(Network::default());
        let run = v1::ExternItem {
            name: "wasi:cli/run@0.2.0".to_owned(),
            ..v1::ExternItem::default()
        };
        let artifact = v1::Artifact {
            digest: COMPONENT.to_owned(),
            size_bytes: 1,
            exports: vec![run],
            uses: vec![v1::artifact::Use::Service.into()],
            ..v1::Artifact::default()
        };
        Self {
            truth: Truth::new(trace.clone()),
            network,
            control: Control {
                disk: Disk::default(),
                artifacts,
                artifact,
                timeout,
                life: 0,
                start: None,
                serving: None,
                since: Instant::now(),
                since_before: Instant::now(),
                found: false,
                down_until: None,
            },
            workers: BTreeMap::new(),
            users: BTreeMap::new(),
            perils,
            chance,
            trace,
            news,
            sender,
        }
    }

    pub fn add_worker(&mut self, name: &str) {
        let worker = Worker::new(self.network.peer(self.chance.fork()));
        self.workers.insert(name.to_owned(), worker);
        self.start_worker(name);
    }

    /// Adds a user and returns the connection to the control plane.
    pub fn add_user(&mut self, name: &str) -> Way {
        let peer = self.network.peer(self.chance.fork());
        self.users.insert(name.to_owned(), peer.clone());
        Way(peer)
    }

    /// Returns all connections to the control plane.
    pub fn peers(&self) -> Vec<(String, Arc<Peer>)> {
        let users = self.users.iter();
        let users = users.map(|(name, peer)| (name.clone(), peer.clone()));
        let workers = self.workers.iter();
        let workers = workers.map(|(name, worker)| (name.clone(), worker.peer.clone()));
        users.chain(workers).collect()
    }

    pub fn start_control(&mut self) {
        let control = &mut self.control;
        control.life += 1;
        control.down_until = None;
        let (life, trace) = (control.life, self.trace.clone());
        trace.note(format_args!("control: starts, life {life}"));
        let (sender, chance) = (self.sender.clone(), self.chance.fork());
        let (peril, flush) = (self.perils.store.clone(), self.perils.flush.clone());
        let dying = Arc::new(AtomicBool::new(false));
        let around = Arc::new(move |step: Step| {
            let (sender, chance, dying) = (sender.clone(), chance.clone(), dying.clone());
            let (peril, flush) = (peril.clone(), flush.clone());
            let at: futures::future::BoxFuture<'static, ()> = Box::pin(async move {
                if step == Step::Flush {
                    sleep(chance.millis(0..=flush.load(Relaxed).into())).await;
                }
                if chance.of_thousand(peril.load(Relaxed)) && !dying.swap(true, Relaxed) {
                    let _ = sender.send(News::ControlDies(life));
                }
                if dying.load(Relaxed) {
                    std::future::pending::<()>().await;
                }
            });
            at
        });
        let (disk, sender) = (control.disk.clone(), self.sender.clone());
        let (artifacts, artifact) = (control.artifacts.clone(), control.artifact.clone());
        let mut config = warren_control::Config::new(PathBuf::new());
        config.worker_timeout = control.timeout;
        let start = tokio::spawn(async move {
            match Serving::start(&disk, around, &artifacts, &artifact, config).await {
                Ok(serving) => {
                    let _ = sender.send(News::ControlServes(life, Arc::new(serving)));
                }
                Err(error) => trace.violation(
                    Promise::NobodyIsRefused,
                    format_args!("control: cannot start: {error}"),
                ),
            }
        });
        control.start = Some(start.abort_handle());
    }

    /// Kills the control plane's machine at whatever step it is; it comes back after a while.
    pub fn kill_control(&mut self, why: &str) {
        let control = &mut self.control;
        if let Some(start) = control.start.take() {
            start.abort();
        }
        control.serving = None;
        self.network.serve(None);
        let unflushed = control.disk.unflushed();
        let kept = self.chance.index(unflushed + 1);
        control.disk = control.disk.after_crash(kept);
        let down = self.chance.millis(1..=20_000);
        control.down_until = Some(Instant::now() + down);
        control.life += 1;
        self.trace.note(format_args!(
            "control: dies {why}, keeping {kept} of {unflushed} writes"
        ));
    }

    pub fn hear(&mut self, news: News) {
        match news {
            News::ControlServes(life, serving) if life == self.control.life => {
                let term = serving.term();
                self.trace
                    .note(format_args!("control: serves, term {term}"));
                self.network.serve(Some(&serving));
                let control = &mut self.control;
                control.since_before = std::mem::replace(&mut control.since, Instant::now());
                control.found = true;
                control.serving = Some(serving);
            }
            News::ControlDies(life) if life == self.control.life => {
                self.kill_control("during a write");
            }
            News::WorkerDies(name, life) if self.workers[&name].life == life => {
                self.kill_worker(&name, "during a write");
            }
            News::WorkerStopped(name, life) if self.workers[&name].life == life => {
                self.bury_worker(&name);
            }
            // These are about a life that has ended.
            News::ControlServes(..)
            | News::ControlDies(_)
            | News::WorkerDies(..)
            | News::WorkerStopped(..) => {}
        }
    }

    /// Starts what has been down for long enough.
    pub fn restart(&mut self) {
        let now = Instant::now();
        if self.control.down_until.is_some_and(|until| until <= now) {
            self.start_control();
        }
        let up: Vec<String> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.down_until.is_some_and(|until| until <= now))
            .map(|(name, _)| name.clone())
            .collect();
        for name in up {
            self.start_worker(&name);
        }
    }

    pub fn end(&mut self) {
        for worker in self.workers.values_mut() {
            worker.end();
        }
    }
}
