//! When and how fast a service that ended is restarted.

use std::time::Duration;

use warren_proto::v1;

use super::{defaults, duration_to_proto, place::Place};
use crate::{error::Violations, quantity::format_duration};

/// Which ends of a service are followed by a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    Always,
    OnFailure,
    Never,
}

/// What becomes of the place of a replica that does no more work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Another replica takes it.
    Replace,
    /// The replica keeps it.
    Keep,
}

/// When and how fast a service that ended is restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    pub restart: Restart,
    pub initial_backoff: Duration,
    /// At least `initial_backoff`.
    pub max_backoff: Duration,
    pub reset_after: Duration,
    pub max_restarts: u32,
    pub window: Duration,
    /// What follows when a replica whose service has run is FAILED.
    pub on_failed: Recovery,
    pub on_lost: Recovery,
}

/// A service that ran for less than this is not restarted at once, however small its backoff.
pub const SHORT_RUN: Duration = Duration::from_secs(1);
/// The least wait after a run that was shorter than [`SHORT_RUN`].
pub const LEAST_BACKOFF: Duration = Duration::from_millis(100);
/// The least wait of a service that keeps crashing as soon as it is started.
pub const LEAST_BACKOFF_OF_A_LOOP: Duration = Duration::from_secs(1);
/// The number of consecutive short runs after which the least wait begins to double.
const QUICK_RESTARTS: u32 = 30;

/// Returns the least wait after this many consecutive short runs, whatever the policy says. A
/// service that crashes as soon as it is started would otherwise cost its worker more than one that
/// works.
pub fn least_backoff(short_runs: u32) -> Duration {
    if short_runs == 0 {
        return Duration::ZERO;
    }
    let doublings = short_runs.saturating_sub(QUICK_RESTARTS).min(16);
    (LEAST_BACKOFF * (1 << doublings)).min(LEAST_BACKOFF_OF_A_LOOP)
}

impl RestartPolicy {
    /// Whether a run that ended with its worker is never followed by another.
    pub fn runs_once(&self) -> bool {
        self.restart == Restart::Never && self.on_lost == Recovery::Keep
    }

    pub(super) fn from_proto(v: &mut Violations, at: &Place, policy: &v1::RestartPolicy) -> Self {
        use v1::restart_policy::Policy;

        let restart = match at.word(v, "policy", policy.policy) {
            Policy::Unspecified | Policy::Always => Restart::Always,
            Policy::OnFailure => Restart::OnFailure,
            Policy::Never => Restart::Never,
        };
        let initial_backoff = at.duration(v, "initial_backoff", policy.initial_backoff);
        // A first wait beyond the default of the longest raises it: only two given values can
        // contradict each other.
        let longest = || {
            let usual = at.schema().field("max_backoff").default_duration();
            usual.max(initial_backoff)
        };
        let max_backoff = at.duration_or(v, "max_backoff", policy.max_backoff, longest);
        if max_backoff < initial_backoff {
            v.push(
                at.field("max_backoff"),
                format_args!(
                    "{} is less than `initialBackoff`, {}",
                    format_duration(max_backoff),
                    format_duration(initial_backoff)
                ),
            );
        }
        Self {
            restart,
            initial_backoff,
            max_backoff,
            reset_after: at.duration(v, "reset_after", policy.reset_after),
            max_restarts: at.number(v, "max_restarts", policy.max_restarts),
            window: at.duration(v, "window", policy.window),
            on_failed: recovery(v, at, "on_failed", policy.on_failed, restart),
            on_lost: recovery(v, at, "on_lost", policy.on_lost, restart),
        }
    }

    pub(super) fn to_proto(&self) -> v1::RestartPolicy {
        use v1::restart_policy::{self, Policy};

        let restart = match self.restart {
            Restart::Always => Policy::Always,
            Restart::OnFailure => Policy::OnFailure,
            Restart::Never => Policy::Never,
        };
        let recovery = |recovery| match recovery {
            Recovery::Replace => restart_policy::Recovery::Replace,
            Recovery::Keep => restart_policy::Recovery::Keep,
        };
        v1::RestartPolicy {
            policy: restart.into(),
            initial_backoff: Some(duration_to_proto(self.initial_backoff)),
            max_backoff: Some(duration_to_proto(self.max_backoff)),
            reset_after: Some(duration_to_proto(self.reset_after)),
            max_restarts: Some(self.max_restarts),
            window: Some(duration_to_proto(self.window)),
            on_failed: recovery(self.on_failed).into(),
            on_lost: recovery(self.on_lost).into(),
        }
    }
}

fn recovery(v: &mut Violations, at: &Place, name: &str, given: i32, restart: Restart) -> Recovery {
    use v1::restart_policy::Recovery as Given;

    match at.word(v, name, given) {
        Given::Unspecified => defaults::recovery(restart),
        Given::Replace => Recovery::Replace,
        Given::Keep => Recovery::Keep,
    }
}
