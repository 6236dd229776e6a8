//! The times at which workloads are looked at again although nothing changed.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;
use warren_model::name::WorkloadId;

/// At most one deadline per workload.
#[derive(Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Instant, WorkloadId)>,
    by_workload: HashMap<WorkloadId, Instant>,
}

// === impl Timers ===

impl Timers {
    /// Sets or removes a workload's deadline.
    pub fn set(&mut self, id: &WorkloadId, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.by_workload.insert(id.clone(), at),
            None => self.by_workload.remove(id),
        };
        if let Some(before) = before {
            self.by_time.remove(&(before, id.clone()));
        }
        if let Some(at) = at {
            self.by_time.insert((at, id.clone()));
        }
    }

    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Removes and returns every workload whose deadline has passed.
    pub fn due(&mut self, now: Instant) -> Vec<WorkloadId> {
        let mut due = Vec::new();
        while self.by_time.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, id)) = self.by_time.pop_first()
        {
            self.by_workload.remove(&id);
            due.push(id);
        }
        due
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::state::keys::parse_id;

    #[test]
    fn the_last_moment_set_counts() {
        let (a, b) = (
            parse_id("default/a").unwrap(),
            parse_id("default/b").unwrap(),
        );
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut timers = Timers::default();
        timers.set(&a, Some(now));
        timers.set(&b, Some(now));
        timers.set(&a, Some(later));
        assert_eq!(timers.due(now), [b]);
        assert_eq!(timers.next(), Some(later));
        timers.set(&a, None);
        assert_eq!(timers.next(), None);
    }
}
