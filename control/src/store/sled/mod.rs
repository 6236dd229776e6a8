//! The store embedded in the control plane, on sled.
//!
//! A flushed write is on the medium. After a write error a sled database keeps failing until it is
//! opened again, which the writer does. What sled reads from a damaged file is not trusted: see
//! `local/seal.rs`.

mod load;
mod seal_file;

use std::{
    fs::{self, File},
    io,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use ::sled::{Batch as SledBatch, Config, Db, Error, IVec};
use async_trait::async_trait;
use bytes::Bytes;
use warren_model::{
    directory_lock::{DirectoryLock, LockError},
    private,
};

use super::{
    Revision, SCHEMA, StoreError, Versioned,
    history::Bounds,
    local::{Batch, Contents, Disk, LocalStore, OnLoss, Opened, Seal, StateDigest},
};
pub(crate) use load::Loader;
use seal_file::SealFile;

/// Bytes of sled's own cache. It is small because the state is in memory: only sled's internal work
/// uses the cache.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// The interval after which relaxed writes are flushed if nothing flushes them earlier.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// How long to wait for sled's own lock. The threads of a database that was dropped hold it a
/// little longer. So does a child process between its fork and its exec, which shares the
/// descriptor.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// The number of bytes that sled writes to its log at once.
const ROOM_BYTES: usize = 512 * 1024;

/// The name of sled's directory, and of the file in it that contains everything.
const DATABASE: &str = "sled";
const LOG: &str = "db";

/// The first byte of a sled key: it distinguishes the keys of the store's users from the store's
/// own.
const KEY: u8 = b'k';
const SCHEMA_KEY: &[u8] = b"m/schema";
const REVISION_KEY: &[u8] = b"m/revision";
const SEAL_KEY: &[u8] = b"m/seal";

/// A [`Store`](super::Store) in a directory of this machine.
pub struct SledStore {
    store: LocalStore,
    /// Ends once the store has.
    writer: Option<thread::JoinHandle<()>>,
}

/// A directory with a lock, a database and the file `SEAL`.
#[derive(Debug)]
pub(super) struct SledDisk {
    directory: PathBuf,
    lock: Option<DirectoryLock>,
    open: Option<OpenDatabase>,
    seal: Option<SealFile>,
}

#[derive(Debug)]
struct OpenDatabase {
    db: Db,
    /// The file of the database, opened a second time to sync it: sled leaves it to the kernel when
    /// data reaches the medium.
    log: File,
    /// What is noted in it.
    schema: Option<u32>,
}

// === impl SledStore ===

impl SledStore {
    /// Opens a directory, creating it if it is missing, and reads all of it. Blocks.
    ///
    /// [`StoreError::InUse`] when another process has it open, [`StoreError::SchemaTooNew`] when a
    /// newer version wrote it, [`StoreError::Damaged`] when it does not hold all that was
    /// acknowledged and `on_loss` refuses that.
    pub fn open(directory: &Path, on_loss: OnLoss) -> Result<Self, StoreError> {
        let disk = SledDisk::lock(directory)?;
        let located = |error| match error {
            StoreError::Damaged(what) => disk_damaged(directory, what),
            error => error,
        };
        let (tell, opened) = mpsc::sync_channel(1);
        let writer = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(disk, on_loss, &tell))
            .map_err(|error| {
                StoreError::Unavailable(format!("cannot start the writer thread: {error}"))
            })?;
        let opened = opened.recv().unwrap_or_else(|_| {
            let ended = "the thread that opened it ended".to_owned();
            Err(StoreError::Unavailable(ended))
        });
        match opened {
            Ok(store) => Ok(Self {
                store,
                writer: Some(writer),
            }),
            Err(error) => {
                // It releases the directory first.
                let _ = writer.join();
                Err(located(error))
            }
        }
    }

    /// What is missing, where that was accepted.
    pub fn lost(&self) -> Option<&str> {
        self.store.lost()
    }
}

/// Runs the writer on a thread of its own, because calls of the database block.
fn run(disk: SledDisk, on_loss: OnLoss, opened: &mpsc::SyncSender<Result<LocalStore, StoreError>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = opened.send(Err(StoreError::Unavailable(error.to_string())));
            return;
        }
    };
    runtime.block_on(async {
        match LocalStore::open(disk, Bounds::default(), on_loss).await {
            Ok((store, writer)) => {
                if opened.send(Ok(store)).is_ok() {
                    writer.run().await;
                }
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        }
    });
}

