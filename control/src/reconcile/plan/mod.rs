//! Plans what to do about one workload now. Pure: it uses no clock and no store, and the same input
//! gives the same plan.
//!
//! Plans are level-triggered: they depend on the current state, never on what happened, so a lost
//! wake-up or a restart of the control plane does no harm. Once all actions are carried out,
//! planning again finds nothing to do.

use std::{collections::BTreeSet, fmt, time::Duration};

use warren_model::name::Name;

use crate::scheduler::{Needs, Requirements, WorkerView};

mod failures;
mod handover;
mod replica;
mod rollout;
mod round;
mod rules;
#[cfg(test)]
mod simulation;
mod suspicion;
#[cfg(test)]
mod tests;

pub use rollout::{Note, Rollout, RolloutState};
use round::Round;
pub use suspicion::{Loss, Suspicion, on_trial};

/// One workload and everything that matters for its plan.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// `None` if the workload was deleted: its replicas are removed too.
    pub workload: Option<&'a Desired>,
    pub replicas: &'a [ReplicaState],
    /// All workers, including what every replica holds that may occupy memory and ports there.
    pub workers: &'a [WorkerView],
    /// A worker that is silent for this long is lost.
    pub worker_timeout: Duration,
    /// How long this control plane has been running: during the first worker timeout some workers
    /// may not have reconnected yet.
    pub up_for: Duration,
    /// For how long workers may still rely on heartbeats that an earlier control plane
    /// acknowledged; no worker is lost before that.
    pub earlier_leases: Duration,
}

/// The desired state.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Replicas of any other revision are replaced.
    pub revision: u32,
    pub replicas: u32,
    /// Of a replica of this revision.
    pub needs: Needs,
    pub requirements: Requirements,
    pub deleting: bool,
    /// The number of extra replicas that may exist during an update.
    pub max_surge: u32,
    /// The number of desired replicas that may be missing during an update.
    pub max_unavailable: u32,
    /// Old replicas stop before new ones start: the gap is acceptable, and two replicas at once
    /// would be confusing.
    pub stop_first: bool,
    /// No replica starts before all others have certainly ended. At most one is desired.
    pub exclusive: bool,
    /// `None` if nothing was recorded for this revision's rollout.
    pub rollout: Option<Rollout>,
    /// The time without progress after which a rollout stalls.
    pub progress_deadline: Duration,
    /// The revision to go back to when the rollout stalls.
    pub roll_back_to: Option<u32>,
    /// How long a replica has to be ready before it counts as available.
    pub min_ready: Duration,
    /// A replica that failed after its service had run keeps its place.
    pub keeps_failed: bool,
    /// A lost replica keeps its place.
    pub keeps_lost: bool,
    /// Of this revision.
    pub suspicion: Suspicion,
    /// `None` if no component of it is known to fail to compile.
    pub uncompilable: Option<Uncompilable>,
}

/// A component that workers failed to compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncompilable {
    /// The workers that cannot compile it either.
    pub workers: BTreeSet<Name>,
    /// The reason, and what to do about it.
    pub message: String,
}

/// The state of one replica, as far as the control plane knows it.
#[derive(Clone, Debug)]
pub struct ReplicaState {
    pub id: String,
    pub revision: u32,
    /// `None` if no worker was found yet.
    pub worker: Option<Name>,
    pub phase: Phase,
    pub ready: bool,
    /// For how long it has been ready without interruption.
    pub ready_for: Duration,
    /// Whether it is recorded as having been ready for long enough to count.
    pub available: bool,
    /// The time since it was created.
    pub age: Duration,
    /// The time since it entered its phase.
    pub phase_age: Duration,
    /// The time since it was placed on its worker.
    pub placed_for: Duration,
    /// How long ago the process of its worker was replaced after the previous one had ended while
    /// this replica was on trial there.
    pub cut_short: Option<Duration>,
    /// Its service was started more than once without the loss of a worker.
    pub survived: bool,
    /// The number of consecutive failures before it, as set by [`Action::Create`].
    pub attempt: u32,
    /// Its worker is compiling its components.
    pub compiling: bool,
    /// The last reported reason why it has no worker or, if it has failed, why no other worker can
    /// take its place.
    pub waiting: Option<Waiting>,
    /// Of its own revision.
    pub needs: Needs,
    /// Of a failed one.
    pub failure: Failure,
    /// The workers that could not listen on its ports, as set by [`Action::Create`].
    pub refused: BTreeSet<Name>,
}

/// The reason why there is no worker for a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub cause: Cause,
}

