//! At most one process at a time uses a directory.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process, thread,
    time::{Duration, Instant},
};

use crate::private;

/// The name of the file that is locked.
pub const LOCK: &str = "LOCK";

/// How long a lock that is taken may take to be released.
///
/// The lock belongs to the open file, which a child process shares from its fork until it runs its
/// program. A holder that has ended, or has closed the file, can therefore still appear to hold it.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// A directory that no other process uses for as long as this lives.
///
/// The kernel releases the lock when the process ends, however it ends.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

/// The directory could not be locked.
#[derive(Debug)]
pub enum LockError {
    /// It is in use, by the process of this id where that is known.
    InUse(Option<u32>),
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl DirectoryLock {
    /// Locks a directory, which is created where it is missing. Blocks for up to two seconds where
    /// it is in use.
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        private::create_dir(directory)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(private::FILE)
            .open(directory.join(LOCK))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => return Err(LockError::InUse(holder(&mut file))),
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
            }
        }
        // The id serves only the message for a process that comes later.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", process::id()));
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut holder = String::new();
    file.read_to_string(&mut holder).ok()?;
    holder.trim().parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_with_the_id_of_the_holder() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryLock::acquire(directory.path()).unwrap();
        let Err(LockError::InUse(holder)) = DirectoryLock::acquire(directory.path()) else {
            panic!("the directory was locked twice");
        };
        assert_eq!(holder, Some(process::id()));
        drop(first);
        DirectoryLock::acquire(directory.path()).unwrap();
    }

    /// A second descriptor of the locked file stands in for a child between its fork and its exec.
    #[test]
    fn a_lock_that_a_child_shares_for_a_moment_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryLock::acquire(directory.path()).unwrap();
        let shared = first._file.try_clone().unwrap();
        drop(first);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(PAUSE * 5);
                drop(shared);
            });
            DirectoryLock::acquire(directory.path()).unwrap();
        });
    }
}
