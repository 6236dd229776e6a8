//! A worker's machine. Its disk and its connections outlive the process.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use warren_model::name::Name;
use warren_proto::v1;
use warren_worker::{
    agent::{
        session::{Addresses, Ending, Session, SessionConfig},
        state::Keeper,
    },
    ingress::{FleetRoutes, Router},
    lease::SharedLease,
    logs::{LogHub, LogLimits},
    replica::{Replicas, reports::ReportBook},
};

use crate::{
    disk::{Disk, Mounted},
    guests::{Guests, Supervisor},
    machine::{Hang, MachineClock},
    network::{Peer, Way},
    promise::Promise,
    world::{News, World},
};

pub struct Worker {
    pub peer: Arc<Peer>,
    pub life: u64,
    /// The time at which it starts again.
    pub down_until: Option<Instant>,
    disk: Disk,
    process: Option<Process>,
}

/// A worker that runs.
struct Process {
    mounted: Arc<Mounted>,
    guests: Arc<Guests>,
    hang: Hang,
    reports: ReportBook,
    keeper: Arc<Keeper>,
    ending: Ending,
    /// Cancelled when the session has ended.
    ended: CancellationToken,
    keeps: Duration,
    tasks: JoinSet<()>,
}

// === impl Worker ===

impl Worker {
    pub fn new(peer: Arc<Peer>) -> Self {
        Self {
            peer,
            life: 0,
            down_until: None,
            disk: Disk::default(),
            process: None,
        }
    }

    /// Ends the process with the run.
    pub fn end(&mut self) {
        if let Some(process) = self.process.take() {
            process.guests.die();
        }
    }

    pub fn is_down(&self) -> bool {
        self.down_until.is_some()
    }
}

// === impl World ===

impl World {
    pub fn start_worker(&mut self, name: &str) {
        let Some(worker) = self.workers.get_mut(name) else {
            return;
        };
        worker.down_until = None;
        worker.life += 1;
        let life = worker.life;
        self.trace.note(format_args!("{name}: starts, life {life}"));
        let (sender, it) = (self.sender.clone(), name.to_owned());
        let hang = Hang::new();
        let stands_still = hang.clone();
        let dies = move || {
            // It does nothing from here on, although it is buried only when the message is read.
            stands_still.set(true);
            let _ = sender.send(News::WorkerDies(it.clone(), life));
        };
        let mounted = worker.disk.mount(self.chance.fork(), &self.perils, dies);
        let Ok((keeper, last)) = Keeper::on(mounted.clone()) else {
            // It died while it opened its directory, and has reported that.
            return;
        };
        let reports = ReportBook::new();
        let seen = last.seen.clone();
        let (left, ended) = last.split();
        for (replica, state) in ended {
            reports.record(&replica, state, None);
        }
        let lease = SharedLease::with_clock(MachineClock::new(&self.chance));
        let guests = Arc::new(Guests {
            worker: name.to_owned(),
            reports: reports.clone(),
            truth: self.truth.clone(),
            chance: self.chance.fork(),
            trapping: self.perils.guests.clone(),
            lease: lease.clone(),
            hang: hang.clone(),
            held: Mutex::default(),
            lives: Mutex::default(),
            leaving: AtomicBool::new(false),
            gone: watch::Sender::new(()),
        });
        let ending = Ending::default();
        let keeps = match self.chance.of_thousand(500) {
            true => self.chance.millis(1..=30_000),
            false => Duration::ZERO,
        };
        let session = Session {
            config: SessionConfig {
                control: vec![Arc::new(Way(worker.peer.clone()))],
                worker_id: format!("id-of-{name}"),
                instance: format!("life-{life}-of-{name}"),
                name: Name::parse(name).expect("a DNS label"),
                addresses: Addresses {
                    address: format!("http://{name}:7701"),
                    http_address: format!("http://{name}:8000"),
                    listen: "127.0.0.1:7701".parse().expect("an address"),
                },
                labels: BTreeMap::new(),
                volumes: Vec::new(),
                publish_allow: Vec::new(),
                network: String::new(),
                compile_limits: None,
                interfaces: Vec::new(),
                capacity: v1::Resources {
                    memory_bytes: 1 << 36,
                    replicas: 100,
                    keeps_reserves: Some(true),
                },
                stop_keeps: keeps,
            },
            replicas: Arc::new(Supervisor(guests.clone())) as Arc<dyn Replicas>,
            reports: reports.clone(),
            routes: FleetRoutes::new(name, Router::new()),
            listeners: Arc::default(),
            logs: LogHub::new(LogLimits::default()),
            lease,
            keeper: keeper.clone(),
            left,
            seen,
            told: AtomicBool::new(false),
            source: watch::Sender::new(None),
            opened: watch::Sender::new(false),
            refused: watch::Sender::new(None),
            ending: ending.clone(),
        };
        let mut tasks = JoinSet::new();
        let watching = keeper.clone().watch(reports.clone(), ending.close.clone());
        tasks.spawn(hang.with(watching));
        let (trace, it) = (self.trace.clone(), name.to_owned());
        let ended = CancellationToken::new();
        let has_ended = ended.clone();
        tasks.spawn(hang.with(async move {
            if let Err(error) = session.run().await {
                trace.violation(
                    Promise::NobodyIsRefused,
                    format_args!("{it}: its session ended: {error}"),
                );
            }
            has_ended.cancel();
        }));
        worker.process = Some(Process {
            mounted,
            guests,
            hang,
            reports,
            keeper,
            ending,
            ended,
            keeps,
            tasks,
        });
    }

