//! The conditions `ArtifactsReady`, `Started` and `Ready` of a replica, which follow from the phase
//! of its life.

use std::time::SystemTime;

use warren_model::reason;
use warren_proto::v1::{Condition, condition::Status};

pub(super) use warren_model::condition::{ARTIFACTS_READY, READY, STARTED};

use super::life::{Note, Phase};

/// A reason for programs, and a message for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Why {
    pub reason: &'static str,
    pub message: String,
}

/// Whether a condition holds, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    pub status: Status,
    pub why: Why,
}

/// The facts that follow from a phase. `None` leaves a condition unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub artifacts: Option<Fact>,
    pub started: Option<Fact>,
    pub ready: Option<Fact>,
}

/// Returns the facts about a replica in this phase. `why` is the last reported reason why it does
/// not run or takes no work.
pub(super) fn facts(phase: Phase, ready: bool, why: &Why) -> Facts {
    let not = || Some(Fact::not(why.clone()));
    match phase {
        Phase::Pending => Facts {
            artifacts: Some(Fact::not(Why::new(
                reason::PENDING,
                "its artifacts are being located",
            ))),
            ..Facts::neither(Why::new(reason::PENDING, "it is being prepared"))
        },
        Phase::Starting => Facts::neither(Why::new(
            "Starting",
            "the service's instance is being created",
        )),
        Phase::Running => Facts {
            started: Some(Fact::holds("Started", "it is running")),
            ready: match ready {
                true => Some(Fact::holds("Ready", "it takes work")),
                false => not(),
            },
            ..Facts::default()
        },
        Phase::Failed => Facts {
            artifacts: matches!(why.reason, "ArtifactUnavailable" | reason::COMPILE_FAILED)
                .then(|| Fact::not(why.clone())),
            started: not(),
            ready: not(),
        },
        Phase::Backoff | Phase::Completed => Facts {
            started: not(),
            ready: not(),
            ..Facts::default()
        },
        // The service may continue to run during its grace.
        Phase::Stopping => Facts {
            ready: Some(Fact::not(Why::new(
                reason::DRAINING,
                "it was asked to stop and takes no more work",
            ))),
            ..Facts::default()
        },
        Phase::Stopped if why.reason == "Completed" => Facts::neither(why.clone()),
        Phase::Stopped => Facts::neither(Why::new("Stopped", "it stopped as requested")),
    }
}

/// Sets one condition. Its transition time only changes if its status does.
pub(super) fn set(conditions: &mut Vec<Condition>, kind: &str, fact: Fact) {
    let held = conditions.iter_mut().find(|held| held.r#type == kind);
    let since = held
        .as_ref()
        .filter(|held| held.status() == fact.status)
        .and_then(|held| held.last_transition_time);
    let condition = Condition {
        r#type: kind.to_owned(),
        status: fact.status.into(),
        reason: fact.why.reason.to_owned(),
        message: fact.why.message,
        last_transition_time: since.or_else(|| Some(SystemTime::now().into())),
    };
    match held {
        Some(held) => *held = condition,
        None => conditions.push(condition),
    }
}

// === impl Why ===

impl Why {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// Combines the notes of one step: the reason is that of the last one, and the message consists
    /// of all messages except that of `Killed`.
    pub(super) fn of(notes: &[Note]) -> Option<Self> {
        let reason = notes.last()?.reason;
        let messages = notes.iter().filter(|note| note.reason != "Killed");
        let messages: Vec<_> = messages.map(|note| note.message.as_str()).collect();
        Some(Self::new(reason, messages.join("; ")))
    }
}

// === impl Fact ===

impl Fact {
    pub(super) fn holds(reason: &'static str, message: &str) -> Self {
        Self {
            status: Status::True,
            why: Why::new(reason, message),
        }
    }

    pub(super) fn not(why: Why) -> Self {
        Self {
            status: Status::False,
            why,
        }
    }
}

// === impl Facts ===

impl Facts {
    fn neither(why: Why) -> Self {
        Self {
            artifacts: None,
            started: Some(Fact::not(why.clone())),
            ready: Some(Fact::not(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status and reason of `ArtifactsReady`, `Started` and `Ready` in each phase; `=` means
    /// unchanged.
    #[test]
    fn every_phase_determines_the_conditions() {
        #[rustfmt::skip]
        let table = [
            (Phase::Pending, false, "Any", ["F Pending", "F Pending", "F Pending"]),
            (Phase::Starting, false, "Any", ["=", "F Starting", "F Starting"]),
            (Phase::Running, false, "NotListening", ["=", "T Started", "F NotListening"]),
            (Phase::Running, false, "Unhealthy", ["=", "T Started", "F Unhealthy"]),
            (Phase::Running, true, "NotListening", ["=", "T Started", "T Ready"]),
            (Phase::Backoff, false, "Backoff", ["=", "F Backoff", "F Backoff"]),
            (Phase::Completed, false, "Completed", ["=", "F Completed", "F Completed"]),
            (Phase::Failed, false, "TooManyRestarts", ["=", "F TooManyRestarts", "F TooManyRestarts"]),
            (Phase::Failed, false, "PortUnavailable", ["=", "F PortUnavailable", "F PortUnavailable"]),
            (Phase::Failed, false, "CompileFailed", ["F CompileFailed", "F CompileFailed", "F CompileFailed"]),
            (Phase::Failed, false, "ArtifactUnavailable", ["F ArtifactUnavailable", "F ArtifactUnavailable", "F ArtifactUnavailable"]),
            (Phase::Stopping, false, "Any", ["=", "=", "F Draining"]),
            (Phase::Stopped, false, "Any", ["=", "F Stopped", "F Stopped"]),
            (Phase::Stopped, false, "Completed", ["=", "F Completed", "F Completed"]),
        ];
        for (phase, ready, reason, expected) in table {
            let facts = facts(phase, ready, &Why::new(reason, "because"));
            let shown = [facts.artifacts, facts.started, facts.ready].map(|fact| {
                fact.map_or_else(
                    || "=".to_owned(),
                    |fact| {
                        assert!(!fact.why.message.is_empty(), "{phase:?}");
                        let holds = fact.status == Status::True;
                        format!("{} {}", if holds { "T" } else { "F" }, fact.why.reason)
                    },
                )
            });
            assert_eq!(shown, expected, "{phase:?}, {ready}, {reason}");
        }
    }

    #[test]
    fn a_condition_keeps_the_time_of_its_last_change() {
        let mut held = Vec::new();
        set(&mut held, READY, Fact::not(Why::new("Pending", "")));
        let since = held[0].last_transition_time;
        set(&mut held, READY, Fact::not(Why::new("NotListening", "")));
        assert_eq!(held[0].last_transition_time, since);
        assert_eq!(held[0].reason, "NotListening");
        set(&mut held, READY, Fact::holds("Ready", ""));
        assert_ne!(held[0].last_transition_time, since);
        assert_eq!(held.len(), 1);
    }
}
