//! Rate limits: a burst at once, then a steady rate. Pure.

use std::time::{Duration, Instant};

/// The size of the burst, and the interval of the steady rate after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At least one.
    pub burst: u32,
    pub every: Duration,
}

/// How much of a [`Rate`] is used up: a token bucket, as the time at which it is full again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    full_at: Option<Instant>,
}

// === impl Pace ===

impl Pace {
    /// From when on the next one is allowed. `None`: it has been all along.
    pub fn allowed_at(&self, rate: Rate) -> Option<Instant> {
        let spare = rate.every * rate.burst.saturating_sub(1);
        self.full_at?.checked_sub(spare)
    }

    /// Whether the next one is allowed now.
    pub fn allows(&self, rate: Rate, now: Instant) -> bool {
        self.allowed_at(rate).is_none_or(|at| at <= now)
    }

    /// Counts one, allowed or not.
    pub fn count(&mut self, rate: Rate, now: Instant) {
        let from = self.full_at.map_or(now, |at| at.max(now));
        self.full_at = Some(from + rate.every);
    }

    /// Counts one where it is allowed, and says whether it is.
    pub fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let allowed = self.allows(rate, now);
        if allowed {
            self.count(rate, now);
        }
        allowed
    }

    /// Whether nothing of its rate is used up any more: it is as good as a new one.
    pub fn is_idle(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        every: Duration::from_secs(1),
    };

    #[test]
    fn a_burst_is_allowed_and_then_a_steady_rate() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let taken = [0, 0, 0, 0, 999, 1000, 1001, 2000, 2000].map(|now| pace.take(RATE, at(now)));
        let expected = [true, true, true, false, false, true, false, true, false];
        assert_eq!(taken, expected);
        assert_eq!(pace.allowed_at(RATE), Some(at(3000)));
        // What was saved up is a burst and no more.
        let later = [9000; 4].map(|now| pace.take(RATE, at(now)));
        assert_eq!(later, [true, true, true, false]);
        assert!(!pace.is_idle(at(11_999)));
        assert!(pace.is_idle(at(12_000)));
    }
}
