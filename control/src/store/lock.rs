//! One process at a time for a directory.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process,
};

use warren_model::private;

use super::StoreError;

/// Held for as long as this lives; the kernel lets go of it when the process dies, however it does.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Creates the directory where it is missing.
    pub fn acquire(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join("LOCK");
        let unusable =
            |error| StoreError::Unavailable(format!("`{}`: {error}", directory.display()));
        private::create_dir(directory).map_err(unusable)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(private::FILE)
            .open(path)
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse(in_use(directory, &mut file)));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        // Only for the message of those who come too late.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", process::id()));
        Ok(Self { _file: file })
    }
}

fn in_use(directory: &Path, file: &mut File) -> String {
    let mut holder = String::new();
    let _ = file.read_to_string(&mut holder);
    let holder = match holder.trim().parse::<u32>() {
        Ok(pid) => format!("process {pid}"),
        Err(_) => "another process".to_owned(),
    };
    format!(
        "`{}` is in use by {holder}: stop that one, or name another data directory",
        directory.display()
    )
}
