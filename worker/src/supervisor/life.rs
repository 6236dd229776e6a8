//! The life of a replica: a state machine without a clock, tasks or sockets.
//!
//! The caller passes in what happened and when; the machine returns what to do and what to report.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use warren_model::spec::{Restart, RestartPolicy, SHORT_RUN, least_backoff};

pub use self::note::Note;
use crate::runtime::ServiceEnd;

mod note;

/// The phase of a replica's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Artifacts are being pulled or compiled.
    Pending,
    /// The service's instance is being created.
    Starting,
    Running,
    Backoff,
    Completed,
    Failed,
    Stopping,
    Stopped,
}

/// An event in the life of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Everything is linked and published ports are bound.
    Prepared,
    /// The replica can never run in its present form.
    CannotRun {
        reason: &'static str,
        message: String,
    },
    /// The service's instance was created and its `run` was called.
    Started,
    /// The service can take work.
    Ready,
    /// The service cannot take work yet, or can no longer.
    NotReady {
        why: String,
    },
    /// Its liveness probe failed past its threshold.
    Unhealthy {
        why: String,
    },
    /// The service ended by itself. `jitter` is a random number that spreads restarts in time.
    Ended {
        end: ServiceEnd,
        jitter: u8,
    },
    /// The service was ended by [`Action::Kill`].
    Killed,
    BackoffElapsed,
    /// The replica is no longer wanted on this worker and must stop.
    Stop,
    /// The worker itself ends. A replica that has already ended stays as it is; any other stops.
    WorkerEnds,
    /// Work in flight has finished, or with `late`, the grace has expired.
    Drained {
        late: bool,
    },
}

/// An action that the caller must carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run the service in a fresh store.
    Start,
    /// Send [`Event::BackoffElapsed`] after this time.
    Wait(Duration),
    /// Send [`Event::BackoffElapsed`] once exclusive services may run on this worker again.
    AwaitLease,
    /// Open or close the replica's routes and published ports.
    SetReady(bool),
    /// Let work in flight finish within the grace, then send [`Event::Drained`].
    Drain,
    /// End the service, then send [`Event::Killed`].
    Kill,
    /// End the service for this reason, then send [`Event::Ended`] with it.
    End(ServiceEnd),
    /// Release ports and everything that was prepared: the replica will not run again.
    Release,
}

/// The result of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub actions: Vec<Action>,
    /// What to report, in the order in which it happened.
    pub notes: Vec<Note>,
}

/// The state of one replica.
#[derive(Clone, Debug)]
pub struct Life {
    /// `None` for a workload of components only, in which nothing can end.
    policy: Option<RestartPolicy>,
    phase: Phase,
    ready: bool,
    restarts: u32,
    /// When the restarts within the policy's window were decided.
    recent: VecDeque<Instant>,
    /// The number of backoffs since the last healthy run.
    waits: u32,
    /// The number of consecutive runs that were shorter than `short`.
    short_runs: u32,
    short: Duration,
    /// `None` until the service has started.
    running_since: Option<Instant>,
    /// Whether the service exists, which includes the time in which it is being killed.
    alive: bool,
    /// Whether the service is being ended because it is unhealthy.
    condemned: bool,
    drained: bool,
    /// Whether the service completed while the replica was stopping.
    completed: bool,
    /// Whether no further event has an effect, whatever the phase.
    over: bool,
}

impl Life {
    /// Creates the life of a pending replica. `restarts` is the count with which it begins.
    pub fn new(policy: Option<RestartPolicy>, restarts: u32) -> Self {
        Self {
            policy,
            phase: Phase::Pending,
            ready: false,
            restarts,
            recent: VecDeque::new(),
            waits: 0,
            short_runs: 0,
            short: SHORT_RUN,
            running_since: None,
            alive: false,
            condemned: false,
            drained: false,
            completed: false,
            over: false,
        }
    }

    /// Sets the length below which a run counts as part of a crash loop, in place of [`SHORT_RUN`].
    pub fn with_short_run(mut self, short: Duration) -> Self {
        self.short = short;
        self
    }

