//! A rate limit for lines of the log.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Counts an event that may happen often, and says when it should be logged again.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    count: u64,
    logged: Option<Instant>,
}

/// The least time between two lines.
const QUIET: Duration = Duration::from_secs(60);

// === impl Seldom ===

impl Seldom {
    /// Counts one event. Returns how many there were since the last line when another line is due.
    pub fn note(&self) -> Option<u64> {
        self.note_at(Instant::now())
    }

    fn note_at(&self, now: Instant) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.count += 1;
        let logged = counted.logged;
        if logged.is_some_and(|logged| now.saturating_duration_since(logged) < QUIET) {
            return None;
        }
        counted.logged = Some(now);
        Some(std::mem::take(&mut counted.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_events_are_logged_seldom_and_counted() {
        let (seldom, now) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.note_at(now), Some(1));
        for _ in 0..5 {
            assert_eq!(seldom.note_at(now + QUIET / 2), None);
        }
        assert_eq!(seldom.note_at(now + QUIET), Some(6));
        assert_eq!(seldom.note_at(now + QUIET), None);
    }
}
