//! From arriving bytes to a file with a name.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use tokio::{fs, io::AsyncWriteExt, sync::OwnedSemaphorePermit};
use uuid::Uuid;
use warren_model::{
    digest::{Digest, Hasher},
    private,
};

use super::{ArtifactError, ArtifactFiles, UPLOAD_PREFIX};

/// Bytes that are still arriving, in a temporary file that is removed when this is dropped.
#[derive(Debug)]
pub struct ArtifactUpload {
    file: fs::File,
    temporary: Temporary,
    hasher: Hasher,
    size: u64,
    limit: u64,
}

/// All bytes of an upload, flushed to its temporary file, so that they can be inspected before they
/// get a name.
#[derive(Debug)]
pub struct FinishedUpload {
    temporary: Temporary,
    digest: Digest,
    size: u64,
}

/// Removes its file when it is dropped.
#[derive(Debug)]
struct Temporary {
    files: ArtifactFiles,
    path: PathBuf,
    _permit: OwnedSemaphorePermit,
}

// === impl ArtifactUpload ===

impl ArtifactUpload {
    pub(super) async fn begin(
        files: ArtifactFiles,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, ArtifactError> {
        let name = format!("{UPLOAD_PREFIX}{}", Uuid::new_v4().simple());
        let limit = files.limit;
        let temporary = Temporary {
            path: files.directory.join(name),
            files,
            _permit: permit,
        };
        let file = fs::File::options()
            .write(true)
            .create_new(true)
            .mode(private::FILE)
            .open(&temporary.path)
            .await?;
        Ok(Self {
            file,
            temporary,
            hasher: Hasher::new(),
            size: 0,
            limit,
        })
    }

    /// Adds bytes. After an error, or after the future was dropped before it returned, the upload
    /// can only be dropped.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), ArtifactError> {
        let size = self.size + u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        if size > self.limit {
            return Err(ArtifactError::TooLarge { limit: self.limit });
        }
        self.size = size;
        self.hasher.update(&chunk);
        self.file.write_all(&chunk).await?;
        Ok(())
    }

    /// Flushes all bytes to the disk.
    pub async fn finish(mut self) -> Result<FinishedUpload, ArtifactError> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        let kept = self.file.metadata().await?.len();
        if kept != self.size {
            let short = format!("the disk kept {kept} of {} bytes", self.size);
            return Err(io::Error::other(short).into());
        }
        Ok(FinishedUpload {
            temporary: self.temporary,
            digest: self.hasher.finish(),
            size: self.size,
        })
    }
}

// === impl FinishedUpload ===

impl FinishedUpload {
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads everything that was uploaded.
    pub async fn bytes(&self) -> Result<Vec<u8>, ArtifactError> {
        Ok(fs::read(&self.temporary.path).await?)
    }

    /// Gives the file its name, which survives a crash once this returns. It replaces a file of
    /// that name: the bytes are the same, or the old ones were damaged.
    pub async fn keep(self) -> Result<(), ArtifactError> {
        let Temporary { files, path, .. } = &self.temporary;
        // Before it has its name, so that a release of the old file leaves the new one.
        files.holds.lock().spare(self.digest);
        fs::rename(path, super::path(&files.directory, self.digest)).await?;
        sync_directory(files.directory.clone()).await?;
        Ok(())
    }
}

/// Flushes a directory: without this a new name may be lost in a power failure.
async fn sync_directory(directory: Arc<Path>) -> io::Result<()> {
    fs::File::open(directory).await?.sync_all().await
}

// === impl Temporary ===

impl Drop for Temporary {
    fn drop(&mut self) {
        // It is gone if it was kept. If this fails, the next start removes it.
        let _ = std::fs::remove_file(&self.path);
    }
}