/// The kind of obstacle that a replica waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// An obstacle that may disappear with time.
    #[default]
    NoWorker,
    /// Published ports are taken: this needs a change by a person.
    Ports,
    /// No worker can compile it.
    Uncompilable,
    /// Its revision may have crashed workers.
    Held,
}

/// The cause of a replica's failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failure {
    /// Its service had run.
    #[default]
    Ended,
    /// Its service could not be started.
    CannotRun,
    /// A process outside Warren holds a port that it publishes.
    PortUnavailable,
}

/// A replica's place in its life cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Starting,
    Running,
    Backoff,
    Completed,
    Failed,
    /// It was requested to stop, whatever its worker last reported.
    Stopping,
    Stopped,
    Lost,
}

/// The actions to carry out, and when to plan again if nothing happens before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// At most one for each replica, and one for the rollout.
    pub actions: Vec<Action>,
    pub wake_after: Option<Duration>,
}

/// One step towards the desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create a replica in the phase PENDING.
    Create {
        id: String,
        revision: u32,
        attempt: u32,
        /// Workers that could not listen on its ports.
        refused: BTreeSet<Name>,
        placement: Placement,
    },
    /// Place a PENDING replica on a worker.
    Place { id: String, worker: Name },
    /// Record a new reason why a PENDING replica has no worker, or why no other worker can take a
    /// FAILED one whose ports are taken.
    Unschedulable { id: String, waiting: Waiting },
    /// Record that a replica has been ready for long enough to count.
    MarkAvailable { id: String },
    /// Have its worker stop the replica: STOPPING.
    Stop { id: String, reason: StopReason },
    /// Delete the replica's record. A worker that still runs it stops it, because it stops
    /// everything that is not assigned to it.
    Forget { id: String },
    /// Mark a replica LOST because its worker is lost.
    MarkLost { id: String },
    /// Mark a LOST replica as returned: its worker is back and it was not replaced. Its phase is
    /// the one that the worker reports.
    Readmit { id: String },
    /// Record that a worker was lost while a replica of the current revision was on trial there.
    /// `shared` means that another workload was also on trial there, and on all workers that were
    /// lost before.
    Blame { worker: Name, shared: bool },
    /// Withdraw the blame: the process that ran there is back.
    Acquit { worker: Name },
    /// Record that the rollout made progress, completed or stalled.
    Note(Note),
    /// Roll back a stalled rollout to an earlier revision; the next plan is about that one.
    RollBack { revision: u32 },
    /// Delete the workload's own record: nothing else is left of it.
    Finish,
}

/// The state that a new replica starts in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    On(Name),
    /// No worker can take it, for this reason.
    Waiting(Waiting),
}

/// The reason why a replica is stopped. Its `Display` text is a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    Deleted,
    ScaledDown {
        replicas: u32,
    },
    Superseded {
        revision: u32,
    },
    /// It is superseded, and has to stop before its successor can start.
    StopFirst {
        revision: u32,
    },
    /// Its worker is being drained.
    Drained,
    /// It failed and is replaced.
    Failed,
    /// It was lost, and returned after it had been replaced.
    Replaced,
    /// Its revision may have crashed workers.
    Held,
}

/// Plans one workload. `new_id` returns an id that was never used.
pub fn plan(observed: &Observed<'_>, new_id: &mut dyn FnMut() -> String) -> Plan {
    let mut round = Round::new(observed);
    rules::forget_stopped(&mut round);
    match observed.workload {
        Some(desired) if !desired.deleting => rules::converge(&mut round, desired, new_id),
        Some(_) => {
            rules::clear(&mut round);
            if round.is_empty() {
                round.act(Action::Finish);
            }
        }
        None => rules::clear(&mut round),
    }
    round.into_plan()
}

// === impl Phase ===

#[cfg(test)]
impl Phase {
    /// Returns whether a replica in this phase may hold memory and ports of its worker. The index
    /// counts what stored replicas hold by `ReplicaRecord::occupies`.
    pub fn occupies(self) -> bool {
        !matches!(self, Self::Failed | Self::Stopped)
    }
}

// === impl StopReason ===

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deleted => f.write_str("the workload is deleted"),
            Self::ScaledDown { replicas } => write!(f, "the workload is scaled to {replicas}"),
            Self::Superseded { revision } => write!(f, "revision {revision} takes its place"),
            Self::StopFirst { revision } => {
                write!(f, "revision {revision} is started once it has stopped")
            }
            Self::Drained => f.write_str("its worker is drained"),
            Self::Failed => f.write_str("it failed and another replica takes its place"),
            Self::Held => f.write_str("its revision is held"),
            Self::Replaced => f.write_str("its worker was lost and another replica took its place"),
        }
    }
}
