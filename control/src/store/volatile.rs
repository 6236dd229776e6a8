//! A store in memory alone, for a cluster that ends with its process.

use async_trait::async_trait;

use super::{
    StoreError,
    history::Bounds,
    local::{Batch, Disk, LocalStore, OnLoss, Opened, Seal},
};

/// A [`Store`](super::Store) whose contents end with it. Its writer is a task of the runtime that
/// opens it.
pub struct VolatileStore(LocalStore);

/// A disk that keeps nothing. The state of a [`LocalStore`] is in memory anyway, and a disk is read
/// again only after it has failed, which this one never does.
struct NoDisk;

impl VolatileStore {
    /// Opens an empty store.
    pub async fn open() -> Result<Self, StoreError> {
        let opened = LocalStore::open(NoDisk, Bounds::default(), OnLoss::Refuse);
        let (store, writer) = opened.await?;
        tokio::spawn(writer.run());
        Ok(Self(store))
    }
}

impl AsRef<LocalStore> for VolatileStore {
    fn as_ref(&self) -> &LocalStore {
        &self.0
    }
}

#[async_trait]
impl Disk for NoDisk {
    async fn open(&mut self) -> Result<Opened, StoreError> {
        Ok(Opened::default())
    }

    async fn write(&mut self, _: &Batch) -> Result<(), StoreError> {
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn seal(&mut self, _: &Seal) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&mut self) {}
}
