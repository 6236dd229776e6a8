//! The notes about a rollout that are stored with its workload: all that a control plane knows of
//! it, so that the next one can continue it.

use prost_types::Timestamp;
use warren_model::name::Name;
use warren_proto::v1::{self, rollout::State};

/// The number of losses of workers that are noted, which is more than are needed to hold a
/// revision.
const LOSSES: usize = 8;

/// Returns the notes about the present revision's rollout; `None` where an earlier version of
/// Warren made the revision.
pub fn of(workload: &v1::Workload) -> Option<&v1::Rollout> {
    let noted = workload.status.as_ref()?.rollout.as_ref()?;
    (noted.revision == workload.revision).then_some(noted)
}

/// Returns the newest revision that was rolled out whole; 0 is none.
pub fn stable_revision(workload: &v1::Workload) -> u32 {
    let noted = workload.status.as_ref();
    noted
        .and_then(|status| status.rollout.as_ref())
        .map_or(0, |rollout| rollout.stable_revision)
}

/// Returns the notes about the present revision's rollout, begun where there are none.
pub fn present(workload: &v1::Workload) -> v1::Rollout {
    of(workload).cloned().unwrap_or_else(|| v1::Rollout {
        revision: workload.revision,
        stable_revision: stable_revision(workload),
        ..v1::Rollout::default()
    })
}

/// Notes that a worker was lost, perhaps because of the present revision.
pub fn blame(workload: &mut v1::Workload, loss: v1::WorkerLoss) {
    let mut rollout = present(workload);
    rollout.losses.push(loss);
    let surplus = rollout.losses.len().saturating_sub(LOSSES);
    rollout.losses.drain(..surplus);
    note(workload, rollout);
}

/// Removes the loss of a worker's process that turned out not to be lost.
pub fn acquit(workload: &mut v1::Workload, worker: &Name, instance: &str) {
    let mut rollout = present(workload);
    let is_it = |loss: &v1::WorkerLoss| loss.worker == worker.as_str() && loss.instance == instance;
    rollout.losses.retain(|loss| !is_it(loss));
    note(workload, rollout);
}

/// Begins the rollout of the present revision.
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

/// Gives a rollout that is not complete its whole deadline again, because the number of replicas
/// was changed.
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

/// Notes that the rollout stalled, and why it could not be rolled back.
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

/// Stores the notes. The rest of the status is derived where it is read, and never stored.
pub fn note(workload: &mut v1::Workload, rollout: v1::Rollout) {
    workload.status = Some(v1::WorkloadStatus {
        rollout: Some(rollout),
        ..v1::WorkloadStatus::default()
    });
}
