//! The store on a simulated disk, or on any disk with hooks around each of its steps.
//!
//! Everything above [`Disk`] is the code that a control plane runs. The only threads and clocks are
//! those of the runtime that polls it, so the same decisions of a [`Stage`] produce the same run.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{sync::OwnedMutexGuard, task::JoinHandle};

use super::{
    StoreError,
    history::Bounds,
    local::{Batch, Contents, Disk, LocalStore, OnLoss, Opened, Seal},
};

/// An in-memory disk. Clones refer to the same disk. Only one of them can be open at a time;
/// opening another waits until it is closed or dropped.
#[derive(Debug, Default)]
pub struct SimDisk {
    medium: Arc<Mutex<Medium>>,
    holder: Arc<tokio::sync::Mutex<()>>,
    held: Option<OwnedMutexGuard<()>>,
}

#[derive(Clone, Debug, Default)]
struct Medium {
    flushed: Contents,
    /// Written since, in order.
    unflushed: Vec<Batch>,
    sealed: Option<Seal>,
}

/// An operation of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Open,
    Write,
    Flush,
    Seal,
}

/// Hooks around each step of a disk. Waiting in a hook sets how long the step takes; dropping the
/// writer in the meantime simulates a crash at that step.
#[async_trait]
pub trait Stage: Send + Sync + 'static {
    /// An error makes the step fail without any effect.
    async fn before(&self, step: Step) -> Result<(), StoreError>;

    /// An error makes the step fail although it took effect.
    async fn after(&self, step: Step) -> Result<(), StoreError>;
}

/// A disk whose steps are controlled by a stage.
pub struct Staged<D> {
    disk: D,
    stage: Arc<dyn Stage>,
    /// After an error, until it is opened again, as with sled.
    broken: bool,
}

/// A [`Store`] whose writer is a task.
pub struct SimStore {
    store: LocalStore,
    writer: JoinHandle<()>,
}

// === impl SimDisk ===

impl SimDisk {
    /// The batches that a crash may lose.
    pub fn unflushed(&self) -> usize {
        self.medium.lock().unflushed.len()
    }

    /// Returns another disk: the contents of this one after a crash that keeps this many of the
    /// unflushed batches.
    pub fn after_crash(&self, kept: usize) -> Self {
        let mut medium = self.medium.lock().clone();
        medium.unflushed.truncate(kept);
        medium.flush();
        medium.into()
    }

    #[cfg(test)]
    /// Returns another disk with the contents of this one and the outside knowledge of another.
    pub fn under_seal_of(&self, other: &Self) -> Self {
        let mut medium = self.medium.lock().clone();
        medium.sealed = other.medium.lock().sealed;
        medium.into()
    }

    #[cfg(test)]
    /// As if it had never been written to since.
    pub fn become_again(&self, earlier: &Self) {
        let earlier = earlier.medium.lock().clone();
        *self.medium.lock() = earlier;
    }

    /// Everything that was written.
    pub fn contents(&self) -> Contents {
        let mut medium = self.medium.lock().clone();
        medium.flush();
        medium.flushed
    }
}

impl Clone for SimDisk {
    fn clone(&self) -> Self {
        Self {
            medium: self.medium.clone(),
            holder: self.holder.clone(),
            held: None,
        }
    }
}

impl From<Medium> for SimDisk {
    fn from(medium: Medium) -> Self {
        Self {
            medium: Arc::new(Mutex::new(medium)),
            ..Self::default()
        }
    }
}

impl Medium {
    fn flush(&mut self) {
        for batch in self.unflushed.drain(..) {
            for (key, versioned) in batch.entries {
                match versioned {
                    Some(versioned) => self.flushed.entries.insert(key, versioned),
                    None => self.flushed.entries.remove(&key),
                };
            }
            self.flushed.revision = batch.seal.revision;
            self.flushed.seal = Some(batch.seal);
        }
    }
}

#[async_trait]
impl Disk for SimDisk {
    async fn open(&mut self) -> Result<Opened, StoreError> {
        if self.held.is_none() {
            self.held = Some(self.holder.clone().lock_owned().await);
        }
        let sealed = self.medium.lock().sealed;
        let contents = self.contents();
        Ok(Opened { contents, sealed })
    }

    async fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.medium.lock().unflushed.push(batch.clone());
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        self.medium.lock().flush();
        Ok(())
    }

    async fn seal(&mut self, seal: &Seal) -> Result<(), StoreError> {
        self.medium.lock().sealed = Some(*seal);
        Ok(())
    }

    async fn close(&mut self) {
        self.held = None;
    }
}

// === impl Staged ===

impl<D: Disk> Staged<D> {
    pub fn new(disk: D, stage: Arc<dyn Stage>) -> Self {
        Self {
            disk,
            stage,
            broken: false,
        }
    }

    async fn before(&mut self, step: Step) -> Result<(), StoreError> {
        if self.broken {
            let broken = "it has failed before, and was not opened again".to_owned();
            return Err(StoreError::Unavailable(broken));
        }
        let result = self.stage.before(step).await;
        self.broken = result.is_err();
        result
    }

    async fn after<T>(&mut self, step: Step, result: T) -> Result<T, StoreError> {
        let after = self.stage.after(step).await;
        self.broken = after.is_err();
        after.map(|()| result)
    }
}

#[async_trait]
impl<D: Disk> Disk for Staged<D> {
    async fn open(&mut self) -> Result<Opened, StoreError> {
        self.broken = false;
        self.before(Step::Open).await?;
        let opened = self.disk.open().await?;
        self.after(Step::Open, opened).await
    }

    async fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.before(Step::Write).await?;
        self.disk.write(batch).await?;
        self.after(Step::Write, ()).await
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        self.before(Step::Flush).await?;
        self.disk.flush().await?;
        self.after(Step::Flush, ()).await
    }

    async fn seal(&mut self, seal: &Seal) -> Result<(), StoreError> {
        self.before(Step::Seal).await?;
        self.disk.seal(seal).await?;
        self.after(Step::Seal, ()).await
    }

    async fn close(&mut self) {
        self.disk.close().await;
    }
}

// === impl SimStore ===

impl SimStore {
    /// On the runtime that this is called in.
    pub async fn open(disk: impl Disk, on_loss: OnLoss) -> Result<Self, StoreError> {
        let (store, writer) = LocalStore::open(disk, Bounds::default(), on_loss).await?;
        Ok(Self {
            store,
            writer: tokio::spawn(writer.run()),
        })
    }

    /// What is missing, where that was accepted.
    #[cfg(test)]
    pub fn lost(&self) -> Option<&str> {
        self.store.lost()
    }

    /// Commits that the writer has not taken yet.
    #[cfg(test)]
    pub fn queued(&self) -> usize {
        self.store.queued()
    }

    /// Simulates the death of the process: the writer stops immediately, wherever it is.
    pub fn crash(&self) {
        self.writer.abort();
    }
}

impl AsRef<LocalStore> for SimStore {
    fn as_ref(&self) -> &LocalStore {
        &self.store
    }
}
