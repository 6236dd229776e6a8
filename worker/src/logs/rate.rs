//! How many lines are taken. Pure.

use std::time::{Duration, Instant};

/// The generic cell rate algorithm: one time stamp instead of a bucket to refill.
pub(super) struct Rate {
    interval: Duration,
    tolerance: Duration,
    /// When the bucket would be empty again.
    full_until: Option<Instant>,
}

// === impl Rate ===

impl Rate {
    /// So many over a long time, and `burst` at once after a silence.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self {
            interval,
            tolerance: interval * burst.saturating_sub(1),
            full_until: None,
        }
    }

    /// Whether one more is taken now.
    pub fn admit(&mut self, now: Instant) -> bool {
        let full_until = self.full_until.map_or(now, |at| at.max(now));
        let admitted = full_until - now <= self.tolerance;
        if admitted {
            self.full_until = Some(full_until + self.interval);
        }
        admitted
    }
}
