//! A store of one process over one disk: state in memory, one thread that writes, one flush for many commits.
//!
//! Readers see what is committed, never what a failed flush could take back.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    thread,
};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};

use super::{
    Durability, Revision, Snapshot, Store, StoreError, Versioned, Watch, Write,
    history::{Bounds, History},
    watchers::Watchers,
};

mod group;
mod writer;

use writer::{Command, Commit, Writer};

/// Commits that may wait for the writer before callers have to.
const QUEUE: usize = 1024;

/// Revisions that a crash may have lost are skipped when the store is opened again. More are never unflushed.
const REVISIONS_PER_OPEN: Revision = 1 << 20;

/// Where the state survives. Used by one thread at a time; calls may block.
pub(super) trait Disk: Send + 'static {
    /// Everything that is stored. After a failed call this is the way back: it begins anew.
    fn open(&mut self) -> Result<Contents, StoreError>;

    /// All of a batch or nothing, even if the process dies meanwhile; with `flush`, all written so far survives that.
    fn write(&mut self, batch: &Batch, flush: bool) -> Result<(), StoreError>;

    /// Lets go of everything.
    fn close(&mut self);
}

/// What a disk holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub entries: BTreeMap<String, Versioned>,
    /// The newest one written.
    pub revision: Revision,
}

/// What becomes of some keys; `None` deletes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub entries: BTreeMap<String, Option<Versioned>>,
    /// The newest one once this is written.
    pub revision: Revision,
}

/// A [`Store`] over a [`Disk`].
pub(super) struct LocalStore {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    writer: Mutex<Option<thread::JoinHandle<()>>>,
}

/// Between readers and the writer.
struct Shared {
    view: RwLock<View>,
    /// Locked before `view` where both are.
    watchers: Mutex<Watchers>,
}

/// The committed state. Only the writer changes it.
struct View {
    entries: BTreeMap<String, Versioned>,
    history: History,
}

// === impl LocalStore ===

impl LocalStore {
    /// Reads the disk and starts the writer. Blocks.
    pub fn open(mut disk: impl Disk, bounds: Bounds) -> Result<Self, StoreError> {
        let Contents { entries, revision } = disk.open()?;
        let revision = revision + REVISIONS_PER_OPEN;
        let skip = Batch {
            revision,
            ..Batch::default()
        };
        disk.write(&skip, true)?;

        let shared = Arc::new(Shared {
            view: RwLock::new(View {
                entries,
                history: History::new(revision, bounds),
            }),
            watchers: Mutex::default(),
        });
        let (commands, queue) = mpsc::channel(QUEUE);
        let writer = Writer::new(disk, shared.clone());
        let writer = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|error| StoreError::Unavailable(format!("no thread to write: {error}")))?;
        Ok(Self {
            shared,
            commands,
            writer: Mutex::new(Some(writer)),
        })
    }
}

#[cfg(test)]
impl LocalStore {
    /// Commits that the writer has not taken yet.
    pub fn queued(&self) -> usize {
        self.commands.max_capacity() - self.commands.capacity()
    }
}

impl Drop for LocalStore {
    /// Waits until the writer has flushed and let go of the disk, so that it can be opened again.
    fn drop(&mut self) {
        // Without a sender the writer does what is queued and ends.
        self.commands = mpsc::channel(1).0;
        if let Some(writer) = self.writer.lock().take() {
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Store for LocalStore {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        Ok(self.shared.view.read().entries.get(key).cloned())
    }

    async fn list(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        let view = self.shared.view.read();
        let entries = view
            .entries
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, versioned)| (key.clone(), versioned.clone()))
            .collect();
        Ok(Snapshot {
            entries,
            revision: view.history.revision(),
        })
    }

    async fn commit(
        &self,
        writes: Vec<Write>,
        durability: Durability,
    ) -> Result<Revision, StoreError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Commit(Commit {
            writes,
            durability,
            reply,
        });
        self.commands.send(command).await.map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        let mut watchers = self.shared.watchers.lock();
        let view = self.shared.view.read();
        let backlog: VecDeque<_> = view.history.since(prefix, after)?;
        Ok(watchers.open(prefix, backlog, view.history.revision()))
    }

    async fn close(&self) {
        let (done, closed) = oneshot::channel();
        // Where the writer has ended before, so has everything that it holds.
        if self.commands.send(Command::Close { done }).await.is_ok() {
            let _ = closed.await;
        }
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}
