//! A directory that is removed when `warren dev` ends, however it ends.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use warren_model::tree;

/// The directory, once it has been created. Cheap to clone; all clones share one directory.
#[derive(Clone, Default)]
pub struct Temporary(Arc<Mutex<Made>>);

#[derive(Default)]
enum Made {
    #[default]
    NotYet,
    Is(PathBuf),
    /// Removed, and never created again.
    Gone,
}

/// Threads that were abandoned may still write while the directory is removed.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

// === impl Temporary ===

impl Temporary {
    pub fn make(&self, prefix: &str) -> io::Result<PathBuf> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*made, Made::Gone) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let path = tempfile::Builder::new().prefix(prefix).tempdir()?.keep();
        *made = Made::Is(path.clone());
        Ok(path)
    }

    /// Removes the directory with its contents. Blocks for at most a second.
    pub fn remove(&self) {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Made::Is(path) = std::mem::replace(&mut *made, Made::Gone) {
            remove(&path);
        }
    }
}

fn remove(path: &Path) {
    for _ in 0..TRIES {
        // A guest may have created directories that are nested too deeply for recursion.
        match tree::remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            // Success counts only once the directory is seen to be gone.
            _ => {}
        }
        if !path.exists() {
            return;
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn nothing_is_left_behind_and_nothing_comes_after() -> io::Result<()> {
        let temporary = Temporary::default();
        let path = temporary.make("warren-test-")?;
        fs::create_dir(path.join("a"))?;
        fs::write(path.join("a/b"), "c")?;
        let clone = temporary.clone();
        // Another thread is still writing.
        let busy = path.clone();
        let writer = thread::spawn(move || {
            while busy.exists() {
                let _ = fs::write(busy.join("a/late"), "x");
            }
        });
        clone.remove();
        assert!(!path.exists());
        assert!(writer.join().is_ok());
        assert!(temporary.make("warren-test-").is_err());
        temporary.remove();
        Ok(())
    }
}
