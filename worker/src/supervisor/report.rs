//! Reports a replica: keeps its state, as the control plane sees it, up to date in one place.

use std::time::SystemTime;

use parking_lot::Mutex;
use warren_model::digest::Digest;
use warren_proto::v1::{self, Endpoint, Exit, Transition, event, replica};

use crate::{
    replica::{
        Assignment,
        reports::{ReplicaState, ReportBook},
    },
    runtime::compile::CompileFailure,
};

use super::{
    conditions::{self, ARTIFACTS_READY, Fact, READY, STARTED, Why, facts},
    exits,
    life::{Action, Life, Note, Phase, Step},
};

/// Reports the state of one replica.
pub(super) struct Reporter {
    replica: String,
    book: ReportBook,
    reported: Mutex<Reported>,
    /// Why a service that has just started is not ready.
    unready: Why,
}

struct Reported {
    state: ReplicaState,
    /// The last reported reason why the replica does not run or takes no work.
    why: Why,
}

// === impl Reporter ===

impl Reporter {
    pub(super) fn new(assignment: &Assignment, book: ReportBook) -> Self {
        let mut state = ReplicaState::new(replica::Phase::Pending);
        state.restarts = assignment.restarts;
        if assignment.restarts > 0 {
            exits::keep(&mut state, exits::lost());
        }
        let service = assignment.spec.service.as_ref();
        let is_probed = service.is_some_and(|service| service.readiness.is_some());
        let unready = if is_probed {
            Why::new("NotProbed", "its readiness probe has not succeeded yet")
        } else {
            Why::new("NotListening", "the service does not listen yet")
        };
        let reported = Reported {
            state,
            why: unready.clone(),
        };
        let reporter = Self {
            replica: assignment.replica.clone(),
            book,
            reported: Mutex::new(reported),
            unready,
        };
        reporter.record(None, |reported| reported.conclude(Phase::Pending));
        reporter
    }

    /// Reports that the artifacts are not on the worker yet.
    pub(super) fn artifacts_unready(&self, reason: &'static str, message: String) {
        let fact = Fact::not(Why::new(reason, message));
        self.record(None, |reported| reported.set(ARTIFACTS_READY, Some(fact)));
    }

    pub(super) fn artifacts_ready(&self) {
        let fact = Fact::holds("Compiled", "its artifacts are on the worker and compiled");
        self.record(None, |reported| reported.set(ARTIFACTS_READY, Some(fact)));
    }

    /// Records a failure that every worker with the same limits would have. It is reported together
    /// with the step that follows from it.
    pub(super) fn not_compiled(&self, digest: Digest, failure: &CompileFailure) {
        use v1::compile_failure::Reason;
        let reason = match failure {
            CompileFailure::Memory(_) => Reason::Memory,
            CompileFailure::CpuTime(_) => Reason::CpuTime,
            CompileFailure::Invalid(_) => Reason::Invalid,
            CompileFailure::Crashed(_) => Reason::Crashed,
            CompileFailure::Slow(_) | CompileFailure::Killed(_) | CompileFailure::NotRun(_) => {
                return;
            }
        };
        self.reported.lock().state.compile_failure = Some(v1::CompileFailure {
            digest: digest.to_string(),
            reason: reason.into(),
            message: failure.to_string(),
            ..v1::CompileFailure::default()
        });
    }

    pub(super) fn endpoints(&self, endpoints: Vec<Endpoint>) {
        self.record(None, |reported| reported.state.endpoints = endpoints);
    }

    /// Records an exit. It is reported together with the step that follows from it, so that no
    /// report shows a service that has exited and is running.
    pub(super) fn exited(&self, exit: Exit) {
        exits::keep(&mut self.reported.lock().state, exit);
    }

    /// Reports something that happened `count` times, without a step of the life.
    pub(super) fn note(&self, note: &Note, count: u32) {
        let phase = self.reported.lock().state.phase;
        self.record(Some(transition(phase, note, count)), |_| {});
    }

    /// Reports a step of the life.
    pub(super) fn step(&self, life: &Life, step: &Step) {
        if *step == Step::default() {
            return;
        }
        let phase = phase(life.phase());
        let transitions = step.notes.iter().map(|note| transition(phase, note, 1));
        self.record(transitions, |reported| {
            match Why::of(&step.notes) {
                Some(why) if why.reason == "Started" => reported.why = self.unready.clone(),
                Some(why) => reported.why = why,
                None => {}
            }
            let wait = step.actions.iter().find_map(|action| match action {
                Action::Wait(wait) => Some(*wait),
                _ => None,
            });
            let state = &mut reported.state;
            state.phase = phase;
            state.ready = life.ready();
            state.completed = life.has_completed();
            state.restarts = life.restarts();
            state.next_start_time = wait.map(|wait| (SystemTime::now() + wait).into());
            reported.conclude(life.phase());
        });
    }

    fn record(
        &self,
        transitions: impl IntoIterator<Item = Transition>,
        change: impl FnOnce(&mut Reported),
    ) {
        let mut reported = self.reported.lock();
        change(&mut reported);
        self.book
            .record(&self.replica, reported.state.clone(), transitions);
    }
}

// === impl Reported ===

impl Reported {
    fn conclude(&mut self, phase: Phase) {
        let facts = facts(phase, self.state.ready, &self.why);
        self.set(ARTIFACTS_READY, facts.artifacts);
        self.set(STARTED, facts.started);
        self.set(READY, facts.ready);
    }

    fn set(&mut self, kind: &str, fact: Option<Fact>) {
        if let Some(fact) = fact {
            conditions::set(&mut self.state.conditions, kind, fact);
        }
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
        total: count,
    }
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
