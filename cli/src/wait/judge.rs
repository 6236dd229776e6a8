//! What the state of a workload and its replicas says about being ready. Pure.

use warren_proto::v1::{self, replica::Phase, revision::Cause, rollout::State};

use super::Patience;

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Ready,
    /// The id of the replica that is why.
    Broken(String),
    /// Its rollout makes no progress, for this reason.
    Stalled(String),
    Waiting,
}

/// Whether as many replicas of the present revision as wanted are ready and earlier ones take no more work.
pub fn judge(workload: &v1::Workload, replicas: &[v1::Replica], patience: Patience) -> Verdict {
    let observed = workload
        .status
        .as_ref()
        .map_or(0, |status| status.observed_generation);
    if observed < workload.generation {
        return Verdict::Waiting;
    }
    let wanted = wanted(workload);
    let (mut settled, mut alive) = (0, 0);
    let mut broken = None;
    for replica in replicas {
        let phase = replica.phase();
        // One of an earlier revision still answers requests, with what was replaced, until its worker heard that it stops.
        alive += u32::from(takes_work(replica));
        if replica.revision != workload.revision {
            continue;
        }
        settled += u32::from(is_settled(replica));
        let ended = phase == Phase::Backoff && patience == Patience::UntilEnded;
        let failed = phase == Phase::Failed && patience != Patience::Endless;
        if failed || ended {
            broken = Some(replica.id.clone());
        }
    }
    match broken {
        _ if settled >= wanted && alive <= wanted && is_noted(workload, wanted) => Verdict::Ready,
        Some(id) if settled < wanted => Verdict::Broken(id),
        _ => match stalled(workload).filter(|_| patience != Patience::Endless) {
            Some(why) => Verdict::Stalled(why),
            None => Verdict::Waiting,
        },
    }
}

/// Whether the server knows that the revision works, so that a later one can go back to it. Servers of before do not say.
fn is_noted(workload: &v1::Workload, wanted: u32) -> bool {
    let status = workload.status.as_ref();
    let rollout = status.and_then(|status| status.rollout.as_ref());
    wanted == 0 || rollout.is_none_or(|rollout| rollout.state() == State::Complete)
}

/// Why the rollout of the present revision takes no further step, if it does not.
fn stalled(workload: &v1::Workload) -> Option<String> {
    let status = workload.status.as_ref()?;
    let is_stalled = |held: &&v1::Condition| {
        held.r#type == "Progressing" && held.reason == "ProgressDeadlineExceeded"
    };
    let condition = status.conditions.iter().find(is_stalled)?;
    Some(condition.message.clone())
}

/// That a revision was rolled back, in words, if the present one did that.
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

/// How many replicas should run.
pub fn wanted(workload: &v1::Workload) -> u32 {
    let spec = workload.spec.as_ref();
    spec.and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Whether it does what it is there for, or has done it.
pub fn is_settled(replica: &v1::Replica) -> bool {
    replica.ready || replica.phase() == Phase::Completed
}

/// Whether it answers requests, or is about to.
pub fn takes_work(replica: &v1::Replica) -> bool {
    match replica.phase() {
        Phase::Pending | Phase::Starting | Phase::Running | Phase::Backoff => true,
        Phase::Stopping => !is_draining(replica),
        Phase::Unspecified | Phase::Completed | Phase::Failed | Phase::Stopped | Phase::Lost => {
            false
        }
    }
}

/// Whether its worker has heard that it is to stop: from then on it says itself why the replica is not ready.
fn is_draining(replica: &v1::Replica) -> bool {
    let mut conditions = replica.conditions.iter();
    conditions.any(|held| held.r#type == "Ready" && held.reason == "Draining")
}

/// Whether replicas of an earlier revision do the work.
pub fn earlier_serves(workload: &v1::Workload, replicas: &[v1::Replica]) -> bool {
    replicas
        .iter()
        .any(|replica| replica.revision != workload.revision && replica.ready)
}
