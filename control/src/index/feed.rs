//! The latest changes of one kind of object, which every watch of that kind reads at its own pace.
//!
//! There is one copy of each change, however many watches there are, and a watch keeps nothing but
//! a number. Neither the writer nor anything else waits for a watch that does not read: it learns
//! that it fell behind.

use std::{
    collections::VecDeque,
    fmt,
    str::FromStr,
    sync::{Arc, Weak},
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::{present::Present, watched::Watched};
use crate::store::Revision;

/// How much of the past is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub changes: usize,
    /// The bytes of the objects after their changes, as messages.
    pub bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            changes: 8192,
            bytes: 32 * 1024 * 1024,
        }
    }
}

/// One change of what users see of an object. At least one of its two states is present.
#[derive(Debug)]
pub struct Change<T> {
    pub before: Option<Arc<T>>,
    pub after: Option<Arc<T>>,
    pub revision: Revision,
}

/// A place between two changes: after all changes of earlier revisions and `passed` changes of this
/// one.
///
/// As text it is what clients call a resource version: a number, or "REVISION.COUNT" in the middle
/// of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    revision: Revision,
    /// The changes of the revision before the place; `None` is all of them.
    passed: Option<u32>,
}

/// The changes after a position are no longer kept, in part or as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotKept;

/// The changes of one kind of object.
pub struct Feed<T> {
    kept: RwLock<Kept<T>>,
    /// The number of changes ever published; a watch waits here for more.
    published: watch::Sender<u64>,
    /// The present state after this number of changes, until every watch has read all of it.
    present: Mutex<(u64, Weak<Present<T>>)>,
}

struct Kept<T> {
    changes: VecDeque<Entry<T>>,
    /// The number of changes before the first of `changes`.
    dropped: u64,
    bytes: usize,
    bounds: Bounds,
    /// All changes of every revision after this one are kept.
    complete_after: Revision,
}

struct Entry<T> {
    change: Arc<Change<T>>,
    /// The position after this change.
    position: Position,
    bytes: usize,
}

/// A change, and the position after it.
pub type Next<T> = (Arc<Change<T>>, Position);

/// The position of one watch.
pub struct Cursor {
    /// The number of changes that it has passed.
    passed: u64,
    published: watch::Receiver<u64>,
}

// === impl Position ===

impl Position {
    pub fn revision(self) -> Revision {
        self.revision
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.passed {
            None => write!(f, "{}", self.revision),
            Some(passed) => write!(f, "{}.{passed}", self.revision),
        }
    }
}

/// The text is not a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionError;

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (revision, passed) = match text.split_once('.') {
            Some((revision, passed)) => {
                (revision, Some(passed.parse().map_err(|_| PositionError)?))
            }
            None => (text, None),
        };
        let revision = revision.parse().map_err(|_| PositionError)?;
        Ok(Self { revision, passed })
    }
}

// === impl Feed ===

impl<T: Watched> Feed<T> {
    /// Makes an empty feed that is complete after `revision`.
    pub(super) fn starting_at(revision: Revision, bounds: Bounds) -> Self {
        Self {
            kept: RwLock::new(Kept {
                changes: VecDeque::new(),
                dropped: 0,
                bytes: 0,
                bounds,
                complete_after: revision,
            }),
            published: watch::Sender::new(0),
            present: Mutex::new((0, Weak::new())),
        }
    }

    /// Forgets earlier changes: no watch can resume from before `revision`.
    pub(super) fn begin_at(&self, revision: Revision) {
        let mut kept = self.kept.write();
        while kept.drop_oldest() {}
        kept.complete_after = revision;
    }

    /// Adds changes, newer than all before, in the order of their revisions and with all of each.
    pub(super) fn publish(&self, changes: Vec<Change<T>>) {
        if changes.is_empty() {
            return;
        }
        let published = {
            let mut kept = self.kept.write();
            kept.push(changes);
            kept.end()
        };
        self.published.send_replace(published);
    }