    /// Returns whether the life is over, so that no further event has an effect.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Returns whether the service completed while the replica was stopping.
    pub fn has_completed(&self) -> bool {
        self.completed
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn ready(&self) -> bool {
        self.ready
    }

    /// Returns how often the service was restarted.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Processes one event. An event without a meaning in the present phase, such as a timer that
    /// fired too late, changes nothing.
    pub fn step(&mut self, event: Event, now: Instant) -> Step {
        match (self.phase, event) {
            (Phase::Stopped, _) => Step::default(),
            (Phase::Stopping, Event::Drained { late }) if !self.drained => {
                self.drained = true;
                match self.alive && !self.condemned {
                    true => Step::of([Action::Kill], Note::killed_to_stop(late)),
                    // The service has ended, or its end has been requested.
                    false => self.stop_if_over(Vec::new()),
                }
            }
            (Phase::Stopping, Event::Ended { end, .. }) if self.alive => {
                self.alive = false;
                self.completed = self.policy.as_ref().is_some_and(|policy| {
                    end == ServiceEnd::Exited(0) && policy.restart != Restart::Always
                });
                let killed = Note::killed(&end);
                let exited = Note::exited(&end, self.ran_for(now));
                self.stop_if_over(killed.into_iter().chain([exited]).collect())
            }
            (Phase::Stopping, Event::Killed) if self.alive && self.drained => {
                self.alive = false;
                self.stop_if_over(vec![Note::stopped(self.ran_for(now))])
            }
            (Phase::Stopping, _) => Step::default(),
            // There is nothing to stop, and the phase must keep saying how the replica ended.
            (Phase::Completed | Phase::Failed, Event::WorkerEnds) => {
                self.over = true;
                Step::default()
            }
            (_, Event::Stop | Event::WorkerEnds) => self.stop(),
            (Phase::Pending, Event::Prepared) => self.begin(),
            (Phase::Pending, Event::CannotRun { reason, message }) => {
                self.phase = Phase::Failed;
                Step::of([Action::Release], Note::warning(reason, message))
            }
            (Phase::Starting, Event::Started) => self.started(now),
            (Phase::Running, Event::Ready) if !self.ready && !self.condemned => {
                self.ready = true;
                let note = Note::normal("Ready", "it takes work");
                Step::of([Action::SetReady(true)], note)
            }
            (Phase::Running, Event::NotReady { why }) if !self.condemned => {
                Step::of(self.close(), Note::warning("NotReady", why))
            }
            (Phase::Running, Event::Unhealthy { why }) if self.alive && !self.condemned => {
                self.condemned = true;
                let mut actions = self.close();
                actions.push(Action::End(ServiceEnd::Unhealthy(why.clone())));
                Step::of(actions, Note::warning("Unhealthy", why))
            }
            (Phase::Starting | Phase::Running, Event::Ended { end, jitter }) => {
                self.ended(&end, jitter, now)
            }
            (Phase::Backoff, Event::BackoffElapsed) => {
                self.restarts = self.restarts.saturating_add(1);
                self.begin()
            }
            _ => Step::default(),
        }
    }

    fn begin(&mut self) -> Step {
        if self.policy.is_none() {
            self.phase = Phase::Running;
            self.ready = true;
            return Step::of(
                [Action::SetReady(true)],
                Note::normal("Ready", "it takes work"),
            );
        }
        self.phase = Phase::Starting;
        self.alive = true;
        self.condemned = false;
        self.running_since = None;
        Step {
            actions: vec![Action::Start],
            notes: Vec::new(),
        }
    }

    fn started(&mut self, now: Instant) -> Step {
        self.phase = Phase::Running;
        self.running_since = Some(now);
        let message = match self.restarts {
            0 => "the service was started".to_owned(),
            n => format!("the service was restarted (restart {n})"),
        };
        Step::of([], Note::normal("Started", message))
    }

    fn ended(&mut self, end: &ServiceEnd, jitter: u8, now: Instant) -> Step {
        let Some(policy) = self.policy.clone() else {
            return Step::default();
        };
        self.alive = false;
        let mut actions = self.close();
        let ran_for = self.ran_for(now);
        let mut notes: Vec<_> = Note::killed(end).into_iter().collect();
        notes.push(Note::exited(end, ran_for));
        if *end == ServiceEnd::LeaseExpired {
            self.phase = Phase::Backoff;
            actions.push(Action::AwaitLease);
            notes.push(Note::lease_expired());
            return Step { actions, notes };
        }
        let succeeded = *end == ServiceEnd::Exited(0);
        let restart = match policy.restart {
            Restart::Always => true,
            Restart::OnFailure => !succeeded,
            Restart::Never => false,
        };
        if !restart {
            actions.push(Action::Release);
            let message = "its restart policy does not ask for a restart";
            notes.push(if succeeded {
                self.phase = Phase::Completed;
                Note::normal("Completed", message)
            } else {
                self.phase = Phase::Failed;
                Note::warning("Failed", message)
            });
            return Step { actions, notes };
        }
        if ran_for >= policy.reset_after {
            self.waits = 0;
        }
        self.short_runs = match ran_for < self.short {
            true => self.short_runs.saturating_add(1),
            false => 0,
        };
        self.recent
            .retain(|at| now.saturating_duration_since(*at) < policy.window);
        if self.recent.len() >= policy.max_restarts as usize {
            self.phase = Phase::Failed;
            actions.push(Action::Release);
            notes.push(Note::too_many_restarts(&policy, self.recent.len()));
            return Step { actions, notes };
        }
        self.recent.push_back(now);
        let wait = backoff(&policy, self.waits, jitter).max(least_backoff(self.short_runs));
        self.waits = self.waits.saturating_add(1);
        self.phase = Phase::Backoff;
        actions.push(Action::Wait(wait));
        let mut note = Note::backoff(&policy, wait, self.recent.len());
        note.warning = !succeeded;
        notes.push(note);
        Step { actions, notes }
    }

    /// Returns how long the service has run, or had run when it ended; zero if it never started.
    pub fn ran_for(&self, now: Instant) -> Duration {
        self.running_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn stop(&mut self) -> Step {
        self.phase = Phase::Stopping;
        let mut actions = self.close();
        actions.push(Action::Drain);
        // No note: the caller has already recorded the reason.
        Step {
            actions,
            notes: Vec::new(),
        }
    }

    /// Closes the replica to new work, if it was ready.
    fn close(&mut self) -> Vec<Action> {
        let was_ready = std::mem::take(&mut self.ready);
        was_ready
            .then_some(Action::SetReady(false))
            .into_iter()
            .collect()
    }

    fn stop_if_over(&mut self, mut notes: Vec<Note>) -> Step {
        let mut actions = Vec::new();
        if self.drained && !self.alive {
            self.phase = Phase::Stopped;
            self.over = true;
            actions.push(Action::Release);
            notes.push(match self.completed {
                true => Note::normal(
                    "Completed",
                    "its service ended by itself before it was stopped",
                ),
                false => Note::normal("Stopped", "it stopped"),
            });
        }
        Step { actions, notes }
    }
}

/// Returns the wait before a restart. It doubles with each restart, varies by up to a tenth in
/// either direction, and never exceeds the policy's maximum.
fn backoff(policy: &RestartPolicy, waits: u32, jitter: u8) -> Duration {
    let doubled = policy
        .initial_backoff
        .saturating_mul(2_u32.saturating_pow(waits.min(31)));
    let spread = f64::from(jitter) / 255.0 * 0.2 + 0.9;
    doubled
        .min(policy.max_backoff)
        .mul_f64(spread)
        .min(policy.max_backoff)
}

impl Step {
    fn of(actions: impl Into<Vec<Action>>, note: Note) -> Self {
        Self {
            actions: actions.into(),
            notes: vec![note],
        }
    }
}

#[cfg(test)]
mod tests;
