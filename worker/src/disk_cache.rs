//! A bounded directory of files that can be recreated: artifacts, which the control plane stores,
//! and compiled code.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use warren_model::digest::Digest;

/// Files that were used within this time are kept even beyond the limit: they may be about to be
/// used again, possibly by another process that shares the directory.
const KEPT: Duration = Duration::from_secs(3600);

/// A file in the cache directory that is not part of the cache and is never removed: see
/// `runtime::seal`.
pub const KEY_FILE: &str = "seal.key";

/// A directory of files that are named after digests. A file's modification time is when it was
/// last used.
#[derive(Clone, Debug)]
pub struct DiskCache {
    directory: PathBuf,
    /// The limit in bytes.
    limit: u64,
}

/// A file in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cached {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
    in_use: bool,
}

// === impl DiskCache ===

impl DiskCache {
    /// Creates a cache over an existing directory.
    pub fn new(directory: PathBuf, limit: u64) -> Self {
        Self { directory, limit }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Records that a file is used now.
    pub fn used(path: &Path) -> io::Result<()> {
        File::open(path)?.set_modified(SystemTime::now())
    }

    /// Removes the least recently used files until the rest is within the limit, and returns the
    /// removed ones. Files that are `in_use`, or were used within the last hour, are kept. Reads
    /// the whole directory, so it should only be called after a file was added.
    pub fn collect(&self, in_use: impl Fn(Digest) -> bool) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name() == KEY_FILE {
                continue;
            }
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Another process that shares the directory has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if metadata.is_file() {
                let path = entry.path();
                files.push(Cached {
                    in_use: digest(&path).is_some_and(&in_use),
                    path,
                    bytes: metadata.len(),
                    used: metadata.modified()?,
                });
            }
        }
        let mut removed = Vec::new();
        for path in expendable(files, self.limit, SystemTime::now()) {
            match fs::remove_file(&path) {
                Ok(()) => removed.push(path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }
}

/// Returns the digest with whose hexadecimal digits the file's name begins. Files without one were
/// left incomplete by a process that ended.
pub fn digest(path: &Path) -> Option<Digest> {
    let name = path.file_name()?.to_str()?;
    let digits = name.get(..64)?;
    Digest::parse(&format!("sha256:{digits}")).ok()
}

fn expendable(mut files: Vec<Cached>, limit: u64, now: SystemTime) -> Vec<PathBuf> {
    let mut total: u64 = files.iter().map(|file| file.bytes).sum();
    files.retain(|file| {
        // A time in the future means that the clock was set back; it counts as now.
        let age = now.duration_since(file.used).unwrap_or_default();
        !file.in_use && age > KEPT
    });
    files.sort_unstable_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
    let mut gone = Vec::new();
    for file in files {
        if total <= limit {
            break;
        }
        total -= file.bytes;
        gone.push(file.path);
    }
    gone
}

#[cfg(test)]
mod tests;