    /// Begins a watch now. If the present state must fit to it, the caller holds the index's lock.
    pub(super) fn cursor(&self) -> Cursor {
        let published = self.published.subscribe();
        Cursor {
            passed: self.kept.read().end(),
            published,
        }
    }

    /// Returns the present state at a cursor, one for all watches that begin there. The caller
    /// holds the index's lock.
    pub(super) fn present(
        &self,
        cursor: &Cursor,
        read: impl FnOnce() -> Vec<Arc<T>>,
    ) -> Arc<Present<T>> {
        let mut held = self.present.lock();
        let (passed, present) = &*held;
        if *passed == cursor.passed
            && let Some(present) = present.upgrade()
        {
            return present;
        }
        let present = Arc::new(Present::new(read()));
        *held = (cursor.passed, Arc::downgrade(&present));
        present
    }

    /// Begins a watch after a position.
    pub fn cursor_after(&self, position: Position) -> Result<Cursor, NotKept> {
        let published = self.published.subscribe();
        let passed = self.kept.read().passed(position)?;
        Ok(Cursor { passed, published })
    }

    /// Waits for the next change, and returns it with the position after it. Dropping the future
    /// loses nothing.
    pub async fn next(&self, cursor: &mut Cursor) -> Result<Next<T>, NotKept> {
        loop {
            if let Some(found) = self.kept.read().get(cursor.passed)? {
                cursor.passed += 1;
                return Ok(found);
            }
            let passed = cursor.passed;
            // An error means that the sender is gone, and it lives in `self`.
            let _ = cursor
                .published
                .wait_for(|published| *published > passed)
                .await;
        }
    }
}

// === impl Kept ===

impl<T: Watched> Kept<T> {
    fn end(&self) -> u64 {
        self.dropped + self.changes.len() as u64
    }

    fn push(&mut self, changes: Vec<Change<T>>) {
        let mut changes = changes.into_iter().peekable();
        let mut passed = 0;
        while let Some(change) = changes.next() {
            passed += 1;
            let revision = change.revision;
            let goes_on = changes.peek().is_some_and(|next| next.revision == revision);
            let bytes = change.after.as_ref().map_or(0, |after| after.size());
            self.bytes += bytes;
            self.changes.push_back(Entry {
                change: Arc::new(change),
                position: Position {
                    revision,
                    passed: goes_on.then_some(passed),
                },
                bytes,
            });
            if !goes_on {
                passed = 0;
            }
        }
        while self.changes.len() > self.bounds.changes || self.bytes > self.bounds.bytes {
            if !self.drop_oldest() {
                break;
            }
        }
    }

