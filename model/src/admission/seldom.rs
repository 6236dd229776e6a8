//! How often something is worth a line of the log.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Counts what happens often, to be told of now and then.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    count: u64,
    told: Option<Instant>,
}

/// Between two times that it is told.
const QUIET: Duration = Duration::from_secs(60);

// === impl Seldom ===

impl Seldom {
    /// It happened once more. How many times since it was told the last time, when it is time to
    /// tell again.
    pub fn note(&self) -> Option<u64> {
        self.note_at(Instant::now())
    }

    fn note_at(&self, now: Instant) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.count += 1;
        let told = counted.told;
        if told.is_some_and(|told| now.saturating_duration_since(told) < QUIET) {
            return None;
        }
        counted.told = Some(now);
        Some(std::mem::take(&mut counted.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_told_seldom_and_counted() {
        let (seldom, now) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.note_at(now), Some(1));
        for _ in 0..5 {
            assert_eq!(seldom.note_at(now + QUIET / 2), None);
        }
        assert_eq!(seldom.note_at(now + QUIET), Some(6));
        assert_eq!(seldom.note_at(now + QUIET), None);
    }
}
