//! The newest changes, kept in memory within bounds, so that a watch can start in the past.

use std::collections::VecDeque;

use super::{Change, Revision, StoreError};

/// The bounds of the history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub changes: usize,
    /// The total bytes of keys and values.
    pub bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            changes: 32 * 1024,
            bytes: 32 * 1024 * 1024,
        }
    }
}

/// Committed changes by revision; a transaction is added and removed as a whole.
#[derive(Debug)]
pub(super) struct History {
    changes: VecDeque<Change>,
    bytes: usize,
    bounds: Bounds,
    /// Every change after this revision is kept.
    floor: Revision,
    /// The newest committed revision.
    revision: Revision,
}

impl History {
    /// Creates an empty history that begins after `revision`.
    pub fn new(revision: Revision, bounds: Bounds) -> Self {
        Self {
            changes: VecDeque::new(),
            bytes: 0,
            bounds,
            floor: revision,
            revision,
        }
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Returns the oldest revision that a watch can start after.
    pub fn floor(&self) -> Revision {
        self.floor
    }

    /// Adds one or more whole transactions, newer than all before, in order.
    pub fn push(&mut self, changes: &[Change]) {
        for change in changes {
            self.revision = change.revision;
            self.bytes += size(change);
            self.changes.push_back(change.clone());
        }
        while self.changes.len() > self.bounds.changes || self.bytes > self.bounds.bytes {
            let Some(oldest) = self.changes.front() else {
                break;
            };
            self.drop_through(oldest.revision);
        }
    }

    fn drop_through(&mut self, revision: Revision) {
        self.floor = revision;
        while let Some(oldest) = self
            .changes
            .pop_front_if(|oldest| oldest.revision <= revision)
        {
            self.bytes -= size(&oldest);
        }
    }

    /// The changes under `prefix` after a revision, if all of them are kept.
    pub fn since(&self, prefix: &str, after: Revision) -> Result<VecDeque<Change>, StoreError> {
        if after < self.floor || after > self.revision {
            return Err(StoreError::Compacted {
                asked: after,
                oldest: self.floor,
            });
        }
        let start = self
            .changes
            .partition_point(|change| change.revision <= after);
        Ok(under(self.changes.range(start..), prefix).into())
    }
}

/// The changes under `prefix`, the last one of each revision marked as such.
pub(super) fn under<'a>(
    changes: impl IntoIterator<Item = &'a Change>,
    prefix: &str,
) -> Vec<Change> {
    let mut found: Vec<Change> = Vec::new();
    for change in changes {
        if !change.key.starts_with(prefix) {
            continue;
        }
        if let Some(before) = found.last_mut() {
            before.last = before.revision != change.revision;
        }
        found.push(Change {
            last: true,
            ..change.clone()
        });
    }
    found
}

fn size(change: &Change) -> usize {
    change.key.len() + change.value.as_ref().map_or(0, bytes::Bytes::len)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;

    use super::*;

    fn change(revision: Revision, key: &str) -> Change {
        Change {
            key: key.to_owned(),
            value: Some(Bytes::from_static(b"12345678")),
            revision,
            last: false,
        }
    }

    fn history(changes: usize, bytes: usize) -> History {
        History::new(10, Bounds { changes, bytes })
    }

    #[test]
    fn a_watch_starts_anywhere_between_floor_and_present() {
        let mut history = history(100, 10_000);
        history.push(&[change(11, "a/1"), change(12, "b/1"), change(14, "a/2")]);
        let keys = |after| -> Vec<String> {
            let changes = history.since("a/", after).unwrap();
            changes.into_iter().map(|change| change.key).collect()
        };
        assert_eq!(keys(10), ["a/1", "a/2"]);
        assert_eq!(keys(11), ["a/2"]);
        assert_eq!(keys(13), ["a/2"]);
        assert_eq!(keys(14), [""; 0]);
        for asked in [0, 9, 15] {
            assert!(matches!(
                history.since("a/", asked),
                Err(StoreError::Compacted { oldest: 10, .. })
            ));
        }
    }

    #[test]
    fn the_last_change_of_a_revision_under_the_prefix_is_marked() {
        let mut history = history(100, 10_000);
        history.push(&[
            change(11, "a/1"),
            change(11, "a/2"),
            change(11, "b/1"),
            change(12, "a/3"),
        ]);
        let last: Vec<bool> = history
            .since("a/", 10)
            .unwrap()
            .into_iter()
            .map(|change| change.last)
            .collect();
        assert_eq!(last, [false, true, true]);
    }

    #[test]
    fn bounds_drop_whole_transactions() {
        let mut by_count = history(3, 10_000);
        by_count.push(&[change(11, "a"), change(11, "b"), change(12, "c")]);
        by_count.push(&[change(13, "d")]);
        assert_eq!(by_count.floor(), 11);
        assert_eq!(by_count.since("", 11).unwrap().len(), 2);

        let mut by_bytes = history(100, 20);
        by_bytes.push(&[change(11, "a"), change(12, "b"), change(13, "c")]);
        assert_eq!(by_bytes.floor(), 11);
        by_bytes.push(&[change(14, "d"), change(14, "e"), change(14, "f")]);
        assert_eq!((by_bytes.floor(), by_bytes.bytes), (14, 0));
    }
}
