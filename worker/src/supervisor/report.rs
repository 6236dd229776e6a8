//! What is told of a replica: its state as the control plane sees it, kept up to date in one place.

use std::time::SystemTime;

use parking_lot::Mutex;
use warren_proto::v1::{
    Condition, Endpoint, Exit, Transition, condition::Status, event, exit, replica,
};

use crate::{
    agent::{
        Assignment,
        reports::{ReplicaState, ReportBook},
    },
    runtime::ServiceEnd,
};

use super::life::{Life, Note, Phase};

/// Lines of stderr that go with an exit.
pub(super) const STDERR_LINES: usize = 20;
/// Bytes of an exit's message: a deep recursion's backtrace is longer than anyone reads.
const MESSAGE_BYTES: usize = 8 << 10;

/// Conditions of a replica that its worker knows.
pub(super) const ARTIFACTS_READY: &str = "ArtifactsReady";
pub(super) const STARTED: &str = "Started";
pub(super) const READY: &str = "Ready";

/// Tells of one replica.
pub(super) struct Reporter {
    replica: String,
    book: ReportBook,
    state: Mutex<ReplicaState>,
    /// Why a service that has just started is not ready: reason and message.
    unready: (&'static str, &'static str),
}

impl Reporter {
    pub(super) fn new(assignment: &Assignment, book: ReportBook) -> Self {
        let replica = assignment.replica.clone();
        let mut state = ReplicaState::new(replica::Phase::Pending);
        state.restarts = assignment.restarts;
        if assignment.restarts > 0 {
            state.last_exit = Some(lost());
        }
        for kind in [ARTIFACTS_READY, STARTED, READY] {
            set(&mut state, kind, Status::False, "Pending", "");
        }
        book.record(&replica, state.clone(), None);
        let service = assignment.spec.service.as_ref();
        let is_probed = service.is_some_and(|service| service.readiness.is_some());
        Self {
            unready: if is_probed {
                ("NotProbed", "its readiness probe has not succeeded yet")
            } else {
                ("NotListening", "the service does not listen yet")
            },
            replica,
            book,
            state: Mutex::new(state),
        }
    }

    /// A condition changed, without a step of the life.
    pub(super) fn condition(&self, kind: &str, status: Status, reason: &str, message: &str) {
        self.record(None, |state| set(state, kind, status, reason, message));
    }

    pub(super) fn endpoints(&self, endpoints: Vec<Endpoint>) {
        self.record(None, |state| state.endpoints = endpoints);
    }

    pub(super) fn exited(&self, exit: Exit) {
        self.record(None, |state| state.last_exit = Some(exit));
    }

    /// Something that happened so many times is worth telling, without a step of the life.
    pub(super) fn note(&self, note: &Note, count: u32) {
        let phase = self.state.lock().phase;
        self.record(Some(transition(phase, note, count)), |_| {});
    }

    /// The life took a step.
    pub(super) fn step(&self, life: &Life, note: Option<Note>) {
        let phase = phase(life.phase());
        let transition = note.as_ref().map(|note| transition(phase, note, 1));
        self.record(transition, |state| {
            state.phase = phase;
            state.ready = life.ready();
            state.restarts = life.restarts();
            let (reason, message) = note
                .as_ref()
                .map_or(("", ""), |n| (n.reason, n.message.as_str()));
            match life.phase() {
                Phase::Running => {
                    set(state, STARTED, Status::True, "Started", "");
                    if life.ready() {
                        set(state, READY, Status::True, "Ready", "");
                    } else {
                        let told = note.as_ref().filter(|note| note.warning);
                        let (reason, message) =
                            told.map_or(self.unready, |note| (note.reason, &note.message));
                        set(state, READY, Status::False, reason, message);
                    }
                }
                Phase::Pending => {}
                Phase::Starting => {
                    let message = "the service's instance is being made";
                    set(state, STARTED, Status::False, "Starting", message);
                    set(state, READY, Status::False, "Starting", message);
                }
                Phase::Backoff => {
                    set(state, STARTED, Status::False, reason, message);
                    set(state, READY, Status::False, reason, message);
                }
                Phase::Failed => {
                    if !is_true(state, STARTED) {
                        set(state, STARTED, Status::False, reason, message);
                    }
                    set(state, READY, Status::False, reason, message);
                }
                Phase::Completed | Phase::Stopping | Phase::Stopped => {
                    set(state, READY, Status::False, reason, message);
                }
            }
        });
    }

