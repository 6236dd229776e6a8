//! Guests that start, serve, trap and stop, in place of a worker's supervisor.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use warren_proto::v1::replica::Phase;
use warren_worker::{
    lease::{LeaseExpired, SharedLease, Tenure},
    replica::{
        Assignment, NewestFence, Replicas, Usage,
        reports::{ReplicaState, ReportBook},
    },
};

use crate::{chance::Chance, machine::Hang, truth::Truth};

/// All guests of a worker's process.
pub struct Guests {
    pub worker: String,
    pub reports: ReportBook,
    pub truth: Arc<Truth>,
    pub chance: Chance,
    /// The chance that a start ends in a trap, in thousandths.
    pub trapping: Arc<AtomicU32>,
    pub lease: Arc<SharedLease>,
    pub hang: Hang,
    pub held: Mutex<BTreeMap<String, Handle>>,
    pub lives: Mutex<JoinSet<()>>,
    /// Whether the worker is stopping in order, and all guests with it.
    pub leaving: AtomicBool,
    /// Changes when a replica is no longer held.
    pub gone: watch::Sender<()>,
}

#[derive(Clone, Default)]
pub struct Handle {
    stop: CancellationToken,
    fence: NewestFence,
}

/// The life of one replica, which it reports as it changes.
struct Life {
    guests: Arc<Guests>,
    assignment: Assignment,
    handle: Handle,
    restarts: u32,
    /// The number of times that this process started it.
    starts: u32,
}

/// What permits a start of an exclusive service.
#[derive(Clone)]
struct Turn {
    fence: u64,
    tenure: Tenure,
}

enum End {
    Trapped,
    /// It trapped for the last time that its policy allows.
    Failed,
    /// The lease expired, which ended it at once.
    Lease(LeaseExpired),
    Stopped,
}

const BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// One trap in this many is the last that the policy allows.
const FAILURES: u64 = 12;
/// The time between two actions of an exclusive service that others can see.
const BEAT: Duration = Duration::from_millis(50);

// === impl Guests ===

impl Guests {
    /// Ends all guests, because their process has died.
    pub fn die(&self) {
        *self.lives.lock() = JoinSet::new();
        self.truth.all_end(&self.worker);
    }

    /// Returns the ids of the replicas that have not been asked to stop.
    pub fn wanted(&self) -> Vec<String> {
        let held = self.held.lock();
        let wanted = held.iter().filter(|(_, it)| !it.stop.is_cancelled());
        wanted.map(|(id, _)| id.clone()).collect()
    }

    /// Stops all replicas and accepts no more, as a worker does that stops in order.
    pub async fn stop_all(&self) {
        self.leaving.store(true, Relaxed);
        for held in self.held.lock().values() {
            held.stop.cancel();
        }
        let mut gone = self.gone.subscribe();
        while !self.held.lock().is_empty() {
            let _ = gone.changed().await;
        }
    }
}

/// A worker's guests as its session holds them.
pub struct Supervisor(pub Arc<Guests>);

impl Replicas for Supervisor {
    fn assign(&self, assignment: Assignment) {
        let guests = &self.0;
        let handle = Handle::default();
        handle.fence.raise(assignment.fence);
        let mut held = guests.held.lock();
        if let Some(held) = held.get(&assignment.replica) {
            held.fence.raise(assignment.fence);
            return;
        }
        if guests.leaving.load(Relaxed) {
            return;
        }
        held.insert(assignment.replica.clone(), handle.clone());
        drop(held);
        let life = Life {
            guests: guests.clone(),
            restarts: assignment.restarts,
            assignment,
            handle,
            starts: 0,
        };
        let life = guests.hang.with(life.lead());
        guests.lives.lock().spawn(life);
    }

    fn stop(&self, replica: &str) {
        if let Some(held) = self.0.held.lock().get(replica) {
            held.stop.cancel();
        }
    }

    fn replicas(&self) -> Vec<String> {
        self.0.held.lock().keys().cloned().collect()
    }

    fn memory_used(&self) -> u64 {
        0
    }

    fn usage(&self) -> Vec<(String, Usage)> {
        Vec::new()
    }
}

// === impl Life ===

