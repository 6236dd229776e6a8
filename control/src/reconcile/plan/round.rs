//! The state of one planning round: the observed state, with the effects of the actions so far.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use warren_model::{guard::Guard, name::Name};

use super::{
    Action, Cause, Failure, Observed, Placement, Plan, StopReason, Suspicion, Uncompilable, Waiting,
};
use crate::scheduler::{
    self, Demand, Departure, Hold, Lasting, Needs, Requirements, Unschedulable, WorkerView,
};

pub(super) use super::replica::{Class, Replica};

/// Whether a worker can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Ready,
    /// It is silent, and lost after this time.
    Away(Duration),
    /// It has shut down cleanly: none of its replicas runs, and they are kept for it for this time.
    Stopped(Duration),
    Lost,
}

pub(super) struct Round {
    /// Existing replicas, oldest first, followed by those created in this round.
    pub replicas: Vec<Replica>,
    workers: Vec<WorkerView>,
    requirements: Requirements,
    worker_timeout: Duration,
    up_for: Duration,
    earlier_leases: Duration,
    /// The workers on which replicas of this workload failed.
    avoid: BTreeSet<Name>,
    pub suspicion: Suspicion,
    uncompilable: Option<Uncompilable>,
    actions: Vec<Action>,
    wake_after: Option<Duration>,
}

// === impl Round ===

impl Round {
    pub fn new(observed: &Observed<'_>) -> Self {
        let mut replicas: Vec<Replica> = observed
            .replicas
            .iter()
            .map(|state| Replica::new(state, observed.workers, observed.workload))
            .collect();
        replicas.sort_by(|a, b| b.age.cmp(&a.age).then_with(|| a.id.cmp(&b.id)));
        let mut workers = observed.workers.to_vec();
        let revision = observed.workload.map(|desired| desired.revision);
        let goes = |replica: &&Replica| {
            replica.class == Class::Live && (replica.leaving || Some(replica.revision) != revision)
        };
        for replica in replicas.iter().filter(goes) {
            hold(&mut workers, replica, Hold::Ends);
        }
        let failed = replicas
            .iter()
            .filter(|replica| replica.class == Class::Failed);
        Self {
            avoid: failed
                .filter_map(|replica| replica.worker.clone())
                .collect(),
            replicas,
            workers,
            requirements: observed
                .workload
                .map(|desired| desired.requirements.clone())
                .unwrap_or_default(),
            suspicion: observed
                .workload
                .map(|desired| desired.suspicion.clone())
                .unwrap_or_default(),
            uncompilable: observed
                .workload
                .and_then(|desired| desired.uncompilable.clone()),
            worker_timeout: observed.worker_timeout,
            up_for: observed.up_for,
            earlier_leases: observed.earlier_leases,
            actions: Vec::new(),
            wake_after: None,
        }
    }

    pub fn into_plan(self) -> Plan {
        Plan {
            actions: self.actions,
            wake_after: self.wake_after,
        }
    }

    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub fn wake_after(&mut self, wait: Duration) {
        self.wake_after = Some(self.wake_after.map_or(wait, |before| before.min(wait)));
    }

    /// Returns whether no replica is left once the actions are carried out.
    pub fn is_empty(&self) -> bool {
        self.replicas
            .iter()
            .all(|replica| replica.class == Class::Gone)
    }

    pub fn count(&self, which: impl Fn(&Replica) -> bool) -> usize {
        self.replicas
            .iter()
            .filter(|replica| which(replica))
            .count()
    }

    /// The oldest first.
    pub fn all(&self, which: impl Fn(&Replica) -> bool) -> Vec<usize> {
        (0..self.replicas.len())
            .filter(|index| which(&self.replicas[*index]))
            .collect()
    }

    /// Those without an action, the oldest first.
    pub fn open(&self, which: impl Fn(&Replica) -> bool) -> Vec<usize> {
        self.all(|replica| !replica.done && which(replica))
    }

    /// Returns whether a replica's worker can be reached; an unknown worker is lost.
    pub fn reach(&self, replica: usize) -> Reach {
        match self.worker_of(replica) {
            Some(worker) if worker.ready => Reach::Ready,
            Some(WorkerView {
                departure:
                    Some(Departure {
                        keeps_for,
                        stopped: true,
                    }),
                ..
            }) => Reach::Stopped(*keeps_for),
            Some(worker) if Guard::LostAfterTimeout.is_enforced() => {
                let kept = worker.departure.map(|departure| departure.keeps_for);
                let left = self.worker_timeout.saturating_sub(worker.silent_for);
                let left = left.max(kept.unwrap_or_default());
                match left.max(self.earlier_leases) {
                    Duration::ZERO => Reach::Lost,
                    left => Reach::Away(left),
                }
            }
            _ => Reach::Lost,
        }
    }

