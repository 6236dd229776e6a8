//! Decides from the state of a workload and its replicas whether it is ready. Pure functions.

use warren_model::{condition, reason};
use warren_proto::v1::{self, condition::Status, replica::Phase, revision::Cause, rollout::State};

use super::Patience;

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Ready,
    /// The id of the broken replica.
    Broken(String),
    /// The id of a replica that no worker can take, according to the server's last decision.
    Stuck(String),
    /// Its rollout makes no progress, for this reason.
    Stalled(String),
    Waiting,
}

/// The state that replicas are awaited to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Ready at this moment.
    Serving,
    /// Ready for as long as the workload's `update.minReady` asks for.
    Available,
}

/// Reasons of a condition that time alone does not change.
const LASTING: [&str; 3] = [
    reason::PORT_UNAVAILABLE,
    reason::COMPILE_FAILED,
    reason::HELD,
];

/// Judges whether as many replicas of the current revision as wanted are ready and earlier ones
/// take no more work.
pub fn judge(
    workload: &v1::Workload,
    replicas: &[v1::Replica],
    patience: Patience,
    until: Until,
) -> Verdict {
    let observed = workload
        .status
        .as_ref()
        .map_or(0, |status| status.observed_generation);
    if observed < workload.generation {
        return Verdict::Waiting;
    }
    let wanted = wanted(workload);
    let (mut settled, mut alive) = (0, 0);
    let (mut broken, mut stuck) = (None, None);
    for replica in replicas {
        let phase = replica.phase();
        // A replica of an earlier revision keeps answering requests, with the old components, until
        // its worker has received the order to stop.
        alive += u32::from(takes_work(replica));
        if replica.revision != workload.revision {
            continue;
        }
        settled += u32::from(match until {
            Until::Serving => replica.ready || phase == Phase::Completed,
            Until::Available => is_settled(replica),
        });
        let ended = phase == Phase::Backoff && patience == Patience::UntilEnded;
        let failed = phase == Phase::Failed && !is_tried_elsewhere(replica);
        let gave_up = failed && patience != Patience::Endless;
        if gave_up || ended {
            broken = Some(replica.id.clone());
        }
        if has_no_worker(replica) && patience != Patience::Endless {
            stuck = Some(replica.id.clone());
        }
    }
    match (broken, stuck) {
        _ if settled >= wanted
            && alive <= wanted
            && (until == Until::Serving || is_noted(workload, wanted)) =>
        {
            Verdict::Ready
        }
        (Some(id), _) if settled < wanted => Verdict::Broken(id),
        (None, Some(id)) if settled < wanted => Verdict::Stuck(id),
        _ => match stalled(workload).filter(|_| patience != Patience::Endless) {
            Some(why) => Verdict::Stalled(why),
            None => Verdict::Waiting,
        },
    }
}

/// Returns whether the server has recorded that the revision works, so that a later one can be
/// rolled back to it. Older servers do not report this.
fn is_noted(workload: &v1::Workload, wanted: u32) -> bool {
    let status = workload.status.as_ref();
    let rollout = status.and_then(|status| status.rollout.as_ref());
    wanted == 0 || rollout.is_none_or(|rollout| rollout.state() == State::Complete)
}

/// Returns why the rollout of the current revision is stalled, if it is.
fn stalled(workload: &v1::Workload) -> Option<String> {
    let status = workload.status.as_ref()?;
    let is_stalled = |held: &&v1::Condition| {
        held.r#type == condition::PROGRESSING && held.reason == reason::PROGRESS_DEADLINE_EXCEEDED
    };
    let condition = status.conditions.iter().find(is_stalled)?;
    Some(condition.message.clone())
}

/// Returns a message if the current revision is a rollback of `revision`.
pub fn taken_back(revision: u32, now: &v1::Workload) -> Option<String> {
    let source = now.source_revision;
    match now.revision_cause() {
        Cause::RolledBack => Some(format!(
            "revision {revision} was rolled back to revision {source}"
        )),
        Cause::RolledBackOnFailure => Some(format!(
            "revision {revision} made no progress within its deadline and was rolled back to revision {source}"
        )),
        Cause::Unspecified | Cause::Applied | Cause::Restarted => None,
    }
}

/// Returns how many replicas should run.
pub fn wanted(workload: &v1::Workload) -> u32 {
    let spec = workload.spec.as_ref();
    spec.and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Returns whether it is available or has completed. For older servers, a ready replica counts as
/// available.
pub fn is_settled(replica: &v1::Replica) -> bool {
    replica.available.unwrap_or(replica.ready) || replica.phase() == Phase::Completed
}

/// Returns whether it failed only because a port is not free on its machine, and the server has not
/// decided yet whether another worker can take it. Older servers do not try that; they do not
/// report `available` either.
fn is_tried_elsewhere(replica: &v1::Replica) -> bool {
    replica.available.is_some()
        && unmet(replica, condition::STARTED)
            .is_some_and(|held| held.reason == reason::PORT_UNAVAILABLE)
        && unmet(replica, condition::SCHEDULED).is_none()
}

/// Returns whether no worker can take it until something is changed.
fn has_no_worker(replica: &v1::Replica) -> bool {
    replica.worker.is_empty()
        && unmet(replica, condition::SCHEDULED)
            .is_some_and(|held| LASTING.contains(&held.reason.as_str()))
}

fn unmet<'a>(replica: &'a v1::Replica, kind: &str) -> Option<&'a v1::Condition> {
    let mut conditions = replica.conditions.iter();
    conditions.find(|held| held.r#type == kind && held.status() == Status::False)
}

/// Returns whether it answers requests, or will soon.
pub fn takes_work(replica: &v1::Replica) -> bool {
    match replica.phase() {
        Phase::Pending | Phase::Starting | Phase::Running | Phase::Backoff => true,
        Phase::Stopping => !is_draining(replica),
        Phase::Unspecified | Phase::Completed | Phase::Failed | Phase::Stopped | Phase::Lost => {
            false
        }
    }
}

/// Returns whether its worker has received the order to stop. From then on the worker itself
/// reports why the replica is not ready.
fn is_draining(replica: &v1::Replica) -> bool {
    let mut conditions = replica.conditions.iter();
    conditions.any(|held| held.r#type == condition::READY && held.reason == reason::DRAINING)
}

/// Returns whether replicas of an earlier revision do the work.
pub fn earlier_serves(workload: &v1::Workload, replicas: &[v1::Replica]) -> bool {
    replicas
        .iter()
        .any(|replica| replica.revision != workload.revision && replica.ready)
}