impl Drop for SledStore {
    /// Waits until the writer has flushed and released the disk, so that it can be opened again.
    fn drop(&mut self) {
        self.store.end();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl AsRef<LocalStore> for SledStore {
    fn as_ref(&self) -> &LocalStore {
        &self.store
    }
}

// === impl SledDisk ===

impl SledDisk {
    /// Opens a directory that no other process uses, creating it if it is missing.
    pub fn lock(directory: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            directory: directory.to_owned(),
            lock: Some(lock(directory)?),
            open: None,
            seal: None,
        })
    }

    fn open_database(&self) -> Result<(OpenDatabase, Contents), StoreError> {
        let path = self.directory.join(DATABASE);
        // sled creates missing files and directories as world-readable.
        private::open_dir(&path).map_err(|error| self.unusable(&error))?;
        let config = Config::new()
            .path(&path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(u64::try_from(FLUSH_EVERY.as_millis()).ok());
        let db = open_patiently(&config).map_err(|error| self.error(error))?;
        let log = File::open(path.join(LOG)).map_err(|error| self.unusable(&error))?;
        // The names of files are synced with their directories, once.
        for directory in [&path, &self.directory] {
            let synced = File::open(directory).and_then(|directory| directory.sync_all());
            synced.map_err(|error| self.unusable(&error))?;
        }
        private::restrict_tree(&self.directory).map_err(|error| self.unusable(&error))?;
        let schema = self.schema(&db)?;
        let contents = self.read(&db)?;
        Ok((OpenDatabase { db, log, schema }, contents))
    }

    /// Returns the stored schema number; `None` for an empty database.
    fn schema(&self, db: &Db) -> Result<Option<u32>, StoreError> {
        let found = match db.get(SCHEMA_KEY).map_err(|error| self.error(error))? {
            None if db.is_empty() => return Ok(None),
            Some(stored) => decimal(&stored).and_then(|number| u32::try_from(number).ok()),
            None => None,
        };
        match found {
            Some(found) if found > SCHEMA => Err(StoreError::SchemaTooNew {
                directory: self.directory.clone(),
                found,
                supported: SCHEMA,
            }),
            Some(found) => Ok(Some(found)),
            None => Err(damaged("it has no known schema number")),
        }
    }

    fn read(&self, db: &Db) -> Result<Contents, StoreError> {
        let mut contents = Contents::default();
        let get = |key| db.get(key).map_err(|error| self.error(error));
        if let Some(stored) = get(REVISION_KEY)? {
            contents.revision =
                decimal(&stored).ok_or_else(|| damaged("its revision is not a number"))?;
        }
        if let Some(stored) = get(SEAL_KEY)? {
            let seal = decode_seal(&stored);
            contents.seal = Some(seal.ok_or_else(|| damaged("its seal is not one"))?);
        }
        for item in db.scan_prefix([KEY]) {
            let (key, value) = item.map_err(|error| self.error(error))?;
            let entry = decode(&key, &value)
                .ok_or_else(|| damaged(&format!("the entry of key {key:?} is not one")))?;
            contents.entries.insert(entry.0, entry.1);
        }
        Ok(contents)
    }

    /// An error of the operating system may be temporary; all others are caused by the files.
    fn error(&self, error: Error) -> StoreError {
        match error {
            Error::Io(error)
                if is_lock(&error)
                    || (is_of_system(&error) && error.kind() != io::ErrorKind::NotFound) =>
            {
                self.unusable(&error)
            }
            Error::Corruption { .. } => damaged("sled's files do not match their checksums"),
            error => damaged(&error.to_string()),
        }
    }

    fn unusable(&self, error: &io::Error) -> StoreError {
        let directory = self.directory.display();
        StoreError::Unavailable(match error.kind() {
            io::ErrorKind::StorageFull => {
                format!("`{directory}`: the disk is full: make room on it")
            }
            io::ErrorKind::QuotaExceeded => {
                format!("`{directory}`: the disk quota is used up: make room, or raise it")
            }
            _ => format!("`{directory}`: {error}"),
        })
    }

    fn database(&self) -> Result<&OpenDatabase, StoreError> {
        let closed = || StoreError::Unavailable("it is not open".to_owned());
        self.open.as_ref().ok_or_else(closed)
    }
}

#[async_trait]
impl Disk for SledDisk {
    async fn open(&mut self) -> Result<Opened, StoreError> {
        self.open = None;
        let sealed = match SealFile::open(&self.directory).map_err(|error| self.unusable(&error))? {
            Some((file, sealed)) => {
                self.seal = Some(file);
                sealed
            }
            None => {
                self.seal = None;
                None
            }
        };
        // If a file is damaged, sled trusts some numbers that it should not, and panics.
        let opened = panic::catch_unwind(AssertUnwindSafe(|| self.open_database()));
        let (open, contents) = opened.unwrap_or_else(|_| {
            // It also panics if the disk fills up while it opens.
            Err(match has_room(&self.directory) {
                Err(error) if is_of_system(&error) => self.unusable(&error),
                _ => damaged("sled cannot make sense of its files"),
            })
        })?;
        self.open = Some(open);
        Ok(Opened { contents, sealed })
    }