    fn record(&self, transition: Option<Transition>, change: impl FnOnce(&mut ReplicaState)) {
        let mut state = self.state.lock();
        change(&mut state);
        self.book.record(&self.replica, state.clone(), transition);
    }
}

fn transition(phase: replica::Phase, note: &Note, count: u32) -> Transition {
    let kind = match note.warning {
        true => event::Type::Warning,
        false => event::Type::Normal,
    };
    Transition {
        time: Some(SystemTime::now().into()),
        phase: phase.into(),
        reason: note.reason.to_owned(),
        message: note.message.clone(),
        r#type: kind.into(),
        count,
    }
}

/// How a service ended, as it is told.
pub(super) fn exit(end: &ServiceEnd, stderr: Vec<String>) -> Exit {
    let (reason, code, message) = match end {
        ServiceEnd::Exited(code) => (exit::Reason::Exited, *code, format!("exit code {code}")),
        ServiceEnd::Trapped(cause) => (exit::Reason::Trapped, 0, cause.clone()),
        ServiceEnd::OutOfMemory(cause) => (exit::Reason::OutOfMemory, 0, cause.clone()),
        ServiceEnd::StartFailed(cause) => (exit::Reason::StartFailed, 0, cause.clone()),
        ServiceEnd::Unhealthy(cause) => (exit::Reason::Unhealthy, 0, cause.clone()),
    };
    Exit {
        reason: reason.into(),
        code,
        message: truncated(message),
        time: Some(SystemTime::now().into()),
        stderr,
    }
}

/// The end of a service whose worker ended before it could tell.
fn lost() -> Exit {
    Exit {
        reason: exit::Reason::Lost.into(),
        code: 0,
        message: "the worker that ran it ended".to_owned(),
        time: Some(SystemTime::now().into()),
        stderr: Vec::new(),
    }
}

/// The end of a service that was asked to stop.
pub(super) fn stopped(stderr: Vec<String>) -> Exit {
    Exit {
        reason: exit::Reason::Stopped.into(),
        code: 0,
        message: "it was asked to stop".to_owned(),
        time: Some(SystemTime::now().into()),
        stderr,
    }
}

fn truncated(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES {
        let end = (0..=MESSAGE_BYTES)
            .rev()
            .find(|at| message.is_char_boundary(*at))
            .unwrap_or(0);
        message.truncate(end);
        message.push_str("\n...");
    }
    message
}

fn phase(phase: Phase) -> replica::Phase {
    match phase {
        Phase::Pending => replica::Phase::Pending,
        Phase::Starting => replica::Phase::Starting,
        Phase::Running => replica::Phase::Running,
        Phase::Backoff => replica::Phase::Backoff,
        Phase::Completed => replica::Phase::Completed,
        Phase::Failed => replica::Phase::Failed,
        Phase::Stopping => replica::Phase::Stopping,
        Phase::Stopped => replica::Phase::Stopped,
    }
}

fn is_true(state: &ReplicaState, kind: &str) -> bool {
    state
        .conditions
        .iter()
        .any(|c| c.r#type == kind && c.status() == Status::True)
}

fn set(state: &mut ReplicaState, kind: &str, status: Status, reason: &str, message: &str) {
    let now = SystemTime::now().into();
    let new = Condition {
        r#type: kind.to_owned(),
        status: status.into(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Some(now),
    };
    match state.conditions.iter_mut().find(|c| c.r#type == kind) {
        Some(old) => {
            let since = match old.status() == status {
                true => old.last_transition_time,
                false => new.last_transition_time,
            };
            *old = Condition {
                last_transition_time: since,
                ..new
            };
        }
        None => state.conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_the_time_of_its_last_change() {
        let mut state = ReplicaState::new(replica::Phase::Pending);
        set(&mut state, READY, Status::False, "Pending", "");
        let since = state.conditions[0].last_transition_time;
        set(&mut state, READY, Status::False, "NotListening", "");
        assert_eq!(state.conditions[0].last_transition_time, since);
        assert_eq!(state.conditions[0].reason, "NotListening");
        set(&mut state, READY, Status::True, "Ready", "");
        assert!(is_true(&state, READY));
        assert_eq!(state.conditions.len(), 1);
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let cut = truncated("ä".repeat(MESSAGE_BYTES));
        assert!(cut.len() <= MESSAGE_BYTES + 4 && cut.ends_with("..."));
    }
}
