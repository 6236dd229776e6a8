//! What the state of a workload and its replicas says about being ready. Pure.

use warren_proto::v1::{self, condition::Status, replica::Phase, revision::Cause, rollout::State};

use super::Patience;

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Ready,
    /// The id of the replica that is why.
    Broken(String),
    /// The id of a replica that no worker can take, as the server last saw it.
    Stuck(String),
    /// Its rollout makes no progress, for this reason.
    Stalled(String),
    Waiting,
}

/// What replicas are waited for to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Ready at this moment.
    Serving,
    /// Ready for as long as the workload's `update.minReady` asks for.
    Available,
}

/// The reason of a condition: a published port is not free.
const PORT_UNAVAILABLE: &str = "PortUnavailable";
/// Reasons of a condition that time alone does not change.
const LASTING: [&str; 3] = [PORT_UNAVAILABLE, "CompileFailed", "Held"];

/// Whether as many replicas of the present revision as wanted are ready and earlier ones take no more work.
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
        // One of an earlier revision still answers requests, with what was replaced, until its worker heard that it stops.
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

/// Whether it does what it is there for and has shown that it does, or has done it. Servers of before take whatever is ready.
pub fn is_settled(replica: &v1::Replica) -> bool {
    replica.available.unwrap_or(replica.ready) || replica.phase() == Phase::Completed
}

/// Whether it failed only because a port is not free where it is, and the server has yet to say whether another worker
/// takes it. Servers of before, which do not try that, do not say who is available either.
fn is_tried_elsewhere(replica: &v1::Replica) -> bool {
    replica.available.is_some()
        && unmet(replica, "Started").is_some_and(|held| held.reason == PORT_UNAVAILABLE)
        && unmet(replica, "Scheduled").is_none()
}

/// Whether no worker will take it before somebody changes something.
fn has_no_worker(replica: &v1::Replica) -> bool {
    replica.worker.is_empty()
        && unmet(replica, "Scheduled").is_some_and(|held| LASTING.contains(&held.reason.as_str()))
}

fn unmet<'a>(replica: &'a v1::Replica, kind: &str) -> Option<&'a v1::Condition> {
    let mut conditions = replica.conditions.iter();
    conditions.find(|held| held.r#type == kind && held.status() == Status::False)
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
