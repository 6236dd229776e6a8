//! Delivers committed changes to the open watches. A slow reader loses its watch; the writer never
//! waits.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::{Change, Revision, StoreError, Watch, history::under};

/// The number of changes that a reader may lag behind: a few groups of commits, which arrive
/// together.
const QUEUE: usize = 8 * 1024;

/// The sending ends of all open watches.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    open: Vec<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    prefix: String,
    /// The reader has, or will find in its queue, everything up to here.
    sent: Revision,
    /// One place more than [`QUEUE`]: the last one is for the error that ends the watch.
    queue: mpsc::Sender<Result<Change, StoreError>>,
}

// === impl Watchers ===

impl Watchers {
    /// A watch that begins with `backlog`, which ends at revision `sent`.
    pub fn open(&mut self, prefix: &str, backlog: VecDeque<Change>, sent: Revision) -> Watch {
        self.open.retain(|watcher| !watcher.queue.is_closed());
        let (queue, live) = mpsc::channel(QUEUE + 1);
        self.open.push(Watcher {
            prefix: prefix.to_owned(),
            sent,
            queue,
        });
        Watch { backlog, live }
    }

    /// Delivers whole transactions in order. A watch may already have received them from the
    /// history.
    pub fn publish(&mut self, changes: &[Change], oldest: Revision) {
        self.open
            .retain_mut(|watcher| watcher.deliver(changes, oldest));
    }

    /// Ends all watches.
    pub fn close(&mut self) {
        self.open.clear();
    }
}

// === impl Watcher ===

impl Watcher {
    /// Returns whether the watch continues.
    fn deliver(&mut self, changes: &[Change], oldest: Revision) -> bool {
        let news = changes.iter().filter(|change| change.revision > self.sent);
        for change in under(news, &self.prefix) {
            // This is the only sender, so the capacity can only have grown since.
            if self.queue.capacity() == 1 {
                let _ = self.queue.try_send(Err(StoreError::Compacted {
                    asked: self.sent,
                    oldest,
                }));
                return false;
            }
            let Change { revision, last, .. } = change;
            if self.queue.try_send(Ok(change)).is_err() {
                return false;
            }
            if last {
                self.sent = revision;
            }
        }
        !self.queue.is_closed()
    }
}
