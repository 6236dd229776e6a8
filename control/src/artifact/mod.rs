//! Artifacts: the components that were pushed, as files named by their SHA-256 and as records.
//!
//! A file is whole and flushed before it gets its name, and verified whenever it is read.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::Mutex;
use tokio::{
    fs,
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore},
};
use warren_model::{digest::Digest, private, quantity::rounded_bytes};

mod hold;
mod inspection;
mod operations;
mod read;
#[cfg(test)]
mod tests;
mod upload;

pub use hold::Held;
use hold::Holds;
pub use inspection::InspectionError;
pub use operations::{Artifacts, Refusal, no_artifact};
pub use read::ArtifactStream;
pub use upload::{ArtifactUpload, FinishedUpload};

/// The size of the largest artifact.
pub const MAX_ARTIFACT_BYTES: u64 = 256 * 1024 * 1024;
/// The size of the largest piece that is read at once.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// The number of uploads at once, so that temporary files cannot fill the disk.
const MAX_UPLOADS: usize = 16;

/// The prefix of the name of a file that is not whole yet.
const UPLOAD_PREFIX: &str = ".upload-";

/// Why an artifact could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("artifact {0} is not here: push it first")]
    NotFound(Digest),
    #[error("an artifact has at most {}, this one has more", rounded_bytes(*limit))]
    TooLarge { limit: u64 },
    /// A later try can succeed.
    #[error("{MAX_UPLOADS} artifacts are being pushed already: try again later")]
    Busy,
    /// What was read so far must not be used. Pushing it again heals it.
    #[error("artifact {0} is damaged on the control plane's disk: push it again")]
    Corrupt(Digest),
    #[error("artifact files: {0}")]
    Io(#[from] io::Error),
}

/// A directory of artifacts. Clones share the directory and its locks.
#[derive(Clone, Debug)]
pub struct ArtifactFiles {
    directory: Arc<Path>,
    uploads: Arc<Semaphore>,
    holds: Arc<Mutex<Holds>>,
    /// Held for reading while something relies on artifacts that the index does not show as used
    /// yet, for writing while artifacts are removed.
    references: Arc<RwLock<()>>,
    limit: u64,
}

// === impl ArtifactFiles ===

impl ArtifactFiles {
    /// Makes the directory where it is missing, and removes what unfinished uploads left. Blocks.
    ///
    /// The caller holds the lock of the data directory, so that no other process uses it.
    pub fn open(directory: &Path) -> io::Result<Self> {
        private::open_dir(directory)?;
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name
                .as_encoded_bytes()
                .starts_with(UPLOAD_PREFIX.as_bytes())
            {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(Self {
            directory: directory.into(),
            uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
            holds: Arc::default(),
            references: Arc::default(),
            limit: MAX_ARTIFACT_BYTES,
        })
    }

    /// Keeps every artifact from being removed until the guard is dropped.
    pub async fn rely(&self) -> RwLockReadGuard<'_, ()> {
        self.references.read().await
    }

    /// Waits until nothing relies on artifacts any more, and keeps it so until the guard is
    /// dropped.
    pub async fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.references.write().await
    }

    /// Opens a place for the bytes of a new artifact; [`ArtifactError::Busy`] while too many others
    /// are open.
    pub async fn begin(&self) -> Result<ArtifactUpload, ArtifactError> {
        let permit = self.uploads.clone().try_acquire_owned();
        let permit = permit.map_err(|_| ArtifactError::Busy)?;
        ArtifactUpload::begin(self.clone(), permit).await
    }

    /// Returns the bytes, verified as they are read: the last piece comes only if all of them match
    /// the digest, and [`ArtifactError::Corrupt`] otherwise.
    pub async fn read(&self, digest: Digest) -> Result<ArtifactStream, ArtifactError> {
        match fs::File::open(path(&self.directory, digest)).await {
            Ok(file) => Ok(read::verified(file, digest)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ArtifactError::NotFound(digest))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether there is a file of that name; a reader may still find it damaged.
    pub async fn contains(&self, digest: Digest) -> bool {
        if self.holds.lock().is_doomed(digest) {
            return false;
        }
        #[cfg(feature = "simulation")]
        if warren_model::ambient::simulated::is_entered() {
            return path(&self.directory, digest).exists();
        }
        fs::try_exists(path(&self.directory, digest))
            .await
            .unwrap_or(false)
    }

    /// Removes an artifact; one that does not exist is removed already. Readers continue, and a
    /// file that is held is removed once it is released.
    pub async fn remove(&self, digest: Digest) -> Result<(), ArtifactError> {
        if self.holds.lock().doom(digest) {
            return Ok(());
        }
        let path = path(&self.directory, digest);
        #[cfg(feature = "simulation")]
        let removed = match warren_model::ambient::simulated::is_entered() {
            true => std::fs::remove_file(path),
            false => fs::remove_file(path).await,
        };
        #[cfg(not(feature = "simulation"))]
        let removed = fs::remove_file(path).await;
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Returns the artifacts whose files were last written before this time. Blocks.
    pub fn written_before(&self, time: SystemTime) -> io::Result<Vec<Digest>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let digest = name
                .to_str()
                .map(|hex| Digest::parse(&format!("sha256:{hex}")));
            let Some(Ok(digest)) = digest else { continue };
            // A file that has gone in the meantime need not be removed.
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            if modified.is_ok_and(|modified| modified < time) {
                found.push(digest);
            }
        }
        Ok(found)
    }

    /// Keeps the files of these artifacts, even if they are removed, until the value is dropped.
    pub fn hold(&self, digests: impl IntoIterator<Item = Digest>) -> Held {
        Held::begin(self.clone(), digests)
    }
}

fn path(directory: &Path, digest: Digest) -> PathBuf {
    directory.join(digest.hex())
}