    /// Asks the worker to stop in order, as SIGTERM does. Returns false if it does not run, or was
    /// asked before.
    pub fn stop_worker(&mut self, name: &str) -> bool {
        let Some(worker) = self.workers.get_mut(name) else {
            return false;
        };
        let Some(process) = &mut worker.process else {
            return false;
        };
        if process.ending.draining.is_cancelled() {
            return false;
        }
        let keeps = process.keeps;
        self.trace
            .note(format_args!("{name}: stops in order, keeping {keeps:?}"));
        process.ending.draining.cancel();
        let requests = self.chance.millis(0..=2_000);
        let (guests, ending) = (process.guests.clone(), process.ending.clone());
        let (reports, keeper) = (process.reports.clone(), process.keeper.clone());
        let ended = process.ended.clone();
        let (sender, it, life) = (self.sender.clone(), name.to_owned(), worker.life);
        process.tasks.spawn(process.hang.with(async move {
            // The requests in flight end.
            sleep(requests).await;
            let ran = Supervisor(guests.clone()).replicas();
            if !keeps.is_zero() {
                reports.keep(guests.wanted());
            }
            guests.stop_all().await;
            ending.stopped.cancel();
            ending.close.cancel();
            ended.cancelled().await;
            let told: Vec<_> = ran.into_iter().filter(|it| !reports.contains(it)).collect();
            for replica in &told {
                guests.truth.stopped(replica);
            }
            keeper.forget(told).await;
            let _ = sender.send(News::WorkerStopped(it, life));
        }));
        true
    }

    /// Removes a process that has ended in order.
    pub fn bury_worker(&mut self, name: &str) {
        let Some(worker) = self.workers.get_mut(name) else {
            return;
        };
        worker.peer.cut();
        if let Some(process) = worker.process.take() {
            process.mounted.unmount();
            process.guests.die();
        }
        worker.life += 1;
        worker.down_until = Some(Instant::now() + self.chance.millis(1..=40_000));
        self.trace.note(format_args!("{name}: has stopped"));
    }

    pub fn kill_worker(&mut self, name: &str, why: &str) {
        let Some(worker) = self.workers.get_mut(name) else {
            return;
        };
        let silently = self.chance.of_thousand(500);
        match silently {
            true => worker.peer.vanish(),
            false => worker.peer.cut(),
        }
        if let Some(process) = worker.process.take() {
            process.mounted.unmount();
            process.guests.die();
        }
        worker.life += 1;
        let down = self.chance.millis(1..=30_000);
        worker.down_until = Some(Instant::now() + down);
        let how = if silently { "silently " } else { "" };
        self.trace.note(format_args!("{name}: dies {how}{why}"));
    }

    /// Makes the worker's process hang or resume. Returns false if it does not run.
    pub fn hang(&self, name: &str, hangs: bool) -> bool {
        let process = self.workers.get(name).and_then(|it| it.process.as_ref());
        process.inspect(|process| process.hang.set(hangs)).is_some()
    }
}
