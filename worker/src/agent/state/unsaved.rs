//! Tracks which replicas have progressed further than the disk knows, and when each is written.
//! This is pure logic.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use warren_model::pace::{Pace, Rate};

/// The rate at which restarts of one replica are written. The control plane knows those that a
/// killed worker forgets.
const RESTARTS: Rate = Rate {
    burst: 16,
    every: Duration::from_secs(5),
};
/// The number of files that are written before other work gets the disk.
const AT_ONCE: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Unsaved {
    /// The time at which each is due.
    waiting: BTreeMap<String, Instant>,
    paces: HashMap<String, Pace>,
}

// === impl Unsaved ===

impl Unsaved {
    /// Records that the replica has progressed. `ends` says that this is its last change.
    pub fn note(&mut self, replica: String, ends: bool, now: Instant) {
        let pace = self.paces.get(&replica);
        let allowed = pace.and_then(|pace| pace.allowed_at(RESTARTS));
        let due = allowed.filter(|at| !ends && *at > now).unwrap_or(now);
        let held = self.waiting.entry(replica).or_insert(due);
        *held = due.min(*held);
    }

    /// Forgets a replica that is no longer kept.
    pub fn forget(&mut self, replica: &str) {
        self.waiting.remove(replica);
        self.paces.remove(replica);
    }

    /// Returns when the next replica is due.
    pub fn next_at(&self) -> Option<Instant> {
        self.waiting.values().min().copied()
    }

    /// Returns some replicas that are due, or some of all replicas if `all`.
    pub fn take(&mut self, now: Instant, all: bool) -> Vec<String> {
        let due = self.waiting.iter().filter(|(_, due)| all || **due <= now);
        let due: Vec<_> = due.take(AT_ONCE).map(|(id, _)| id.clone()).collect();
        for replica in &due {
            self.waiting.remove(replica);
            let pace = self.paces.entry(replica.clone()).or_default();
            pace.count(RESTARTS, now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loop_is_written_at_a_steady_rate_and_its_end_at_once() {
        let (mut unsaved, start) = (Unsaved::default(), Instant::now());
        let mut written = 0;
        // There are ten restarts per second, for a minute.
        for number in 0..600 {
            let now = start + Duration::from_millis(100) * number;
            unsaved.note("loop".to_owned(), false, now);
            written += unsaved.take(now, false).len();
        }
        assert!((16..=28).contains(&written), "{written}");
        let now = start + Duration::from_secs(60);
        unsaved.take(now, false);
        unsaved.note("loop".to_owned(), false, now);
        unsaved.take(now, false);
        unsaved.note("loop".to_owned(), false, now);
        assert!(unsaved.next_at() > Some(now));
        unsaved.note("loop".to_owned(), true, now);
        assert_eq!(unsaved.take(now, false), ["loop"]);
        assert_eq!(unsaved.next_at(), None);
    }

    #[test]
    fn many_are_written_in_batches_and_the_waiting_ones_at_the_end() {
        let (mut unsaved, now) = (Unsaved::default(), Instant::now());
        for round in 0..2 * RESTARTS.burst {
            for number in 0..100 {
                unsaved.note(format!("r-{number}"), false, now);
            }
            let first = unsaved.take(now, false);
            let expected = if round < RESTARTS.burst { AT_ONCE } else { 0 };
            assert_eq!(first.len(), expected);
            while !unsaved.take(now, false).is_empty() {}
        }
        assert_eq!(unsaved.waiting.len(), 100);
        unsaved.forget("r-7");
        let mut rest = 0;
        loop {
            let some = unsaved.take(now, true).len();
            assert!(some <= AT_ONCE);
            rest += some;
            if some == 0 {
                break;
            }
        }
        assert_eq!(rest, 99);
    }
}
