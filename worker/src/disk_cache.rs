//! Files that can be had again, within a bound of the disk: artifacts, which the control plane has, and compiled code.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use warren_model::digest::Digest;

/// What was used within this time stays, whatever it takes: it may be about to be used again, also by another process on
/// the same directory.
const KEPT: Duration = Duration::from_secs(3600);

/// A file in the cache directory that is not part of the cache, and stays: see `runtime::seal`.
pub const KEY_FILE: &str = "seal.key";

/// A directory of files that are named after digests. A file's modification time is when it was last used.
#[derive(Clone, Debug)]
pub struct DiskCache {
    directory: PathBuf,
    /// Bytes.
    limit: u64,
}

/// A file that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cached {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
    in_use: bool,
}

// === impl DiskCache ===

impl DiskCache {
    /// The directory must exist.
    pub fn new(directory: PathBuf, limit: u64) -> Self {
        Self { directory, limit }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Notes that a file is used now.
    pub fn used(path: &Path) -> io::Result<()> {
        File::open(path)?.set_modified(SystemTime::now())
    }

    /// Removes what was not used for longest until the rest is within the limit, and tells which files that were. What is
    /// `in_use` stays, and what was used within the last hour. Reads the whole directory: only worth it after something
    /// was added.
    pub fn collect(&self, in_use: impl Fn(Digest) -> bool) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name() == KEY_FILE {
                continue;
            }
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // By another process on this directory.
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

/// Files begin with the hexadecimal digits of their digest. Others were left half written by a process that ended.
pub fn digest(path: &Path) -> Option<Digest> {
    let name = path.file_name()?.to_str()?;
    let digits = name.get(..64)?;
    Digest::parse(&format!("sha256:{digits}")).ok()
}

fn expendable(mut files: Vec<Cached>, limit: u64, now: SystemTime) -> Vec<PathBuf> {
    let mut total: u64 = files.iter().map(|file| file.bytes).sum();
    files.retain(|file| {
        // A time in the future is of a clock that went back: as good as now.
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
