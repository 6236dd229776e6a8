//! Workloads that may take down the workers on which they are started.
//!
//! Whatever a guest does to its worker, it does as a rule while it is compiled or started, or soon after. But a worker may be lost
//! for reasons of its own, with all that happens to start on it. So a revision is held only if a second worker was lost by a
//! replica that was placed once the first loss was known, and if no other workload was on trial on all of these workers.
//! Losses at the same time, as of machines with one power supply or one switch, count once; and a worker whose very
//! process comes back was not lost.

use std::{collections::BTreeSet, time::Duration};

use warren_model::name::Name;

use super::{
    Action, Cause, Phase, ReplicaState, Waiting,
    round::{Class, Reach, Replica, Round},
};

/// How long a replica is on trial once it runs, or has ended.
const TRIAL: Duration = Duration::from_secs(30);
/// A loss that was so long ago has nothing to do with another.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// So many hold the revision.
const HOLDS: usize = 2;

/// What is known against a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspicion {
    /// Workers that were lost while a replica of it was on trial there; oldest first.
    pub losses: Vec<Loss>,
    /// Workers on which another workload is, or was when they were lost, on trial that was so on all workers of `losses`.
    pub shared: BTreeSet<Name>,
}

/// A worker that was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub worker: Name,
    /// How long ago it was given up.
    pub ago: Duration,
    /// Its process is back.
    pub returned: bool,
    /// As [`Action::Blame`] said.
    pub shared: bool,
}

/// Whether a replica is starting, or has begun or ended so lately that it may be what its worker was lost by. `silent_for`:
/// since its worker was last heard of.
pub fn on_trial(replica: &ReplicaState, silent_for: Duration) -> bool {
    let lately = replica.phase_age.saturating_sub(silent_for) < TRIAL;
    match replica.phase {
        Phase::Pending | Phase::Starting => !replica.survived,
        // One that got ready has shown that its worker can start it.
        Phase::Running => lately && !replica.ready && !replica.survived,
        Phase::Backoff => lately && !replica.survived,
        Phase::Completed | Phase::Failed | Phase::Stopping => lately,
        Phase::Stopped | Phase::Lost => false,
    }
}

/// Takes back what is refuted, and notes a worker that was lost since, before anything else is decided.
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

/// Whether it was placed once the last loss was known, and is on trial.
fn was_tried(replica: &Replica, last: Option<Duration>) -> bool {
    replica.on_trial
        && matches!(replica.class, Class::Live | Class::Stopping | Class::Failed)
        && last.is_none_or(|last| replica.placed_for <= last)
}

/// Whether its worker's process ended after the last loss was known.
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

    /// Why no worker is tried with it any more.
    pub(super) fn holds(&self) -> Option<Waiting> {
        let names: BTreeSet<_> = self.losses.iter().map(|it| it.worker.as_str()).collect();
        let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
        let were = match names.len() {
            1 => format!("worker {} was lost again and again", names[0]),
            _ => format!("workers {} were lost one after the other", names.join(", ")),
        };
        self.is_held().then(|| Waiting {
            reason: format!(
                "it is held, because {were} while it was starting there or shortly after: find out what it does to \
                 them, then apply another revision, or run `warren restart` to try it once more"
            ),
            cause: Cause::Held,
        })
    }

    /// Whether another workload may be as guilty.
    fn blame(&mut self, worker: Name) -> bool {
        self.losses.retain(|loss| loss.ago < FORGOTTEN);
        // The first is only compared with the next.
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
