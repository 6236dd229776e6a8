//! A worker's machine: its disk and its way to the control plane outlive the process.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet, time::Instant};
use warren_model::name::Name;
use warren_proto::v1;
use warren_worker::{
    agent::{
        Replicas,
        reports::ReportBook,
        session::{Ending, Session, SessionConfig},
        state::Keeper,
    },
    ingress::FleetRoutes,
    lease::SharedLease,
    logs::{LogHub, LogLimits},
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
    /// When it starts again.
    pub down_until: Option<Instant>,
    disk: Disk,
    process: Option<Process>,
}

/// A worker that runs.
struct Process {
    mounted: Arc<Mounted>,
    guests: Arc<Guests>,
    hang: Hang,
    _tasks: JoinSet<()>,
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

    /// The end of all.
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
            // From here on, though it is only buried when that is heard.
            stands_still.set(true);
            let _ = sender.send(News::WorkerDies(it.clone(), life));
        };
        let mounted = worker.disk.mount(self.chance.fork(), &self.perils, dies);
        let Ok((keeper, last)) = Keeper::on(mounted.clone()) else {
            // It died while it opened its directory, which is told.
            return;
        };
        let reports = ReportBook::new();
        let seen = last.seen;
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
        });
        let ending = Ending::default();
        let session = Session {
            config: SessionConfig {
                control: vec![Arc::new(Way(worker.peer.clone()))],
                worker_id: format!("id-of-{name}"),
                name: Name::parse(name).expect("a DNS label"),
                address: format!("http://{name}:7701"),
                labels: BTreeMap::new(),
                volumes: Vec::new(),
                capacity: v1::Resources {
                    memory_bytes: 1 << 36,
                    replicas: 100,
                    keeps_reserves: Some(true),
                },
            },
            replicas: Arc::new(Supervisor(guests.clone())) as Arc<dyn Replicas>,
            reports: reports.clone(),
            routes: FleetRoutes::new(name),
            logs: LogHub::new(LogLimits::default()),
            lease,
            keeper: keeper.clone(),
            left,
            seen,
            told: AtomicBool::new(false),
            source: watch::Sender::new(None),
            opened: watch::Sender::new(false),
            ending: ending.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(hang.with(keeper.watch(reports, ending.close)));
        let (trace, it) = (self.trace.clone(), name.to_owned());
        tasks.spawn(hang.with(async move {
            if let Err(error) = session.run().await {
                trace.violation(
                    Promise::NobodyIsRefused,
                    format_args!("{it}: its session ended: {error}"),
                );
            }
        }));
        worker.process = Some(Process {
            mounted,
            guests,
            hang,
            _tasks: tasks,
        });
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

    /// The worker's process stands still, or goes on. False where there is none.
    pub fn hang(&self, name: &str, hangs: bool) -> bool {
        let process = self.workers.get(name).and_then(|it| it.process.as_ref());
        process.inspect(|process| process.hang.set(hangs)).is_some()
    }
}
