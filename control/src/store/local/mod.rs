//! A single-process store on one disk: the state is in memory, and one writer serves many commits
//! with one flush.
//!
//! Readers see only committed state, never a write that a failed flush could revert. A commit is
//! written, flushed, sealed and only then acknowledged, in this order; [`seal`] explains why.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
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
mod seal;
mod writer;

use crate::clock;
pub(crate) use seal::{Seal, StateDigest};
pub(crate) use writer::Writer;
use writer::{Command, Commit};

/// The number of commits that may be queued for the writer before callers have to wait.
const QUEUE: usize = 1024;

/// The number of revisions that are skipped when the store is opened, because a crash may have lost
/// them. The number of unflushed revisions never exceeds it.
const REVISIONS_PER_OPEN: Revision = 1 << 20;

/// The number of revisions that are skipped after a loss of acknowledged data, or a restore from a
/// backup.
pub(crate) const REVISIONS_PER_LOSS: Revision = 1 << 40;

/// Durable storage. It is used by one task at a time; calls may block.
#[async_trait]
pub(crate) trait Disk: Send + 'static {
    /// Reads everything that is stored. After a failed call, this recovers the disk by opening it
    /// again.
    async fn open(&mut self) -> Result<Opened, StoreError>;

    /// Writes a batch atomically, even if the process dies in the meantime. Only a flush guarantees
    /// that it survives.
    async fn write(&mut self, batch: &Batch) -> Result<(), StoreError>;

    /// Makes everything that was written so far durable.
    async fn flush(&mut self) -> Result<(), StoreError>;

    /// Stores the seal of the flushed state apart from it, so that damage to one leaves the other
    /// intact. If the process dies in the meantime, either this seal or the previous one remains.
    async fn seal(&mut self, seal: &Seal) -> Result<(), StoreError>;

    /// Releases all resources.
    async fn close(&mut self);
}

/// The contents of a disk, and what is known about it from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opened {
    pub contents: Contents,
    /// The last one of [`Disk::seal`].
    pub sealed: Option<Seal>,
}

/// The contents of a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub entries: BTreeMap<String, Versioned>,
    /// The newest one written.
    pub revision: Revision,
    /// The seal of the last batch; `None` if an earlier version of Warren wrote it.
    pub seal: Option<Seal>,
}

/// Changes to a set of keys; `None` deletes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    pub entries: BTreeMap<String, Option<Versioned>>,
    /// The seal of the whole state once this is written; its revision is the newest one at that
    /// time.
    pub seal: Seal,
}

/// What to do if acknowledged data is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoss {
    /// [`StoreError::Damaged`].
    #[default]
    Refuse,
    /// Continue with what is left.
    Accept,
}

/// A [`Store`] over a [`Disk`].
pub(crate) struct LocalStore {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    /// What is missing and was accepted.
    lost: Option<String>,
}

/// State shared between readers and the writer.
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
    /// Reads the disk. The store is usable as long as the writer is run, which ends when the store
    /// is closed or dropped, after it has flushed and released the disk.
    pub(in crate::store) async fn open<D: Disk>(
        mut disk: D,
        bounds: Bounds,
        on_loss: OnLoss,
    ) -> Result<(Self, Writer<D>), StoreError> {
        let Opened { contents, sealed } = disk.open().await?;
        let damage = seal::verify(&contents, sealed).err();
        if let (Some(damage), OnLoss::Refuse) = (&damage, on_loss) {
            disk.close().await;
            return Err(StoreError::Damaged(damage.to_string()));
        }
        let mut seal = Seal::opening(&contents, sealed, clock::millis(&clock::now()));
        seal.revision += match &damage {
            None => REVISIONS_PER_OPEN,
            Some(_) => REVISIONS_PER_LOSS,
        };
        if sealed.is_none() {
            // Before the database says that there is one.
            disk.seal(&Seal::default()).await?;
        }
        let skip = Batch {
            seal,
            ..Batch::default()
        };
        disk.write(&skip).await?;
        disk.flush().await?;
        disk.seal(&seal).await?;

        let shared = Arc::new(Shared {
            view: RwLock::new(View {
                entries: contents.entries,
                history: History::new(seal.revision, bounds),
            }),
            watchers: Mutex::default(),
        });
        let (commands, queue) = mpsc::channel(QUEUE);
        let writer = Writer::new(disk, shared.clone(), seal, queue);
        let store = Self {
            shared,
            commands,
            lost: damage.map(|damage| damage.to_string()),
        };
        Ok((store, writer))
    }

    /// Lets the writer finish.
    pub fn end(&mut self) {
        self.commands = mpsc::channel(1).0;
    }

    /// Returns what is missing, if the loss was accepted when the store was opened.
    pub fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }
}

#[cfg(test)]
impl LocalStore {
    /// Commits that the writer has not taken yet.
    pub fn queued(&self) -> usize {
        self.commands.max_capacity() - self.commands.capacity()
    }
}

/// A handle to whatever keeps the writer of a [`LocalStore`] running.
#[async_trait]
impl<S: AsRef<LocalStore> + Send + Sync + 'static> Store for S {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        Ok(self.as_ref().shared.view.read().entries.get(key).cloned())
    }

    async fn list(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        let view = self.as_ref().shared.view.read();
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
        let commands = &self.as_ref().commands;
        commands.send(command).await.map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        let shared = &self.as_ref().shared;
        let mut watchers = shared.watchers.lock();
        let view = shared.view.read();
        let backlog: VecDeque<_> = view.history.since(prefix, after)?;
        Ok(watchers.open(prefix, backlog, view.history.revision()))
    }

    async fn close(&self) {
        let (done, closed) = oneshot::channel();
        // If the writer has already ended, everything that it held is gone.
        let commands = &self.as_ref().commands;
        if commands.send(Command::Close { done }).await.is_ok() {
            let _ = closed.await;
        }
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}
