//! Bounds on the number of workers and on how fast new ones may come: anyone who reaches the
//! listener can open sessions under ever new names.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use warren_model::pace::{Pace, Rate};

/// The most workers that the control plane remembers.
pub const MAX_WORKERS: usize = 10_000;
/// The rate of names that were not known before: a fleet of a thousand may start at once.
const NEW: Rate = Rate {
    burst: 1000,
    every: Duration::from_millis(200),
};

/// The reason why an unknown worker is not admitted. The worker retries by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooManyNewcomers {
    #[error(
        "the control plane knows {0} workers, and remembers no more than {MAX_WORKERS}: delete those \
         that are gone for good with `warren delete worker NAME`; this one tries again by itself"
    )]
    Known(usize),
    #[error(
        "more than {} workers with new names have connected recently, and {} more are admitted per \
         second: this one tries again by itself",
        NEW.burst,
        1000 / NEW.every.as_millis()
    )]
    AtOnce,
}

/// Decides whether a worker that is not known yet is remembered.
#[derive(Debug, Default)]
pub struct Newcomers(Mutex<Pace>);

// === impl Newcomers ===

impl Newcomers {
    /// Admits one more worker, unless there are too many, or too many came of late.
    pub(super) fn admit(&self, known: usize, now: Instant) -> Result<(), TooManyNewcomers> {
        if known >= MAX_WORKERS {
            return Err(TooManyNewcomers::Known(known));
        }
        let is_taken = self.0.lock().take(NEW, now);
        is_taken.then_some(()).ok_or(TooManyNewcomers::AtOnce)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_may_come_at_once_and_strangers_without_end_may_not() {
        let (newcomers, now) = (Newcomers::default(), Instant::now());
        for known in 0..NEW.burst as usize {
            newcomers.admit(known, now).unwrap();
        }
        let refused = newcomers.admit(1000, now).unwrap_err();
        assert_eq!(refused, TooManyNewcomers::AtOnce);
        assert!(refused.to_string().contains("5 more"), "{refused}");
        newcomers.admit(1000, now + NEW.every).unwrap();
        newcomers.admit(1001, now + NEW.every).unwrap_err();
    }

    #[test]
    fn there_is_an_end_to_the_fleet() {
        let newcomers = Newcomers::default();
        newcomers.admit(MAX_WORKERS - 1, Instant::now()).unwrap();
        let refused = newcomers.admit(MAX_WORKERS, Instant::now()).unwrap_err();
        assert_eq!(refused, TooManyNewcomers::Known(MAX_WORKERS));
        assert!(refused.to_string().contains("delete worker"), "{refused}");
    }
}
