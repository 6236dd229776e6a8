//! Artifacts by digest: each is pulled once from the control plane, verified and kept.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tempfile::NamedTempFile;
use tokio::{
    io::AsyncWriteExt as _,
    sync::{Semaphore, watch},
    time,
};
use tonic::{Code, Status};
use warren_model::{
    digest::{Digest, Hasher},
    private,
};
use warren_proto::v1::{PullRequest, artifact_service_client::ArtifactServiceClient};

use crate::{backoff::Backoff, disk_cache::DiskCache, remote::Channel};

/// The current connection to the control plane's artifacts, or `None` before the first session.
pub type Source = watch::Receiver<Option<Channel>>;

/// The artifacts that this worker has.
pub struct Artifacts {
    dir: PathBuf,
    files: DiskCache,
    source: Source,
    /// The artifacts that this process has read completely, with their sizes. Any other file may
    /// have been damaged since it was written.
    verified: Mutex<HashMap<Digest, u64>>,
    /// The locks that are held while an artifact is fetched, so that all who need it wait for one
    /// pull. They are weak, and are freed with the last of these.
    fetching: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    pulls: Semaphore,
}

/// The reason why an artifact is not available. Trying again at once does not help.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("the control plane has no artifact {0}: push it again, then apply the workload")]
    NotFound(Digest),
    #[error(
        "the control plane sent bytes that are not {0}, {TRIES_AT_CORRUPT} times: its store may be damaged"
    )]
    Corrupt(Digest),
    #[error("artifact {0} is larger than {MAX_BYTES} bytes")]
    TooLarge(Digest),
    #[error("the control plane refused to send {digest}: {}", status.message())]
    Refused { digest: Digest, status: Box<Status> },
    #[error("cannot store {digest} in {}: {source}", dir.display())]
    Io {
        digest: Digest,
        dir: PathBuf,
        source: io::Error,
    },
}

/// The way in which one pull failed.
enum PullError {
    Final(ArtifactError),
    /// The bytes that arrived are not those that were requested.
    Corrupt,
    /// The control plane is away, busy or slow.
    Retry(Status),
}

/// The largest artifact, which is the control plane's limit, too.
const MAX_BYTES: u64 = 256 << 20;
/// The attempts if the bytes are wrong. There are several, because a connection that breaks at an
/// unlucky point looks the same; there are few, because a damaged store stays damaged.
const TRIES_AT_CORRUPT: u32 = 3;
/// The number of simultaneous pulls: enough to saturate a link, but few enough that each ends soon.
const PULLS: usize = 4;
/// The longest time between two chunks.
const STALLED: Duration = Duration::from_secs(30);
const TEMPORARY: &str = ".pull-";

// === impl Artifacts ===