    /// Returns for how much longer a stopping worker keeps a replica, if it does.
    pub fn kept_for(&self, replica: usize) -> Option<Duration> {
        let departure = self.worker_of(replica)?.departure?;
        Some(departure.keeps_for).filter(|left| !left.is_zero())
    }

    /// Returns the age of the session of a replica's worker.
    pub fn connected_for(&self, replica: usize) -> Duration {
        self.worker_of(replica)
            .map_or(Duration::ZERO, |worker| worker.connected_for)
    }

    /// Returns the time until every running worker has had the time to reconnect.
    pub fn until_all_were_heard(&self) -> Duration {
        self.worker_timeout.saturating_sub(self.up_for)
    }

    fn worker_of(&self, replica: usize) -> Option<&WorkerView> {
        let name = self.replicas[replica].worker.as_ref();
        self.workers
            .iter()
            .find(|worker| Some(&worker.name) == name)
    }

    /// Removes a replica; if its worker can be reached, by having it stop the replica.
    pub fn stop(&mut self, replica: usize, reason: StopReason) {
        let runs = !matches!(self.reach(replica), Reach::Lost | Reach::Stopped(_));
        if self.replicas[replica].worker.is_none() || !runs {
            return self.forget(replica);
        }
        // A replica that has ended holds no port; one that was lost has returned and holds its own.
        if matches!(self.replicas[replica].class, Class::Live | Class::Lost) {
            hold(&mut self.workers, &self.replicas[replica], Hold::Ends);
        }
        let id = self.done(replica, Class::Stopping);
        self.act(Action::Stop { id, reason });
    }

    pub fn forget(&mut self, replica: usize) {
        // It is unknown whether its worker still holds its ports.
        let class = self.replicas[replica].class;
        if matches!(class, Class::Live | Class::Stopping) {
            hold(&mut self.workers, &self.replicas[replica], Hold::Lost);
        }
        let id = self.done(replica, Class::Gone);
        self.act(Action::Forget { id });
    }

    pub fn mark_lost(&mut self, replica: usize) {
        hold(&mut self.workers, &self.replicas[replica], Hold::Lost);
        let id = self.done(replica, Class::Lost);
        self.replicas[replica].phase_age = Duration::ZERO;
        self.act(Action::MarkLost { id });
    }

    pub fn readmit(&mut self, replica: usize) {
        hold(&mut self.workers, &self.replicas[replica], Hold::Stays);
        let id = self.done(replica, Class::Live);
        self.act(Action::Readmit { id });
    }

    pub fn mark_available(&mut self, replica: usize) {
        let replica = &mut self.replicas[replica];
        replica.done = true;
        replica.noted = true;
        let id = replica.id.clone();
        self.act(Action::MarkAvailable { id });
    }

    fn done(&mut self, replica: usize, class: Class) -> String {
        let replica = &mut self.replicas[replica];
        replica.class = class;
        replica.ready = false;
        replica.available = false;
        replica.done = true;
        replica.id.clone()
    }

    /// Places a waiting replica of the current revision on a worker, if there is one.
    pub fn place(&mut self, replica: usize) {
        let held = &self.replicas[replica];
        let (needs, revision, refused) = (held.needs.clone(), held.revision, held.refused.clone());
        if let Ok(worker) = self.find_worker(&needs, revision, &refused) {
            let id = self.done(replica, Class::Live);
            self.replicas[replica].worker = Some(worker.clone());
            self.act(Action::Place { id, worker });
        }
    }

    /// Records why there is no worker for a waiting replica of the current revision.
    pub fn explain(&mut self, replica: usize) {
        let held = &self.replicas[replica];
        if let Err(waiting) = self.search(&held.needs, held.revision, &held.refused) {
            let waiting = self.in_full(waiting);
            self.tell_waiting(replica, waiting);
        }
    }

    /// Records why there is no worker, if the reason has changed.
    pub fn tell_waiting(&mut self, replica: usize, waiting: Waiting) {
        let held = &mut self.replicas[replica];
        if held.waiting.as_ref() != Some(&waiting) {
            held.done = true;
            let id = held.id.clone();
            self.act(Action::Unschedulable { id, waiting });
        }
    }

