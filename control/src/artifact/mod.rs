//! Components as files named by their SHA-256.
//!
//! A file is whole and flushed before it has its name, and verified whenever it is read.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::Mutex;
use tokio::{fs, sync::Semaphore};
use warren_model::{digest::Digest, private, quantity::rounded_bytes};

mod hold;
pub mod inspection;
mod read;
#[cfg(test)]
mod tests;
mod upload;

pub use hold::Held;
use hold::Holds;
pub use read::ArtifactStream;
pub use upload::{ArtifactUpload, FinishedUpload};

/// The largest artifact.
pub const MAX_ARTIFACT_BYTES: u64 = 256 * 1024 * 1024;
/// The largest piece that is read at once.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Uploads at once, so that temporary files cannot fill the disk.
const MAX_UPLOADS: usize = 16;

/// Begins the name of a file that is not whole yet.
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

/// A directory of artifacts. Clones are the same directory.
#[derive(Clone, Debug)]
pub struct ArtifactFiles {
    directory: Arc<Path>,
    uploads: Arc<Semaphore>,
    holds: Arc<Mutex<Holds>>,
    limit: u64,
}

// === impl ArtifactFiles ===

impl ArtifactFiles {
    /// Makes the directory where it is missing, and clears away what uploads left that never finished. Blocks.
    ///
    /// One process at a time: the caller holds the lock of the data directory.
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
            limit: MAX_ARTIFACT_BYTES,
        })
    }

    /// A place for the bytes of a new artifact; [`ArtifactError::Busy`] while too many others are open.
    pub async fn begin(&self) -> Result<ArtifactUpload, ArtifactError> {
        let permit = self.uploads.clone().try_acquire_owned();
        let permit = permit.map_err(|_| ArtifactError::Busy)?;
        ArtifactUpload::begin(self.clone(), permit).await
    }

    /// The bytes, verified as they are read: the last piece only comes if all of them match the digest,
    /// [`ArtifactError::Corrupt`] otherwise.
    pub async fn read(&self, digest: Digest) -> Result<ArtifactStream, ArtifactError> {
        match fs::File::open(path(&self.directory, digest)).await {
            Ok(file) => Ok(read::verified(file, digest)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ArtifactError::NotFound(digest))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether there is a file of that name; reading it may still find it damaged.
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

    /// Removes an artifact; one that is not there is removed already. Those who read it go on, and where somebody holds it
    /// the file goes when they let go.
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

    /// The artifacts whose files were last written before this time. Blocks.
    pub fn written_before(&self, time: SystemTime) -> io::Result<Vec<Digest>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let digest = name
                .to_str()
                .map(|hex| Digest::parse(&format!("sha256:{hex}")));
            let Some(Ok(digest)) = digest else { continue };
            // One that is gone meanwhile needs nobody to remove it.
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            if modified.is_ok_and(|modified| modified < time) {
                found.push(digest);
            }
        }
        Ok(found)
    }

    /// Keeps the files of these artifacts, whoever removes them, until what this returns is dropped.
    pub fn hold(&self, digests: impl IntoIterator<Item = Digest>) -> Held {
        Held::begin(self.clone(), digests)
    }
}

fn path(directory: &Path, digest: Digest) -> PathBuf {
    directory.join(digest.hex())
}
