//! How many workers there may be, and how fast new ones may come: anyone who reaches the listener can
//! open sessions under ever new names.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tonic::Status;
use warren_model::pace::{Pace, Rate};

use crate::grpc::error;

/// Workers that the control plane remembers at most.
pub const MAX_WORKERS: usize = 10_000;
/// Names that were not known before: a fleet of a thousand starts at once.
const NEW: Rate = Rate {
    burst: 1000,
    every: Duration::from_millis(200),
};

/// Decides whether a worker is remembered that is not known yet.
#[derive(Debug, Default)]
pub struct Newcomers(Mutex<Pace>);

// === impl Newcomers ===

impl Newcomers {
    /// RESOURCE_EXHAUSTED where there are too many, or too many of late.
    pub(super) fn admit(&self, known: usize, now: Instant) -> Result<(), Status> {
        if known >= MAX_WORKERS {
            return Err(error::exhausted(
                "workers",
                format!(
                    "the control plane knows {known} workers, and remembers no more than {MAX_WORKERS}: delete those \
                     that are gone for good with `warren delete worker NAME`; this one tries again by itself"
                ),
            ));
        }
        match self.0.lock().take(NEW, now) {
            true => Ok(()),
            false => Err(error::exhausted(
                "workers",
                format!(
                    "more than {} workers with new names have come of late, and {} more are taken in each second: this \
                     one tries again by itself",
                    NEW.burst,
                    1000 / NEW.every.as_millis()
                ),
            )),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_fleet_may_come_at_once_and_strangers_without_end_may_not() {
        let (newcomers, now) = (Newcomers::default(), Instant::now());
        for known in 0..NEW.burst as usize {
            newcomers.admit(known, now).unwrap();
        }
        let refused = newcomers.admit(1000, now).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("5 more"), "{refused}");
        newcomers.admit(1000, now + NEW.every).unwrap();
        newcomers.admit(1001, now + NEW.every).unwrap_err();
    }

    #[test]
    fn there_is_an_end_to_the_fleet() {
        let newcomers = Newcomers::default();
        newcomers.admit(MAX_WORKERS - 1, Instant::now()).unwrap();
        let refused = newcomers.admit(MAX_WORKERS, Instant::now()).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("delete worker"), "{refused}");
    }
}
