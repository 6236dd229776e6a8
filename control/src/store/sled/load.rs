//! Fills a new directory with the contents of another store.

use std::{collections::BTreeMap, path::Path};

use tokio::runtime::{Builder, Runtime};

use super::{SledDisk, disk_damaged};
use crate::{
    clock,
    store::{
        Revision, StoreError, Versioned,
        local::{Batch, Disk as _, Opened, REVISIONS_PER_LOSS, Seal},
    },
};

/// A store that is not in use yet. All methods block.
pub(crate) struct Loader {
    disk: SledDisk,
    seal: Seal,
    runtime: Runtime,
}

// === impl Loader ===

impl Loader {
    /// In a directory that is made for it.
    pub fn create(directory: &Path) -> Result<Self, StoreError> {
        let runtime = Builder::new_current_thread()
            .build()
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let mut disk = SledDisk::lock(directory)?;
        let Opened { contents, .. } = runtime.block_on(disk.open())?;
        if !contents.entries.is_empty() {
            let found = "it is not empty".to_owned();
            return Err(disk_damaged(directory, found));
        }
        let seal = Seal::opening(&contents, None, clock::millis(&clock::now()));
        Ok(Self {
            disk,
            seal,
            runtime,
        })
    }

    /// Adds entries, each key once.
    pub fn add(&mut self, entries: BTreeMap<String, Versioned>) -> Result<(), StoreError> {
        for (key, versioned) in &entries {
            self.seal.digest.toggle(key, versioned);
            self.seal.revision = self.seal.revision.max(versioned.revision);
        }
        let some = |(key, versioned)| (key, Some(versioned));
        self.write(entries.into_iter().map(some).collect())
    }

    /// Makes everything that was added durable before it returns, at a revision higher than any
    /// that the other store can have had; `revision` is the last one known.
    pub fn finish(mut self, revision: Revision) -> Result<(), StoreError> {
        let known = self.seal.revision.max(revision);
        self.seal.revision = known.saturating_add(REVISIONS_PER_LOSS);
        self.write(BTreeMap::new())?;
        self.runtime.block_on(async {
            self.disk.flush().await?;
            self.disk.seal(&self.seal).await?;
            self.disk.close().await;
            Ok(())
        })
    }

    fn write(&mut self, entries: BTreeMap<String, Option<Versioned>>) -> Result<(), StoreError> {
        self.seal.sequence += 1;
        let batch = Batch {
            entries,
            seal: self.seal,
        };
        self.runtime.block_on(self.disk.write(&batch))
    }
}