impl Life {
    async fn lead(mut self) {
        let stop = self.handle.stop.clone();
        self.tell(Phase::Pending, false);
        let wait = self.guests.chance.millis(0..=400);
        let mut backoff = BACKOFF;
        let mut may_start = Box::pin(self.may_start(wait));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = &mut may_start => {}
            }
            match self.run().await {
                End::Trapped => {
                    self.tell(Phase::Backoff, false);
                    may_start = Box::pin(self.may_start(backoff));
                    backoff = MAX_BACKOFF.min(backoff * 2);
                    self.restarts += 1;
                }
                End::Lease(_) => {
                    self.tell(Phase::Backoff, false);
                    may_start = Box::pin(self.may_start(Duration::ZERO));
                }
                End::Failed => {
                    self.tell(Phase::Failed, false);
                    stop.cancelled().await;
                    break;
                }
                End::Stopped => break,
            }
        }
        self.tell(Phase::Stopping, false);
        let (truth, replica) = (&self.guests.truth, &self.assignment.replica);
        match self.guests.leaving.load(Relaxed) {
            // It may resume when its worker is back, until the control plane knows that it stopped.
            true => truth.ends(replica, "stops with its worker"),
            false => truth.stopped(replica),
        }
        self.tell(Phase::Stopped, false);
        self.guests.held.lock().remove(&self.assignment.replica);
        self.guests.gone.send_replace(());
    }

    /// Waits, and then for the lease if the service is exclusive.
    fn may_start(&self, wait: Duration) -> impl Future<Output = ()> + Send + use<> {
        let lease = self.assignment.fence.map(|_| self.guests.lease.clone());
        async move {
            sleep(wait).await;
            if let Some(lease) = lease {
                lease.held().await;
            }
        }
    }

    fn turn(&mut self) -> Option<Turn> {
        self.assignment.fence?;
        // Must be taken before the fence is read.
        let tenure = self.guests.lease.tenure();
        let fence = self.handle.fence.get()?.of_start(self.starts);
        self.starts += 1;
        Some(Turn { fence, tenure })
    }

    /// Runs the guest from one start to its end.
    async fn run(&mut self) -> End {
        let replica = &self.assignment.replica.clone();
        let turn = self.turn();
        let end = match &turn {
            None => self.serve(None).await,
            Some(turn) => {
                let guarded = turn.tenure.guard(self.serve(Some(turn.fence))).await;
                guarded.unwrap_or_else(End::Lease)
            }
        };
        self.guests.truth.ends(
            replica,
            match end {
                End::Trapped => "traps",
                End::Failed => "traps for the last time",
                End::Lease(_) => "ends with its worker's lease",
                End::Stopped => "ends",
            },
        );
        end
    }

    async fn serve(&self, fence: Option<u64>) -> End {
        let guests = &self.guests;
        let (truth, chance) = (&guests.truth, &guests.chance);
        truth.starts(&guests.worker, &self.assignment, fence);
        self.tell(Phase::Starting, false);
        let serving = async {
            sleep(chance.millis(1..=300)).await;
            self.tell(Phase::Running, true);
            if !chance.of_thousand(guests.trapping.load(Relaxed)) {
                return pending().await;
            }
            sleep(chance.millis(1..=20_000)).await;
            if guests.trapping.load(Relaxed) == 0 {
                // The faults have ended in the meantime.
                return pending().await;
            }
            match chance.number(1..=FAILURES) {
                1 => End::Failed,
                _ => End::Trapped,
            }
        };
        tokio::select! {
            biased;
            end = serving => end,
            () = self.act(fence) => pending().await,
            () = self.handle.stop.cancelled() => {
                // It may take its time, and acts until it ends.
                self.tell(Phase::Stopping, false);
                let longest = if chance.of_thousand(500) { 10 } else { 1_500 };
                let _ = timeout(chance.millis(0..=longest), self.act(fence)).await;
                End::Stopped
            }
        }
    }

    /// Acts as an exclusive service does, which is checked. Other services do nothing here.
    async fn act(&self, fence: Option<u64>) {
        let Some(fence) = fence else {
            return pending().await;
        };
        loop {
            let guests = &self.guests;
            guests.truth.acts(&guests.worker, &self.assignment, fence);
            sleep(BEAT).await;
        }
    }

    fn tell(&self, phase: Phase, ready: bool) {
        let state = ReplicaState {
            restarts: self.restarts,
            ready,
            ..ReplicaState::new(phase)
        };
        let replica = &self.assignment.replica;
        self.guests.reports.record(replica, state, None);
    }
}