    /// Creates a replica. `refused` lists the workers that could not listen on its ports.
    pub fn create(
        &mut self,
        id: String,
        revision: u32,
        attempt: u32,
        refused: BTreeSet<Name>,
        needs: &Needs,
    ) {
        let found = self.find_worker(needs, revision, &refused);
        let worker = found.as_ref().ok().cloned();
        self.replicas.push(Replica {
            id: id.clone(),
            revision,
            class: if worker.is_some() {
                Class::Live
            } else {
                Class::Waiting
            },
            worker,
            ready: false,
            available: false,
            noted: false,
            ripens_in: Duration::ZERO,
            age: Duration::ZERO,
            phase_age: Duration::ZERO,
            attempt,
            waiting: None,
            needs: needs.clone(),
            failure: Failure::default(),
            refused: refused.clone(),
            compiling: false,
            placed_for: Duration::ZERO,
            on_trial: true,
            cut_short: None,
            leaving: false,
            stops_by_itself: false,
            done: true,
        });
        self.act(Action::Create {
            id,
            revision,
            attempt,
            refused,
            placement: match found {
                Ok(worker) => Placement::On(worker),
                Err(waiting) => Placement::Waiting(self.in_full(waiting)),
            },
        });
    }

    /// Returns the workers on which ports of this workload were not free.
    pub fn port_refusals(&self) -> BTreeSet<Name> {
        let lacking = self.replicas.iter().filter(|replica| replica.lacks_port());
        lacking
            .filter_map(|replica| replica.worker.clone())
            .collect()
    }

    /// Returns the worker for one more replica, or the reason why there is none.
    pub fn search(
        &self,
        needs: &Needs,
        revision: u32,
        refused: &BTreeSet<Name>,
    ) -> Result<Name, Waiting> {
        if let Some(held) = self.suspicion.holds() {
            return Err(held);
        }
        let found = self.best(needs, revision, refused, &self.workers);
        found.map_err(|reason| Waiting {
            reason: reason.to_string(),
            cause: match reason.lasting() {
                None => Cause::NoWorker,
                Some(Lasting::Ports) => Cause::Ports,
                Some(Lasting::Uncompilable) => Cause::Uncompilable,
            },
        })
    }

    /// With why it does not compile, for a replica of which no worker has said that.
    fn in_full(&self, mut waiting: Waiting) -> Waiting {
        if waiting.cause == Cause::Uncompilable
            && let Some(uncompilable) = &self.uncompilable
        {
            waiting.reason = format!("{}: {}", waiting.reason, uncompilable.message);
        }
        waiting
    }

    /// Returns whether there would be a worker if one replica were removed from its place.
    pub fn would_fit_without(
        &self,
        replica: usize,
        needs: &Needs,
        revision: u32,
        refused: &BTreeSet<Name>,
    ) -> bool {
        let leaving = &self.replicas[replica];
        let mut workers = self.workers.clone();
        for worker in &mut workers {
            if Some(&worker.name) == leaving.worker.as_ref() {
                worker.release(&leaving.needs);
            }
        }
        self.best(needs, revision, refused, &workers).is_ok()
    }

    fn find_worker(
        &mut self,
        needs: &Needs,
        revision: u32,
        refused: &BTreeSet<Name>,
    ) -> Result<Name, Waiting> {
        let name = self.search(needs, revision, refused)?;
        if let Some(worker) = self.workers.iter_mut().find(|worker| worker.name == name) {
            worker.take(needs);
        }
        Ok(name)
    }

    /// Only one revision counts for the spread: the replicas of others are about to be removed.
    fn best(
        &self,
        needs: &Needs,
        revision: u32,
        refused: &BTreeSet<Name>,
        workers: &[WorkerView],
    ) -> Result<Name, Unschedulable> {
        let mut spread: BTreeMap<Name, u32> = BTreeMap::new();
        for replica in &self.replicas {
            if replica.revision == revision
                && matches!(replica.class, Class::Live | Class::Completed)
                && let Some(worker) = &replica.worker
            {
                *spread.entry(worker.clone()).or_default() += 1;
            }
        }
        let none = BTreeSet::new();
        let demand = Demand {
            needs,
            requirements: &self.requirements,
            avoid: &self.avoid,
            refused,
            spread: &spread,
            uncompilable: self.uncompilable.as_ref().map_or(&none, |it| &it.workers),
        };
        scheduler::place(&demand, workers)
    }
}

/// Records on the worker for how long a replica holds its ports.
fn hold(workers: &mut [WorkerView], replica: &Replica, hold: Hold) {
    let here = |worker: &&mut WorkerView| Some(&worker.name) == replica.worker.as_ref();
    if let Some(worker) = workers.iter_mut().find(here) {
        worker.hold(&replica.needs, hold);
    }
}