    async fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let open = self.database()?;
        let mut writes = SledBatch::default();
        for (key, versioned) in &batch.entries {
            match versioned {
                Some(versioned) => writes.insert(encode_key(key), encode(versioned)),
                None => writes.remove(encode_key(key)),
            }
        }
        let revision = batch.seal.revision.to_string();
        writes.insert(REVISION_KEY, revision.as_bytes());
        writes.insert(SEAL_KEY, encode_seal(&batch.seal));
        if open.schema != Some(SCHEMA) {
            // Written with the first seal: a version that does not know seals must not write any
            // more.
            writes.insert(SCHEMA_KEY, SCHEMA.to_string().as_bytes());
        }
        let written = open.db.apply_batch(writes);
        written.map_err(|error| self.error(error))?;
        if let Some(open) = &mut self.open {
            open.schema = Some(SCHEMA);
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let open = self.database()?;
        open.db.flush().map_err(|error| self.error(error))?;
        open.log.sync_data().map_err(|error| self.unusable(&error))
    }

    async fn seal(&mut self, seal: &Seal) -> Result<(), StoreError> {
        let written = match &mut self.seal {
            Some(file) => file.write(seal),
            None => SealFile::create(&self.directory, seal).map(|file| self.seal = Some(file)),
        };
        written.map_err(|error| self.unusable(&error))
    }

    async fn close(&mut self) {
        self.open = None;
        self.seal = None;
        self.lock = None;
    }
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(what.to_owned())
}

fn disk_damaged(directory: &Path, what: String) -> StoreError {
    StoreError::Damaged(format!("`{}`: {what}", directory.display()))
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

fn encode_seal(seal: &Seal) -> Vec<u8> {
    [
        &seal.sequence.to_be_bytes()[..],
        &seal.revision.to_be_bytes(),
        &seal.time.to_be_bytes(),
        &seal.digest.0,
    ]
    .concat()
}

fn decode_seal(stored: &[u8]) -> Option<Seal> {
    let (sequence, rest) = stored.split_first_chunk()?;
    let (revision, rest) = rest.split_first_chunk()?;
    let (time, digest) = rest.split_first_chunk()?;
    Some(Seal {
        sequence: u64::from_be_bytes(*sequence),
        revision: u64::from_be_bytes(*revision),
        time: u64::from_be_bytes(*time),
        digest: StateDigest(digest.try_into().ok()?),
    })
}

fn decimal(stored: &[u8]) -> Option<u64> {
    std::str::from_utf8(stored).ok()?.parse().ok()
}

/// sled has no kind of error for it.
/// Returns whether the error comes from the operating system. sled returns copies of an error that
/// it has kept: they have the kind of the original, and its debug representation as their text.
fn is_of_system(error: &io::Error) -> bool {
    error.raw_os_error().is_some() || error.to_string().starts_with("Os {")
}

/// Fails if the disk lacks room for what sled writes at once when it opens.
fn has_room(directory: &Path) -> io::Result<()> {
    let path = directory.join("room");
    let written = fs::write(&path, vec![0; ROOM_BYTES]);
    let _ = fs::remove_file(&path);
    written
}

/// Locks the directory of a store. Blocks for up to two seconds if another process uses it.
pub(crate) fn lock(directory: &Path) -> Result<DirectoryLock, StoreError> {
    DirectoryLock::acquire(directory).map_err(|error| match error {
        LockError::Io(error) => {
            StoreError::Unavailable(format!("`{}`: {error}", directory.display()))
        }
        LockError::InUse(holder) => {
            let holder = match holder {
                Some(pid) => format!("process {pid}"),
                None => "another process".to_owned(),
            };
            StoreError::InUse(format!(
                "`{}` is in use by {holder}: stop that one, or name another data directory",
                directory.display()
            ))
        }
    })
}

/// Opens a database, waiting for sled's own lock if the previous database has not released it yet.
pub(super) fn open_patiently(config: &Config) -> Result<Db, Error> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match config.open() {
            Err(Error::Io(error)) if is_lock(&error) && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

fn is_lock(error: &io::Error) -> bool {
    error.to_string().contains("acquire lock")
}
