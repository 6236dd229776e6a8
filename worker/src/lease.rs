//! The right of this worker to run what must never run twice, `spec.service.exclusive`: a lease that the control plane
//! renews with each heartbeat that it acknowledges.
//!
//! The control plane gives such a replica to another worker once it has heard nothing of this one for the whole worker
//! timeout. So the lease ends before that: it counts from when the heartbeat was *sent*, on a clock that goes on while
//! the machine sleeps, and leaves the last three tenths of the timeout for clocks that differ in speed.

mod shared;
#[cfg(test)]
mod tests;

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use warren_model::guard::Guard;

pub use shared::{LeaseExpired, SharedLease, Tenure};

/// Time since this machine was booted, that in which it slept included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(pub Duration);

/// Where the present time comes from.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> BootTime;
}

/// `CLOCK_BOOTTIME`: it neither stops with a suspended machine nor jumps with its wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

/// Until when exclusive services may run here. By default it is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    until: BootTime,
}

/// Of the worker timeout, in tenths.
const TENTHS: u32 = 7;

// === impl BootClock ===

impl Clock for BootClock {
    fn now(&self) -> BootTime {
        // Never negative.
        BootTime(
            clock_gettime(ClockId::Boottime)
                .try_into()
                .unwrap_or_default(),
        )
    }
}

// === impl Lease ===

impl Lease {
    /// What the acknowledgement of a heartbeat gives that was sent then. `worker_timeout` is the control plane's.
    pub fn of_heartbeat(sent: BootTime, worker_timeout: Duration) -> Self {
        // Divided first: a timeout may be as long as its type allows.
        let length = (worker_timeout / 10).saturating_mul(TENTHS);
        Self {
            until: BootTime(sent.0.saturating_add(length)),
        }
    }

    pub fn is_held(self, now: BootTime) -> bool {
        now < self.until || !Guard::ExclusiveByLease.stands()
    }

    /// For how long it is still held; zero once it is over.
    pub fn left(self, now: BootTime) -> Duration {
        self.until.0.saturating_sub(now.0)
    }
}
