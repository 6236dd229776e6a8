//! The rate limit of lines. Pure.

use std::time::{Duration, Instant};

/// The generic cell rate algorithm, which needs one timestamp instead of a bucket to refill.
pub(super) struct Rate {
    interval: Duration,
    tolerance: Duration,
    /// When the bucket would be empty again.
    full_until: Option<Instant>,
}

// === impl Rate ===

impl Rate {
    /// Admits `per_second` lines on average, and `burst` at once after a silence.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self {
            interval,
            tolerance: interval * burst.saturating_sub(1),
            full_until: None,
        }
    }

    /// Returns whether one more line is admitted now, and counts it if so.
    pub fn admit(&mut self, now: Instant) -> bool {
        let full_until = self.full_until.map_or(now, |at| at.max(now));
        let admitted = full_until - now <= self.tolerance;
        if admitted {
            self.full_until = Some(full_until + self.interval);
        }
        admitted
    }
}
