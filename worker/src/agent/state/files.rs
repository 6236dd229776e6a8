//! A directory whose files outlive the worker.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
};

use futures::future::{BoxFuture, FutureExt as _};
use tokio::task;
use warren_model::private;

/// Small files, each of which is written completely or not at all. All calls except [`Files::run`]
/// may wait for the disk.
pub trait Files: Send + Sync + 'static {
    fn names(&self) -> io::Result<Vec<String>>;

    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Writes a file. It is on disk under its name when this returns.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Removes a file, permanently only after [`Files::sync`]. Returns [`io::ErrorKind::NotFound`]
    /// if there is none.
    fn remove(&self, name: &str) -> io::Result<()>;

    fn sync(&self) -> io::Result<()>;

    /// Returns the path to show to people.
    fn path(&self, name: &str) -> PathBuf;

    /// Runs work that waits for the disk on a thread where that delays nothing else.
    fn run(&self, work: Work) -> BoxFuture<'static, io::Result<()>>;
}

/// Work that uses the disk.
pub type Work = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// A directory of the file system.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

const TEMPORARY: &str = ".new-";

// === impl Directory ===

impl Directory {
    /// Opens the directory, or creates it. Removes the files of writes that were not completed.
    pub fn open(path: PathBuf) -> io::Result<Arc<Self>> {
        private::open_dir(&path)?;
        let directory = Self(path);
        for name in directory.names()? {
            if name.starts_with(TEMPORARY) {
                directory.remove(&name)?;
            }
        }
        Ok(Arc::new(directory))
    }
}

impl Files for Directory {
    fn names(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.0)?;
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(name))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(&self.0)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(self.path(name))?;
        self.sync()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn run(&self, work: Work) -> BoxFuture<'static, io::Result<()>> {
        let done = task::spawn_blocking(work);
        async { done.await.map_err(io::Error::other).flatten() }.boxed()
    }
}
