//! State as keys with revisions: compare-and-set, prefix reads, prefix watches.
//!
//! There is one trait, and one file per backend. Only this module depends on a database.

mod history;
mod local;
#[cfg(any(test, feature = "simulation"))]
pub mod sim;
pub mod sled;
#[cfg(test)]
mod tests;
pub mod volatile;
mod watchers;

use std::{collections::VecDeque, path::PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

pub use local::OnLoss;

/// The schema number of stored values. A store that holds a newer one is refused at open.
///
/// 2: writes are sealed.
pub const SCHEMA: u32 = 2;

/// A position in the store's history. It grows with every committed transaction, not always by one.
///
/// It never decreases, not even when a crash loses writes that were not flushed, so no number ever
/// names two states.
pub type Revision = u64;

/// A value and the revision of the transaction that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    pub value: Bytes,
    pub revision: Revision,
}

/// A precondition on a key, which must hold when the transaction commits, before any of its writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// The key does not exist.
    Absent,
    /// The key exists, whoever wrote it.
    Exists,
    /// The key was last written by this revision.
    Revision(Revision),
}

/// The effect of a transaction on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put(Bytes),
    /// Has no effect on a key that does not exist.
    Delete,
    /// Changes nothing: only the precondition matters.
    Check,
}

/// One key's part of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub key: String,
    pub op: Op,
    /// `None` accepts any state of the key.
    pub precondition: Option<Precondition>,
}

impl Write {
    pub fn put(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self {
            key: key.into(),
            op: Op::Put(value.into()),
            precondition: None,
        }
    }

    pub fn delete(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            op: Op::Delete,
            precondition: None,
        }
    }

    /// Writes nothing, but the transaction only commits if this holds.
    pub fn check(key: impl Into<String>, precondition: Precondition) -> Self {
        Self {
            key: key.into(),
            op: Op::Check,
            precondition: Some(precondition),
        }
    }

    /// Commits only if this holds.
    pub fn when(mut self, precondition: Precondition) -> Self {
        self.precondition = Some(precondition);
        self
    }
}

/// The point at which `commit` may return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After the writes are flushed: for everything that is acknowledged to a user.
    Flushed,
    /// At once: for state that its source will report again after a crash (a replica's phase, a
    /// heartbeat).
    Relaxed,
}

/// All keys with a prefix, at one revision.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// In the order of keys.
    pub entries: Vec<(String, Versioned)>,
    pub revision: Revision,
}

/// One committed write, as a watch reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    /// `None`: deleted.
    pub value: Option<Bytes>,
    pub revision: Revision,
    /// Whether this is the last write of its transaction that the watch sees. Before it, the reader
    /// has seen only a part of the transaction and must not resume from there.
    pub last: bool,
}

/// The reason why the store could not carry out a request.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A precondition did not hold; read again and decide again.
    #[error("`{key}` was changed by someone else")]
    Conflict { key: String },
    /// The watch has a gap: its start is not kept (or not of this store), or its reader was too
    /// slow. Read a snapshot and watch from there.
    #[error(
        "changes since revision {asked} are no longer kept (the oldest possible start is {oldest})"
    )]
    Compacted { asked: Revision, oldest: Revision },
    /// A retry can succeed. The commit was not carried out, unless the process dies before the
    /// store is repaired: then it may take effect after all. A precondition makes a retry safe
    /// either way.
    #[error("the store cannot be used at present: {0}")]
    Unavailable(String),
    /// Another process is using the directory.
    #[error("{0}")]
    InUse(String),
    /// Stored data cannot be parsed; retrying does not help.
    #[error("stored data cannot be read: {0}")]
    Corrupt(String),
    /// Acknowledged data is missing, or may be; retrying does not help.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// A newer version wrote the directory.
    #[error(
        "`{}` holds data of schema {found}, this version knows schema {supported}: \
         run the version that wrote it, or a newer one",
        directory.display()
    )]
    SchemaTooNew {
        directory: PathBuf,
        found: u32,
        supported: u32,
    },
    /// The transaction itself is invalid, whatever is stored.
    #[error("not a transaction: {0}")]
    Invalid(String),
}

impl StoreError {
    /// Returns whether the same call can succeed later without intervention.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::Unavailable(_))
    }
}

/// Key-value state with revisions.
///
/// Every method may be dropped at any await: a dropped `commit` either took effect completely or
/// not at all.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Returns the value of one key.
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError>;

    /// Returns every key that begins with `prefix`, at one revision.
    async fn list(&self, prefix: &str) -> Result<Snapshot, StoreError>;

    /// Commits all writes if all preconditions hold, otherwise none. Returns the revision that
    /// every written key now carries or, if nothing had to be written, the current one. Each key
    /// may occur once.
    async fn commit(
        &self,
        writes: Vec<Write>,
        durability: Durability,
    ) -> Result<Revision, StoreError>;

    /// Watches changes under `prefix` with a revision greater than `after`, in order and without
    /// gaps.
    ///
    /// Ends with [`StoreError::Compacted`] when the reader falls behind; [`StoreError::Compacted`]
    /// at once when `after` is no longer kept or was never reached.
    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError>;

    /// Flushes, ends every watch and releases the data. Reads still work; commits fail with
    /// `Unavailable`.
    async fn close(&self);
}

/// The receiving end of [`Store::watch`]. Dropping it ends the watch.
pub struct Watch {
    /// Changes between the asked-for revision and the start of `live`.
    backlog: VecDeque<Change>,
    /// The store holds the other end and never waits for this one.
    live: mpsc::Receiver<Result<Change, StoreError>>,
}

impl Watch {
    /// Returns the next change, or `None` after an error and when the store is closed. Cancel-safe:
    /// dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Change, StoreError>> {
        match self.backlog.pop_front() {
            Some(change) => Some(Ok(change)),
            None => self.live.recv().await,
        }
    }
}
