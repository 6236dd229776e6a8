//! Reports for assignments that this worker does not run. This is pure logic, except for the time.

use warren_model::{ambient, condition};
use warren_proto::v1::{self, condition::Status as Truth, event::Type, replica::Phase};

use crate::{
    agent::seen::Seen,
    replica::{assignment::Refused, reports::ReplicaState},
};

/// Returns the report of an assignment that cannot be run.
pub(super) fn failed(refused: &Refused) -> (ReplicaState, v1::Transition) {
    let message = format!(
        "this worker cannot run the spec that it received: {}",
        refused.why
    );
    not_started(ReplicaState::new(Phase::Failed), "InvalidSpec", message)
}

/// Describes why assignments were dropped.
pub(super) fn older(message: &v1::Assignments, seen: &Seen, name: &str) -> String {
    let (term, generation) = (message.term, message.generation);
    format!(
        "worker {name} dropped assignments of term {term}, generation {generation}: it has seen later ones, of term {}, \
         generation {}; start the worker again if this does not pass",
        seen.term, seen.generation
    )
}

/// Returns the report of an assignment that was dropped with its message.
pub(super) fn dropped(assignment: &v1::Assignment, why: &str) -> (ReplicaState, v1::Transition) {
    let state = ReplicaState {
        restarts: assignment.restarts,
        ..ReplicaState::new(Phase::Pending)
    };
    not_started(state, "AssignmentDropped", why.to_owned())
}

fn not_started(
    mut state: ReplicaState,
    reason: &str,
    message: String,
) -> (ReplicaState, v1::Transition) {
    let now = Some(ambient::now().into());
    let transition = v1::Transition {
        time: now,
        phase: state.phase.into(),
        reason: reason.to_owned(),
        message: message.clone(),
        r#type: Type::Warning.into(),
        total: 1,
    };
    state.conditions.push(v1::Condition {
        r#type: condition::STARTED.to_owned(),
        status: Truth::False.into(),
        reason: reason.to_owned(),
        message,
        last_transition_time: now,
    });
    (state, transition)
}
