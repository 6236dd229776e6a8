//! The store embedded in the control plane, on sled.
//!
//! A flushed write survives the death of the process; sled leaves it to the kernel when it reaches the medium.
//! A write error stays with a sled database until it is opened again, which the writer does.

use std::{
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use ::sled::{Batch as SledBatch, Config, Db, Error, IVec};
use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Durability, Revision, SCHEMA, Snapshot, Store, StoreError, Versioned, Watch, Write,
    history::Bounds,
    local::{Batch, Contents, Disk, LocalStore},
    lock::DirectoryLock,
};

/// The state is in memory already: sled's own cache only serves its housekeeping.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// Relaxed writes that nothing flushes earlier.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// Threads of a database that was dropped hold sled's own lock a little longer.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// First byte of a sled key: a key of the store, or the store's own.
const KEY: u8 = b'k';
const SCHEMA_KEY: &[u8] = b"m/schema";
const REVISION_KEY: &[u8] = b"m/revision";

/// A [`Store`] in a directory of this machine.
pub struct SledStore(LocalStore);

/// A directory with a lock and a database.
#[derive(Debug)]
struct SledDisk {
    directory: PathBuf,
    lock: Option<DirectoryLock>,
    db: Option<Db>,
}

// === impl SledStore ===

impl SledStore {
    /// Opens a directory, made where it is missing, and reads all of it. Blocks.
    ///
    /// [`StoreError::InUse`] when another process has it open, [`StoreError::SchemaTooNew`] when a newer version
    /// wrote it.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let disk = SledDisk {
            directory: directory.to_owned(),
            lock: Some(DirectoryLock::acquire(directory)?),
            db: None,
        };
        LocalStore::open(disk, Bounds::default()).map(Self)
    }
}

#[async_trait]
impl Store for SledStore {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.0.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        self.0.list(prefix).await
    }

    async fn commit(
        &self,
        writes: Vec<Write>,
        durability: Durability,
    ) -> Result<Revision, StoreError> {
        self.0.commit(writes, durability).await
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.0.watch(prefix, after)
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

// === impl SledDisk ===

impl SledDisk {
    fn open_db(&self) -> Result<Db, StoreError> {
        let config = Config::new()
            .path(self.directory.join("sled"))
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(u64::try_from(FLUSH_EVERY.as_millis()).ok());
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match config.open() {
                Err(Error::Io(error)) if is_lock(&error) && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(10));
                }
                result => return result.map_err(|error| self.error(error)),
            }
        }
    }

    fn check_schema(&self, db: &Db) -> Result<(), StoreError> {
        let found = match db.get(SCHEMA_KEY).map_err(|error| self.error(error))? {
            Some(stored) => decimal(&stored).and_then(|number| u32::try_from(number).ok()),
            None if db.is_empty() => {
                db.insert(SCHEMA_KEY, SCHEMA.to_string().as_bytes())
                    .map_err(|error| self.error(error))?;
                return Ok(());
            }
            None => None,
        };
        match found {
            Some(SCHEMA) => Ok(()),
            Some(found) if found > SCHEMA => Err(StoreError::SchemaTooNew {
                directory: self.directory.clone(),
                found,
                supported: SCHEMA,
            }),
            _ => Err(self.corrupt("it has no known schema number")),
        }
    }

    fn read(&self, db: &Db) -> Result<Contents, StoreError> {
        let mut contents = Contents::default();
        if let Some(stored) = db.get(REVISION_KEY).map_err(|error| self.error(error))? {
            contents.revision =
                decimal(&stored).ok_or_else(|| self.corrupt("its revision is not a number"))?;
        }
        for item in db.scan_prefix([KEY]) {
            let (key, value) = item.map_err(|error| self.error(error))?;
            let entry = decode(&key, &value)
                .ok_or_else(|| self.corrupt(&format!("the entry of key {key:?} is damaged")))?;
            contents.entries.insert(entry.0, entry.1);
        }
        Ok(contents)
    }

    fn error(&self, error: Error) -> StoreError {
        match error {
            Error::Corruption { .. } | Error::Unsupported(_) | Error::CollectionNotFound(_) => {
                self.corrupt(&error.to_string())
            }
            Error::Io(_) | Error::ReportableBug(_) => {
                StoreError::Unavailable(format!("`{}`: {error}", self.directory.display()))
            }
        }
    }

    fn corrupt(&self, what: &str) -> StoreError {
        StoreError::Corrupt(format!("`{}`: {what}", self.directory.display()))
    }
}

impl Disk for SledDisk {
    fn open(&mut self) -> Result<Contents, StoreError> {
        self.db = None;
        let db = self.open_db()?;
        self.check_schema(&db)?;
        let contents = self.read(&db)?;
        self.db = Some(db);
        Ok(contents)
    }

    fn write(&mut self, batch: &Batch, flush: bool) -> Result<(), StoreError> {
        let Some(db) = &self.db else {
            return Err(StoreError::Unavailable("it is not open".to_owned()));
        };
        let mut writes = SledBatch::default();
        for (key, versioned) in &batch.entries {
            match versioned {
                Some(versioned) => writes.insert(encode_key(key), encode(versioned)),
                None => writes.remove(encode_key(key)),
            }
        }
        writes.insert(REVISION_KEY, batch.revision.to_string().as_bytes());
        db.apply_batch(writes).map_err(|error| self.error(error))?;
        if flush {
            db.flush().map_err(|error| self.error(error))?;
        }
        Ok(())
    }

    fn close(&mut self) {
        self.db = None;
        self.lock = None;
    }
}

fn encode_key(key: &str) -> Vec<u8> {
    [&[KEY], key.as_bytes()].concat()
}

/// The revision in eight bytes, then the value.
fn encode(versioned: &Versioned) -> Vec<u8> {
    [&versioned.revision.to_be_bytes(), &versioned.value[..]].concat()
}

fn decode(key: &[u8], stored: &IVec) -> Option<(String, Versioned)> {
    let key = std::str::from_utf8(key.get(1..)?).ok()?.to_owned();
    let (revision, value) = stored.split_first_chunk()?;
    let versioned = Versioned {
        value: Bytes::copy_from_slice(value),
        revision: Revision::from_be_bytes(*revision),
    };
    Some((key, versioned))
}

fn decimal(stored: &[u8]) -> Option<u64> {
    std::str::from_utf8(stored).ok()?.parse().ok()
}

/// sled has no kind of error for it.
fn is_lock(error: &io::Error) -> bool {
    error.to_string().contains("acquire lock")
}
