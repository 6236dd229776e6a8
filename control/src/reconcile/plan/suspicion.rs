//! Detects workloads that may crash the workers on which they are started.
//!
//! If a guest harms its worker, it usually does so while it is compiled or started, or soon after.
//! But a worker may also be lost for reasons of its own, with everything that happens to be
//! starting on it. So a revision is held only if a second worker was lost with a replica that was
//! placed after the first loss was known, and if no other workload was on trial on all of these
//! workers. Simultaneous losses, such as of machines that share a power supply or a switch, count
//! once; and a worker whose very process returns was not lost.

use std::{collections::BTreeSet, time::Duration};

use warren_model::name::Name;

use super::{
    Action, Cause, Phase, ReplicaState, Waiting,
    round::{Class, Reach, Replica, Round},
};

/// How long a replica is on trial once it runs or has ended.
const TRIAL: Duration = Duration::from_secs(30);
/// The time after which a loss is unrelated to later ones.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// The number of losses that hold the revision.
const HOLDS: usize = 2;

/// The evidence against a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspicion {
    /// The workers that were lost while a replica of it was on trial there, oldest first.
    pub losses: Vec<Loss>,
    /// The workers on which another workload is on trial, or was when they were lost, if it was on
    /// trial on all workers of `losses`.
    pub shared: BTreeSet<Name>,
}

/// A worker that was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub worker: Name,
    /// The time since it was given up.
    pub ago: Duration,
    /// The process of the worker is back.
    pub returned: bool,
    /// As [`Action::Blame`] said.
    pub shared: bool,
}

/// Returns whether a replica is starting, or has begun or ended so recently that it may be the
/// cause if its worker is lost. `silent_for` is the time since the worker's last heartbeat.
pub fn on_trial(replica: &ReplicaState, silent_for: Duration) -> bool {
    let lately = replica.phase_age.saturating_sub(silent_for) < TRIAL;
    match replica.phase {
        Phase::Pending | Phase::Starting => !replica.survived,
        // A replica that became ready has shown that its worker can start it.
        Phase::Running => lately && !replica.ready && !replica.survived,
        Phase::Backoff => lately && !replica.survived,
        Phase::Completed | Phase::Failed | Phase::Stopping => lately,
        Phase::Stopped | Phase::Lost => false,
    }
}

/// Withdraws refuted blame and records a newly lost worker, before anything else is decided.
pub(super) fn judge(round: &mut Round, revision: u32) {
    let losses = &mut round.suspicion.losses;
    let returned: Vec<_> = losses.extract_if(.., |loss| loss.returned).collect();
    for Loss { worker, .. } in returned {
        round.act(Action::Acquit { worker });
    }
    if round.suspicion.is_held() {
        return;
    }
    let last = round.suspicion.losses.last().map(|loss| loss.ago);
    let is_lost = |index: &usize| {
        let replica = &round.replicas[*index];
        replica.revision == revision
            && (was_cut_short(replica, last) || (was_tried(replica, last) && lost(round, *index)))
    };
    let found = (0..round.replicas.len()).find(is_lost);
    if let Some(worker) = found.and_then(|index| round.replicas[index].worker.clone()) {
        let shared = round.suspicion.blame(worker.clone());
        round.act(Action::Blame { worker, shared });
    }
}

/// Returns whether it was placed after the last loss was known, and is on trial.
fn was_tried(replica: &Replica, last: Option<Duration>) -> bool {
    replica.on_trial
        && matches!(replica.class, Class::Live | Class::Stopping | Class::Failed)
        && last.is_none_or(|last| replica.placed_for <= last)
}

/// Returns whether its worker's process ended after the last loss was known.
fn was_cut_short(replica: &Replica, last: Option<Duration>) -> bool {
    let cut = replica.cut_short;
    cut.is_some_and(|cut| cut < FORGOTTEN && last.is_none_or(|last| cut < last))
}

fn lost(round: &Round, replica: usize) -> bool {
    round.reach(replica) == Reach::Lost
}

// === impl Suspicion ===

impl Suspicion {
    pub fn is_held(&self) -> bool {
        let last = self.losses.last();
        self.losses.len() >= HOLDS && last.is_some_and(|last| !last.shared)
    }

    /// Returns why the revision is not tried on any more workers.
    pub(super) fn holds(&self) -> Option<Waiting> {
        let names: BTreeSet<_> = self.losses.iter().map(|it| it.worker.as_str()).collect();
        let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
        let were = match names.len() {
            1 => format!("worker {} was lost repeatedly", names[0]),
            _ => format!("workers {} were lost one after another", names.join(", ")),
        };
        self.is_held().then(|| Waiting {
            reason: format!(
                "it is held, because {were} while it was starting there or shortly after: find out what it does to \
                 them, then apply another revision, or run `warren restart` to try it once more"
            ),
            cause: Cause::Held,
        })
    }

    /// Returns whether another workload may equally be the cause.
    fn blame(&mut self, worker: Name) -> bool {
        self.losses.retain(|loss| loss.ago < FORGOTTEN);
        // The first loss is only compared with the next.
        let shared = !self.losses.is_empty() && self.shared.contains(&worker);
        self.losses.push(Loss {
            worker,
            ago: Duration::ZERO,
            returned: false,
            shared,
        });
        shared
    }
}
