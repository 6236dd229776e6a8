//! What is noted with a workload of its rollout: all that a control plane knows of it, so that the next one goes on.

use prost_types::Timestamp;
use warren_model::name::Name;
use warren_proto::v1::{self, rollout::State};

/// Losses of workers that are noted: more than hold a revision.
const LOSSES: usize = 8;

/// What is noted of the present revision's rollout; `None` where an earlier version of Warren made the revision.
pub fn of(workload: &v1::Workload) -> Option<&v1::Rollout> {
    let noted = workload.status.as_ref()?.rollout.as_ref()?;
    (noted.revision == workload.revision).then_some(noted)
}

/// The newest revision that was rolled out whole; 0: none.
pub fn stable_revision(workload: &v1::Workload) -> u32 {
    let noted = workload.status.as_ref();
    noted
        .and_then(|status| status.rollout.as_ref())
        .map_or(0, |rollout| rollout.stable_revision)
}

/// The present revision's, begun where nothing was noted of it.
pub fn present(workload: &v1::Workload) -> v1::Rollout {
    of(workload).cloned().unwrap_or_else(|| v1::Rollout {
        revision: workload.revision,
        stable_revision: stable_revision(workload),
        ..v1::Rollout::default()
    })
}

/// A worker was lost, perhaps by the present revision.
pub fn blame(workload: &mut v1::Workload, loss: v1::WorkerLoss) {
    let mut rollout = present(workload);
    rollout.losses.push(loss);
    let surplus = rollout.losses.len().saturating_sub(LOSSES);
    rollout.losses.drain(..surplus);
    note(workload, rollout);
}

/// This process of it was not lost.
pub fn acquit(workload: &mut v1::Workload, worker: &Name, instance: &str) {
    let mut rollout = present(workload);
    let is_it = |loss: &v1::WorkerLoss| loss.worker == worker.as_str() && loss.instance == instance;
    rollout.losses.retain(|loss| !is_it(loss));
    note(workload, rollout);
}

/// The present revision's rollout begins.
pub fn begin(workload: &mut v1::Workload, now: Timestamp) {
    let rollout = v1::Rollout {
        revision: workload.revision,
        state: State::Progressing.into(),
        state_time: Some(now),
        progress_time: Some(now),
        stable_revision: stable_revision(workload),
        ..v1::Rollout::default()
    };
    note(workload, rollout);
}

/// Somebody asked for another number of replicas: a rollout that is not complete has its whole deadline again.
pub fn give_time(workload: &mut v1::Workload, now: Timestamp) {
    let Some(held) = of(workload) else { return };
    if held.state() != State::Complete {
        let mut rollout = held.clone();
        enter(&mut rollout, State::Progressing, now);
        rollout.progress_time = Some(now);
        rollout.message.clear();
        note(workload, rollout);
    }
}

/// The rollout stalled, and could not be taken back for this reason.
pub fn stall(workload: &mut v1::Workload, message: String, now: Timestamp) {
    let Some(held) = of(workload) else { return };
    let mut rollout = held.clone();
    enter(&mut rollout, State::Stalled, now);
    rollout.message = message;
    note(workload, rollout);
}

/// Sets the state, and the time of the change if it is one.
pub fn enter(rollout: &mut v1::Rollout, state: State, now: Timestamp) {
    if rollout.state() != state {
        rollout.set_state(state);
        rollout.state_time = Some(now);
    }
}

/// The rest of the status is derived where it is read, and never stored.
pub fn note(workload: &mut v1::Workload, rollout: v1::Rollout) {
    workload.status = Some(v1::WorkloadStatus {
        rollout: Some(rollout),
        ..v1::WorkloadStatus::default()
    });
}
