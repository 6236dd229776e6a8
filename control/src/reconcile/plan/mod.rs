//! What to do about one workload now. Pure: no clock, no store, the same input gives the same plan.
//!
//! Level-triggered: a plan is made from what is, never from what happened, so that a lost wake-up or a restart of the
//! control plane costs nothing. Once all actions are carried out, planning again finds nothing to do.

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

/// One workload and all that matters for it.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// `None`: it is gone, and what is left of it goes too.
    pub workload: Option<&'a Desired>,
    pub replicas: &'a [ReplicaState],
    /// All workers, with every replica counted that may hold memory and ports there.
    pub workers: &'a [WorkerView],
    /// A worker that is silent for this long is lost.
    pub worker_timeout: Duration,
    /// How long this control plane runs: before one worker timeout it may not have heard of everybody.
    pub up_for: Duration,
    /// For how long workers may still go by what an earlier control plane acknowledged: nobody is lost before.
    pub earlier_leases: Duration,
}

/// What should be.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Replicas of any other revision are replaced.
    pub revision: u32,
    pub replicas: u32,
    /// Of a replica of this revision.
    pub needs: Needs,
    pub requirements: Requirements,
    pub deleting: bool,
    /// How many replicas more than asked for an update may use.
    pub max_surge: u32,
    /// How many of those asked for may be missing during an update.
    pub max_unavailable: u32,
    /// Old replicas stop before new ones start: nobody minds the gap, and two at once would confuse.
    pub stop_first: bool,
    /// No replica starts before all others have ended for certain. At most one is asked for.
    pub exclusive: bool,
    /// `None`: nothing was noted of this revision's.
    pub rollout: Option<Rollout>,
    /// A rollout that makes no progress for so long stalls.
    pub progress_deadline: Duration,
    /// The revision to go back to when the rollout stalls.
    pub roll_back_to: Option<u32>,
    /// How long a replica is ready before it counts.
    pub min_ready: Duration,
    /// A replica that failed after its service had run keeps its place.
    pub keeps_failed: bool,
    /// So does one that is lost.
    pub keeps_lost: bool,
    /// Of this revision.
    pub suspicion: Suspicion,
    /// `None`: no component of it is known not to compile.
    pub uncompilable: Option<Uncompilable>,
}

/// A component that workers tried to compile in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncompilable {
    /// Workers that cannot compile it either.
    pub workers: BTreeSet<Name>,
    /// Why not, and what to do.
    pub message: String,
}

/// What one replica is, as far as the control plane knows.
#[derive(Clone, Debug)]
pub struct ReplicaState {
    pub id: String,
    pub revision: u32,
    /// `None`: none was found yet.
    pub worker: Option<Name>,
    pub phase: Phase,
    pub ready: bool,
    /// For how long it has been ready without a break.
    pub ready_for: Duration,
    /// It was noted that it has been ready for long enough to count.
    pub available: bool,
    /// Since it was made.
    pub age: Duration,
    /// Since its phase was entered.
    pub phase_age: Duration,
    /// Since it has its worker.
    pub placed_for: Duration,
    /// How long ago another process of its worker took the place of one that had ended while this was on trial there.
    pub cut_short: Option<Duration>,
    /// Its service was started more than once, and no worker was lost by it.
    pub survived: bool,
    /// How many replicas before it failed in a row, as [`Action::Create`] gave it.
    pub attempt: u32,
    /// Its worker makes machine code of its components.
    pub compiling: bool,
    /// Why it has no worker, as it was last told; of a failed one, why no other worker can take its place.
    pub waiting: Option<Waiting>,
    /// Of its own revision.
    pub needs: Needs,
    /// Of a failed one.
    pub failure: Failure,
    /// Workers that could not listen on its ports, as [`Action::Create`] gave them.
    pub refused: BTreeSet<Name>,
}

/// Why there is no worker for a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub cause: Cause,
}

/// What kind of thing a replica waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// It may pass with time.
    #[default]
    NoWorker,
    /// Published ports: somebody has to change something.
    Ports,
    /// No worker can compile it.
    Uncompilable,
    /// Its revision may have taken workers down.
    Held,
}

/// What made a replica fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failure {
    /// Its service had run.
    #[default]
    Ended,
    /// Its service could not be started.
    CannotRun,
    /// Something that is not Warren's has a port that it publishes.
    PortUnavailable,
}

/// Where a replica is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Starting,
    Running,
    Backoff,
    Completed,
    Failed,
    /// It was asked to stop, whatever its worker last said.
    Stopping,
    Stopped,
    Lost,
}

/// Everything to do, and when to look again if nothing happens before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// At most one for each replica, and one for the rollout.
    pub actions: Vec<Action>,
    pub wake_after: Option<Duration>,
}

/// One step towards what should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A new replica, PENDING.
    Create {
        id: String,
        revision: u32,
        attempt: u32,
        /// Workers that could not listen on its ports.
        refused: BTreeSet<Name>,
        placement: Placement,
    },
    /// A PENDING replica gets its worker.
    Place { id: String, worker: Name },
    /// A PENDING replica has no worker, or a FAILED one whose ports are taken no other, for another reason than before.
    Unschedulable { id: String, waiting: Waiting },
    /// A replica has been ready for long enough to count.
    MarkAvailable { id: String },
    /// Its worker is to stop it: STOPPING.
    Stop { id: String, reason: StopReason },
    /// Its record goes. A worker that still has it stops whatever it is not told to run.
    Forget { id: String },
    /// Its worker is lost: LOST.
    MarkLost { id: String },
    /// LOST no more: its worker is back and nothing took its place. Its phase is what the worker says.
    Readmit { id: String },
    /// A worker was lost while a replica of the present revision was on trial there. `shared`: so was another workload's,
    /// there and on all workers before.
    Blame { worker: Name, shared: bool },
    /// It was not lost after all: the process that ran there is back.
    Acquit { worker: Name },
    /// The rollout moved on, came to its end, or stalled.
    Note(Note),
    /// The rollout stalled, and an earlier revision takes its place: the next plan is about that one.
    RollBack { revision: u32 },
    /// Nothing is left of the deleted workload but itself.
    Finish,
}

/// Where a new replica begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    On(Name),
    /// No worker can take it, and why.
    Waiting(Waiting),
}

/// Why a replica is stopped. `Display` is a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    Deleted,
    ScaledDown {
        replicas: u32,
    },
    Superseded {
        revision: u32,
    },
    /// Superseded, but before its successor can start.
    StopFirst {
        revision: u32,
    },
    /// Its worker is drained.
    Drained,
    /// It failed and another one takes its place.
    Failed,
    /// It was lost and came back after another one took its place.
    Replaced,
    /// Its revision may have taken workers down.
    Held,
}

/// Plans for one workload. `new_id` makes an id that was never used.
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
    /// Whether a replica of this phase may hold memory and ports of its worker. The index counts what
    /// real ones hold by `ReplicaRecord::occupies`.
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