    /// Drops the oldest change. Returns whether there was one.
    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.changes.pop_front() else {
            return false;
        };
        self.dropped += 1;
        self.bytes -= oldest.bytes;
        // Other changes of its revision may still be kept, but not all of them.
        self.complete_after = oldest.position.revision;
        true
    }

    /// Counts the changes up to a position.
    fn passed(&self, position: Position) -> Result<u64, NotKept> {
        // In the middle of a revision all of its changes must be kept, to be counted.
        let needed = match position.passed {
            None => position.revision,
            Some(_) => position.revision.saturating_sub(1),
        };
        if needed < self.complete_after {
            return Err(NotKept);
        }
        let before = self
            .changes
            .partition_point(|entry| entry.position.revision <= needed);
        let of_revision = position.passed.map_or(0, |passed| {
            let rest = self.changes.range(before..);
            let same = rest.take_while(|entry| entry.position.revision == position.revision);
            same.take(passed as usize).count()
        });
        Ok(self.dropped + (before + of_revision) as u64)
    }

    /// Returns the change after `passed` others; `None` if it is still to come.
    fn get(&self, passed: u64) -> Result<Option<Next<T>>, NotKept> {
        let index = passed.checked_sub(self.dropped).ok_or(NotKept)?;
        let entry = usize::try_from(index)
            .ok()
            .and_then(|index| self.changes.get(index));
        Ok(entry.map(|entry| (entry.change.clone(), entry.position)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt as _;
    use warren_proto::v1;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        changes: 4,
        bytes: 1 << 20,
    };

    fn change(revision: Revision, name: &str) -> Change<v1::Worker> {
        Change {
            before: None,
            after: Some(Arc::new(v1::Worker {
                name: name.to_owned(),
                ..Default::default()
            })),
            revision,
        }
    }

    fn feed(revisions: &[Revision], bounds: Bounds) -> Feed<v1::Worker> {
        let feed = Feed::starting_at(10, bounds);
        for same in revisions.chunk_by(|a, b| a == b) {
            feed.publish(same.iter().map(|revision| change(*revision, "w")).collect());
        }
        feed
    }

    /// The positions that a watch passes from here on.
    fn rest(feed: &Feed<v1::Worker>, from: &str) -> Result<Vec<String>, NotKept> {
        let mut cursor = feed.cursor_after(from.parse().unwrap())?;
        let mut positions = Vec::new();
        while let Some(next) = feed.next(&mut cursor).now_or_never() {
            positions.push(next?.1.to_string());
        }
        Ok(positions)
    }

    #[test]
    fn resumes_anywhere_without_gap_or_repetition() {
        let feed = feed(&[11, 12, 12, 12, 15], Bounds::default());
        let all = ["11", "12.1", "12.2", "12", "15"];
        assert_eq!(rest(&feed, "10").unwrap(), all);
        for (passed, position) in all.iter().enumerate() {
            assert_eq!(
                rest(&feed, position).unwrap(),
                all[passed + 1..],
                "{position}"
            );
        }
        assert_eq!(rest(&feed, "14").unwrap(), ["15"]);
        assert_eq!(rest(&feed, "9"), Err(NotKept));
    }

    #[test]
    fn what_is_not_kept_any_more_is_refused() {
        let by_count = feed(&[11, 12, 12, 13, 14, 15], BOUNDS);
        assert_eq!(rest(&by_count, "11"), Err(NotKept));
        assert_eq!(rest(&by_count, "12.1"), Err(NotKept));
        assert_eq!(rest(&by_count, "12").unwrap(), ["13", "14", "15"]);

        let size = change(1, "w").after.unwrap().size();
        let bytes = 2 * size;
        let by_bytes = feed(&[11, 12, 13, 14], Bounds { bytes, ..BOUNDS });
        assert_eq!(rest(&by_bytes, "11"), Err(NotKept));
        assert_eq!(rest(&by_bytes, "12").unwrap(), ["13", "14"]);
    }

    #[tokio::test]
    async fn a_watch_that_falls_behind_is_told_so_and_no_other_one() {
        let feed = feed(&[11], BOUNDS);
        let (mut slow, mut quick) = (feed.cursor(), feed.cursor());
        for revision in 12..=17 {
            feed.publish(vec![change(revision, "w")]);
            assert_eq!(feed.next(&mut quick).await.unwrap().0.revision, revision);
        }
        assert_eq!(feed.next(&mut slow).await.err(), Some(NotKept));
    }

    #[test]
    fn watches_that_begin_at_once_share_what_is_present() {
        let feed = feed(&[11], BOUNDS);
        let present = || feed.present(&feed.cursor(), || vec![Arc::default()]);
        let (first, second) = (present(), present());
        assert!(Arc::ptr_eq(&first, &second));
        feed.publish(vec![change(12, "w")]);
        assert!(!Arc::ptr_eq(&first, &present()), "it has changed since");
        let held = Arc::downgrade(&first);
        drop((first, second));
        assert!(held.upgrade().is_none(), "nobody reads it any more");
    }

    #[test]
    fn other_text_is_no_position() {
        for text in ["", "x", "1.", ".1", "-1", "1.2.3", "1.x"] {
            assert_eq!(text.parse::<Position>(), Err(PositionError), "{text}");
        }
    }
}
