//! The right of this worker to run services that must never run twice (`spec.service.exclusive`): a
//! lease that the control plane renews with each heartbeat that it acknowledges.
//!
//! The control plane assigns such a replica to another worker once it has received nothing from
//! this one for the whole worker timeout. The lease therefore ends earlier: it counts from when the
//! heartbeat was *sent*, on a clock that keeps running while the machine is suspended, and leaves
//! the last three tenths of the timeout as a margin for clocks that differ in speed.

mod shared;
#[cfg(test)]
mod tests;

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use warren_model::guard::Guard;

pub use shared::{LeaseExpired, SharedLease, Tenure};

/// The time since this machine was booted, including the time in which it was suspended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(pub Duration);

/// A source of the current time.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> BootTime;
}

/// `CLOCK_BOOTTIME`, which neither stops while the machine is suspended nor jumps with its wall
/// clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

/// A lease for exclusive services, which ends at a point in time. The default lease has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    until: BootTime,
}

/// The length of a lease, in tenths of the worker timeout.
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
    /// Returns the lease that the acknowledgement of a heartbeat grants. `sent` is when the
    /// heartbeat was sent, `worker_timeout` is the control plane's.
    pub fn of_heartbeat(sent: BootTime, worker_timeout: Duration) -> Self {
        // Divide first, as the timeout may be as long as its type allows.
        let length = (worker_timeout / 10).saturating_mul(TENTHS);
        Self {
            until: BootTime(sent.0.saturating_add(length)),
        }
    }

    pub fn is_held(self, now: BootTime) -> bool {
        now < self.until || !Guard::ExclusiveByLease.is_enforced()
    }

    /// Returns for how long the lease is still held; zero once it has ended.
    pub fn left(self, now: BootTime) -> Duration {
        self.until.0.saturating_sub(now.0)
    }
}
