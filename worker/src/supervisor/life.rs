//! The life of a replica: one state machine, without clock, tasks or sockets.
//!
//! The shell feeds it what happened and when; it answers what to do and what to tell.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use warren_model::spec::{Restart, RestartPolicy, SHORT_RUN, least_backoff};

pub use self::note::Note;
use crate::runtime::ServiceEnd;

mod note;

/// Where a replica is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Artifacts are on their way, or being compiled.
    Pending,
    /// The service's instance is being made.
    Starting,
    Running,
    Backoff,
    Completed,
    Failed,
    Stopping,
    Stopped,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Everything is linked and published ports are bound.
    Prepared,
    /// It can never run as it is.
    CannotRun {
        reason: &'static str,
        message: String,
    },
    /// The service's instance is there and its `run` was called.
    Started,
    /// The service can take work.
    Ready,
    /// It cannot yet, or no longer.
    NotReady {
        why: String,
    },
    /// Its liveness probe failed past its threshold.
    Unhealthy {
        why: String,
    },
    /// The service ended by itself. `jitter` is random, 0 to 255: it spreads restarts in time.
    Ended {
        end: ServiceEnd,
        jitter: u8,
    },
    /// The service was ended by [`Action::Kill`].
    Killed,
    BackoffElapsed,
    /// It should stop: it is no longer wanted here.
    Stop,
    /// The worker itself ends. What has ended before keeps its end; all else stops.
    WorkerEnds,
    /// What was in flight has finished, or its time is over: `late` says which.
    Drained {
        late: bool,
    },
}

/// What to do.
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
    /// Let what is in flight finish within the grace, then send [`Event::Drained`].
    Drain,
    /// End the service, then send [`Event::Killed`].
    Kill,
    /// End the service for a reason of its own, then send [`Event::Ended`] with it.
    End(ServiceEnd),
    /// Give back ports and everything prepared: it will not run again.
    Release,
}

/// What follows from an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub actions: Vec<Action>,
    /// In the order in which it happened.
    pub notes: Vec<Note>,
}

/// One replica's state.
#[derive(Clone, Debug)]
pub struct Life {
    /// `None`: a workload of components only, which has nothing that could end.
    policy: Option<RestartPolicy>,
    phase: Phase,
    ready: bool,
    restarts: u32,
    /// When restarts were decided, within the policy's window.
    recent: VecDeque<Instant>,
    /// Waits since the last healthy run.
    waits: u32,
    /// Runs in a row that were shorter than `short`.
    short_runs: u32,
    short: Duration,
    /// `None` while nothing runs, or it has only begun to.
    running_since: Option<Instant>,
    /// The service exists, also while it is being killed.
    alive: bool,
    /// It is being ended because it is not healthy.
    condemned: bool,
    drained: bool,
    /// It ended as its policy asks while it was stopping.
    completed: bool,
    /// Nothing follows any more, whatever the phase.
    over: bool,
}

impl Life {
    /// `restarts` is what the first start counts as.
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

    /// Takes runs below this for those of a crash loop, in place of [`SHORT_RUN`].
    pub fn with_short_run(mut self, short: Duration) -> Self {
        self.short = short;
        self
    }

    /// Whether nothing follows any more.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether its service ended as its policy asks while the replica was stopping.
    pub fn has_completed(&self) -> bool {
        self.completed
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn ready(&self) -> bool {
        self.ready
    }

    /// How often the service was started again.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Takes one step. An event that has no meaning in the present phase (a timer that fired too late)
    /// changes nothing.
    pub fn step(&mut self, event: Event, now: Instant) -> Step {
        match (self.phase, event) {
            (Phase::Stopped, _) => Step::default(),
            (Phase::Stopping, Event::Drained { late }) if !self.drained => {
                self.drained = true;
                match self.alive && !self.condemned {
                    true => Step::of([Action::Kill], Note::killed_to_stop(late)),
                    // Its end is on its way, or has been.
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
            // How it ended is what counts, and there is nothing to stop.
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
            n => format!("the service was started again (restart {n})"),
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
            let message = "its policy asks for no restart";
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

    /// How long the service has run, or had when it ended; zero when it never did.
    pub fn ran_for(&self, now: Instant) -> Duration {
        self.running_since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn stop(&mut self) -> Step {
        self.phase = Phase::Stopping;
        let mut actions = self.close();
        actions.push(Action::Drain);
        // Whoever asked has told why.
        Step {
            actions,
            notes: Vec::new(),
        }
    }

    /// No more work, if there was any.
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

/// The wait before a restart: doubled with each one, within a tenth of that either way, never above the
/// policy's longest.
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
