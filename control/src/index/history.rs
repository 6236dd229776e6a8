//! The latest workload events, so that a broken watch goes on where it ended.

use std::{collections::VecDeque, sync::Arc};

use super::WatchEvent;
use crate::store::Revision;

/// Events kept for watches that resume.
const CAPACITY: usize = 8192;

/// A bounded run of events without gaps.
pub(super) struct History {
    events: VecDeque<Arc<WatchEvent>>,
    /// Everything after this revision is in `events`.
    complete_after: Revision,
}

/// The asked-for revision is older than what is kept.
#[derive(Debug, PartialEq, Eq)]
pub struct NotKept {
    pub oldest: Revision,
}

// === impl History ===

impl History {
    /// A history that begins now.
    pub fn starting_at(revision: Revision) -> Self {
        Self {
            events: VecDeque::new(),
            complete_after: revision,
        }
    }

    pub fn push(&mut self, event: Arc<WatchEvent>) {
        if self.events.len() == CAPACITY
            && let Some(dropped) = self.events.pop_front()
        {
            // Others of the dropped event's revision may still be here, but no longer all.
            self.complete_after = dropped.revision;
        }
        self.events.push_back(event);
    }

    /// All events after a revision.
    pub fn since(&self, after: Revision) -> Result<Vec<Arc<WatchEvent>>, NotKept> {
        if after < self.complete_after {
            return Err(NotKept {
                oldest: self.complete_after,
            });
        }
        let first = self.events.partition_point(|event| event.revision <= after);
        Ok(self.events.range(first..).cloned().collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::index::WatchKind;

    fn event(revision: Revision) -> Arc<WatchEvent> {
        Arc::new(WatchEvent {
            kind: WatchKind::Modified,
            id: crate::state::keys::parse_id("default/a").unwrap(),
            workload: Arc::default(),
            revision,
        })
    }

    #[test]
    fn resumes_without_gaps_or_says_that_it_cannot() {
        let mut history = History::starting_at(10);
        assert_eq!(history.since(9).unwrap_err(), NotKept { oldest: 10 });
        assert!(history.since(10).unwrap().is_empty());
        for revision in 11..11 + CAPACITY as u64 + 5 {
            history.push(event(revision));
        }
        assert_eq!(history.since(14).unwrap_err(), NotKept { oldest: 15 });
        assert_eq!(history.since(15).unwrap().len(), CAPACITY);
        assert_eq!(history.since(15).unwrap()[0].revision, 16);
    }
}
