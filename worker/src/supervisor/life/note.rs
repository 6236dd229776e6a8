//! Notes about a replica's life: the reason that names an event, and a message for people.

use std::time::Duration;

use warren_model::{quantity::format_duration, spec::RestartPolicy};

use crate::{lease::LeaseExpired, runtime::ServiceEnd};

/// A note to report about a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub reason: &'static str,
    pub message: String,
    pub warning: bool,
}

/// Stands for a cause without text. Of other causes a note contains the first line; the exit that
/// is kept contains all of them.
const NO_CAUSE: &str = "it gave no reason";

// === impl Note ===

impl Note {
    pub(super) fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            warning: false,
        }
    }

    pub(in crate::supervisor) fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            warning: true,
        }
    }

    /// Reports the end of a service, whatever its cause.
    pub(super) fn exited(end: &ServiceEnd, ran_for: Duration) -> Self {
        Self {
            reason: "Exited",
            message: how(end, ran_for),
            warning: *end != ServiceEnd::Exited(0),
        }
    }

    /// Additionally reports that the service was ended, if it did not end by itself.
    pub(super) fn killed(end: &ServiceEnd) -> Option<Self> {
        match end {
            ServiceEnd::Unhealthy(cause) => Some(Self::warning(
                "Killed",
                format!("the service was ended because {}", first_line(cause)),
            )),
            ServiceEnd::OutOfMemory(cause) => Some(Self::warning(
                "Killed",
                format!("the service was ended: {}", first_line(cause)),
            )),
            ServiceEnd::LeaseExpired => Some(Self::warning(
                "Killed",
                "the exclusive service was ended because its worker's lease expired",
            )),
            ServiceEnd::Exited(_) | ServiceEnd::Trapped(_) | ServiceEnd::StartFailed(_) => None,
        }
    }

    /// Reports that the service is killed so that its replica can stop. With `late`, work in flight
    /// did not finish within the grace.
    pub(super) fn killed_to_stop(late: bool) -> Self {
        match late {
            true => Self::warning(
                "Killed",
                "the service is killed: not everything finished within its stopGrace",
            ),
            false => Self::normal(
                "Killed",
                "the service is killed: it was asked to stop, and nothing is in flight",
            ),
        }
    }

    pub(super) fn stopped(ran_for: Duration) -> Self {
        let after = rounded(ran_for);
        Self::normal(
            "Exited",
            format!("the service was killed after {after:?} because it was asked to stop"),
        )
    }

    /// Reports a wait before a restart. `restarts` counts those within the window, including this
    /// one.
    pub(super) fn backoff(policy: &RestartPolicy, wait: Duration, restarts: usize) -> Self {
        let (wait, most) = (rounded(wait), policy.max_restarts);
        let window = format_duration(policy.window);
        Self::normal(
            "Backoff",
            format!(
                "starting again in {wait:?}, restart {restarts} of at most {most} within {window}"
            ),
        )
    }

    /// Reports that the service waits for the lease. It did not cause its end, so the policy
    /// neither counts nor refuses the restart.
    pub(super) fn lease_expired() -> Self {
        let message = "it restarts once the control plane acknowledges this worker's heartbeats, unless another \
                       replica has taken its place";
        Self::warning("LeaseExpired", message)
    }

    pub(super) fn too_many_restarts(policy: &RestartPolicy, restarts: usize) -> Self {
        let window = format_duration(policy.window);
        Self::warning(
            "TooManyRestarts",
            format!("restarted {restarts} times within {window}, the most that its policy allows"),
        )
    }
}

fn how(end: &ServiceEnd, ran_for: Duration) -> String {
    let after = rounded(ran_for);
    match end {
        ServiceEnd::Exited(code) => format!("the service ended with code {code} after {after:?}"),
        ServiceEnd::Trapped(cause) => {
            format!("the service trapped after {after:?}: {}", first_line(cause))
        }
        ServiceEnd::OutOfMemory(cause) => {
            format!("the service ran {} after {after:?}", first_line(cause))
        }
        ServiceEnd::StartFailed(cause) => {
            format!("the service could not be started: {}", first_line(cause))
        }
        ServiceEnd::Unhealthy(cause) => {
            format!(
                "the service was ended after {after:?}: {}",
                first_line(cause)
            )
        }
        ServiceEnd::LeaseExpired => {
            format!("the service was ended after {after:?}: {LeaseExpired}")
        }
    }
}

fn first_line(text: &str) -> &str {
    text.lines()
        .next()
        .filter(|line| !line.is_empty())
        .unwrap_or(NO_CAUSE)
}

/// Rounds to about three significant digits, for messages.
fn rounded(time: Duration) -> Duration {
    let unit: u128 = match time.as_millis() {
        1_000.. => 10_000_000,
        1.. => 10_000,
        0 => 1_000,
    };
    Duration::from_nanos(u64::try_from(time.as_nanos() / unit * unit).unwrap_or(u64::MAX))
}