impl Artifacts {
    /// Opens the directory, or creates it, and removes the incomplete files of an earlier process.
    /// For `limit`, see [`Self::collect`].
    pub fn open(dir: PathBuf, limit: u64, source: Source) -> io::Result<Self> {
        private::open_dir(&dir)?;
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self {
            files: DiskCache::new(dir.clone(), limit),
            dir,
            source,
            verified: Mutex::default(),
            fetching: Mutex::default(),
            pulls: Semaphore::new(PULLS),
        })
    }

    /// Returns the file of an artifact, whose bytes have this digest. Pulls it if it is missing,
    /// once for all callers, and waits for as long as the control plane is away. If the future is
    /// dropped, another caller that waits takes over.
    pub async fn ensure(&self, digest: Digest) -> Result<PathBuf, ArtifactError> {
        let path = self.path(digest);
        if self.has(digest, &path) {
            return Ok(path);
        }
        let turn = self.turn(digest);
        let _fetching = turn.lock().await;
        if self.has(digest, &path) {
            return Ok(path);
        }
        let failed = |source| ArtifactError::Io {
            digest,
            dir: self.dir.clone(),
            source,
        };
        let size = match self.verify(digest, &path).await.map_err(failed)? {
            Some(size) => size,
            None => self.pull(digest).await?,
        };
        self.verified.lock().insert(digest, size);
        DiskCache::used(&path).map_err(failed)?;
        Ok(path)
    }

    /// Removes the files that have been unused for longest, until the rest takes no more than the
    /// limit in bytes. Files that are `in_use` stay.
    pub fn collect(&self, in_use: impl Fn(Digest) -> bool) -> io::Result<()> {
        for path in self.files.collect(in_use)? {
            tracing::info!(path = %path.display(), "removed an unused artifact");
        }
        Ok(())
    }

    /// Returns whether the file is known to be complete, and marks it as used now.
    fn has(&self, digest: Digest, path: &Path) -> bool {
        let mut verified = self.verified.lock();
        let Some(size) = verified.get(&digest) else {
            return false;
        };
        let whole = fs::metadata(path).is_ok_and(|metadata| metadata.len() == *size)
            && DiskCache::used(path).is_ok();
        // It was collected, truncated or removed in another way. It is pulled again.
        if !whole {
            verified.remove(&digest);
        }
        whole
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.files.path(&format!("{}.wasm", digest.hex()))
    }

    fn turn(&self, digest: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut fetching = self.fetching.lock();
        if let Some(turn) = fetching.get(&digest).and_then(Weak::upgrade) {
            return turn;
        }
        fetching.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        fetching.insert(digest, Arc::downgrade(&turn));
        turn
    }

    /// Returns the size of the file if it exists and is complete.
    async fn verify(&self, digest: Digest, path: &Path) -> io::Result<Option<u64>> {
        let file = path.to_owned();
        let read = tokio::task::spawn_blocking(move || read_whole(&file));
        let (found, size) = match read.await.map_err(io::Error::other).flatten() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        if found != digest {
            tracing::warn!(%digest, path = %path.display(), "artifact is damaged on disk, pulling it again");
            return Ok(None);
        }
        Ok(Some(size))
    }

    async fn pull(&self, digest: Digest) -> Result<u64, ArtifactError> {
        let mut source = self.source.clone();
        let mut backoff = Backoff::default();
        let mut corrupt = 0;
        loop {
            // The session owns the sender. Without it the worker is ending, and so is the caller.
            let channel = source
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|c| c.clone());
            let Some(channel) = channel else {
                return std::future::pending().await;
            };
            match self.pull_once(digest, channel).await {
                Ok(size) => return Ok(size),
                Err(PullError::Final(error)) => return Err(error),
                Err(PullError::Corrupt) => {
                    corrupt += 1;
                    tracing::warn!(%digest, "the control plane sent bytes that do not have the requested digest");
                    if corrupt == TRIES_AT_CORRUPT {
                        return Err(ArtifactError::Corrupt(digest));
                    }
                }
                Err(PullError::Retry(status)) => {
                    tracing::info!(%digest, error = status.message(), "pull failed, trying again");
                }
            }
            time::sleep(backoff.next()).await;
        }
    }

    async fn pull_once(&self, digest: Digest, channel: Channel) -> Result<u64, PullError> {
        let failed = |source| {
            let dir = self.dir.clone();
            PullError::Final(ArtifactError::Io {
                digest,
                dir,
                source,
            })
        };
        // The semaphore is never closed.
        let _permit = self.pulls.acquire().await;
        let temporary = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(&self.dir);
        let temporary = temporary.map_err(failed)?;
        let mut file = tokio::fs::File::from_std(temporary.reopen().map_err(failed)?);

        let request = PullRequest {
            digest: digest.to_string(),
        };
        let mut client = ArtifactServiceClient::new(channel);
        let pull = stalls(client.pull(request)).await;
        let mut chunks = pull.map_err(|status| refused(digest, status))?.into_inner();
        let (mut hasher, mut size) = (Hasher::new(), 0_u64);
        while let Some(response) = stalls(chunks.message())
            .await
            .map_err(|status| refused(digest, status))?
        {
            size += response.chunk.len() as u64;
            if size > MAX_BYTES {
                return Err(PullError::Final(ArtifactError::TooLarge(digest)));
            }
            hasher.update(&response.chunk);
            file.write_all(&response.chunk).await.map_err(failed)?;
        }
        if hasher.finish() != digest {
            return Err(PullError::Corrupt);
        }
        // Chunks that were accepted may have failed to reach the disk since. The flush reports
        // this; the sync does not.
        file.flush().await.map_err(failed)?;
        file.sync_all().await.map_err(failed)?;
        let path = self.path(digest);
        let kept = tokio::task::spawn_blocking(move || keep(temporary, &path, digest)).await;
        kept.map_err(io::Error::other).flatten().map_err(failed)
    }
}

/// Gives the file its name once it is complete and on disk, which is checked by reading it. Returns
/// its size.
fn keep(temporary: NamedTempFile, path: &Path, digest: Digest) -> io::Result<u64> {
    let (found, size) = read_whole(temporary.path())?;
    if found != digest {
        return Err(io::Error::other(
            "the disk did not store the written bytes: check that it is not full or damaged",
        ));
    }
    temporary.persist(path)?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(size)
}

/// Returns the digest and the size of a file.
fn read_whole(path: &Path) -> io::Result<(Digest, u64)> {
    let (mut file, mut hasher, mut size) = (File::open(path)?, Hasher::new(), 0);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), size)),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                size += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

async fn stalls<T>(step: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match time::timeout(STALLED, step).await {
        Ok(result) => result,
        Err(_) => Err(Status::deadline_exceeded("no bytes arrived for 30 s")),
    }
}

fn refused(digest: Digest, status: Status) -> PullError {
    match status.code() {
        Code::NotFound => PullError::Final(ArtifactError::NotFound(digest)),
        Code::DataLoss => PullError::Corrupt,
        Code::InvalidArgument
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented => {
            let status = Box::new(status);
            PullError::Final(ArtifactError::Refused { digest, status })
        }
        _ => PullError::Retry(status),
    }
}

#[cfg(test)]
mod tests;
