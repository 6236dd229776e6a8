//! Directories that guests have left behind, which are removed in the background, one tree at a
//! time.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use parking_lot::Mutex;
use warren_model::{private, tree};

/// A directory whose contents are removed in the background. What cannot be removed stays until the
/// next sweep. Dropping it stops the removal.
#[derive(Debug)]
pub(super) struct Trash {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    /// Locked while something is moved in, and while the directory itself is removed.
    state: Mutex<State>,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Whether a thread is removing contents.
    busy: bool,
    /// Whether a sweep was requested since the thread last listed the directory.
    more: bool,
}

// === impl Trash ===

impl Trash {
    /// Creates the trash. The directory itself is created when something is moved into it.
    pub fn new(directory: PathBuf) -> Self {
        let shared = Shared {
            directory,
            state: Mutex::default(),
            ended: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Moves a directory of the same file system into the trash, in one step however large it is.
    /// It is removed by the next [`Self::sweep`].
    pub fn take(&self, path: &Path) -> io::Result<()> {
        let directory = &self.shared.directory;
        let _state = self.shared.state.lock();
        private::create_dir(directory)?;
        fs::rename(path, directory.join(uuid::Uuid::new_v4().to_string()))
    }

    /// Removes all contents in the background.
    pub fn sweep(&self) {
        let mut state = self.shared.state.lock();
        state.more = true;
        if state.busy {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name("volume-removal".to_owned());
        match thread.spawn(move || shared.work()) {
            Ok(_) => state.busy = true,
            Err(error) => tracing::warn!(
                %error,
                "cannot start a thread to remove volumes; they are removed together with the next one"
            ),
        }
    }
}

impl Drop for Trash {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

// === impl Shared ===

impl Shared {
    fn work(&self) {
        loop {
            {
                let mut state = self.state.lock();
                if !state.more || self.has_ended() {
                    state.busy = false;
                    // Fails if something in it could not be removed.
                    let _ = fs::remove_dir(&self.directory);
                    return;
                }
                state.more = false;
            }
            if let Err(error) = self.remove_all()
                && !self.has_ended()
            {
                let path = self.directory.display();
                tracing::warn!(%path, %error, "cannot list the volumes to remove");
            }
        }
    }

    fn remove_all(&self) -> io::Result<()> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            match tree::remove_while(&path, &|| !self.has_ended()) {
                Err(_) if self.has_ended() => return Ok(()),
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    let path = path.display();
                    tracing::warn!(
                        %path, %error,
                        "cannot remove a volume, which stays on disk until the worker restarts: remove it by hand if that \
                         fails too"
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}
