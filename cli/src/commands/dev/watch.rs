//! Noticing that files changed, however they are written: in place, by rename, or with their directory made anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    time::{self, MissedTickBehavior},
};

/// Some files that belong together.
pub struct Files {
    /// As they were when their change was last told.
    seen: Stamps,
    /// Its directories are watched, not its files: a file that is replaced takes its own watch with it.
    watcher: Option<RecommendedWatcher>,
    wakes: UnboundedReceiver<()>,
    tick: time::Interval,
}

/// Every file, with nothing for one that is away.
type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
}

/// Whoever writes a file is done when nothing happened for this long.
const QUIET: Duration = Duration::from_millis(100);

/// Where the system tells nothing (some network and container mounts, a directory made anew), a look does.
const LOOK: Duration = Duration::from_secs(1);

// === impl Files ===

impl Files {
    /// What they are at present counts as seen.
    pub fn new(paths: BTreeSet<PathBuf>) -> Self {
        let mut tick = time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (_, wakes) = mpsc::unbounded_channel();
        let mut files = Self {
            seen: stamps(paths),
            watcher: None,
            wakes,
            tick,
        };
        files.watch();
        files
    }

    /// Follows these from now on. A change of one that was followed before is not missed.
    pub fn follow(&mut self, paths: BTreeSet<PathBuf>) {
        if self.seen.keys().eq(&paths) {
            return;
        }
        let before = std::mem::take(&mut self.seen);
        self.seen = stamps(paths);
        for (path, seen) in &mut self.seen {
            if let Some(before) = before.get(path) {
                *seen = *before;
            }
        }
        self.watch();
    }

    /// Returns when one of them changed and nobody has written to them for a moment.
    /// A file that is away is on its way back: whoever builds it deletes it first.
    pub async fn changed(&mut self) {
        loop {
            let told = tokio::select! {
                Some(()) = self.wakes.recv() => true,
                _ = self.tick.tick() => false,
            };
            let now = self.now();
            if now == self.seen {
                continue;
            }
            if !told {
                self.watch();
            }
            let settled = self.settled(now).await;
            if settled != self.seen && settled.values().all(Option::is_some) {
                self.seen = settled;
                return;
            }
        }
    }

    /// The stamps once they have stayed the same for [`QUIET`].
    async fn settled(&self, mut last: Stamps) -> Stamps {
        loop {
            time::sleep(QUIET).await;
            let now = self.now();
            if now == last {
                return now;
            }
            last = now;
        }
    }

    fn now(&self) -> Stamps {
        stamps(self.seen.keys().cloned())
    }

    fn watch(&mut self) {
        let directories: BTreeSet<PathBuf> = self.seen.keys().map(|path| directory(path)).collect();
        let (wake, wakes) = mpsc::unbounded_channel();
        let told = move |_: notify::Result<notify::Event>| {
            // The receiver is gone when these files are watched anew.
            let _ = wake.send(());
        };
        // Without a watcher the look once a second is left.
        self.watcher = notify::recommended_watcher(told).ok();
        if let Some(watcher) = &mut self.watcher {
            for directory in directories {
                let _ = watcher.watch(&directory, RecursiveMode::NonRecursive);
            }
        }
        self.wakes = wakes;
    }
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn stamps(paths: impl IntoIterator<Item = PathBuf>) -> Stamps {
    let stamped = paths.into_iter().map(|path| {
        let stamp = stamp(&path);
        (path, stamp)
    });
    stamped.collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some(Stamp {
        modified: meta.modified().ok(),
        len: meta.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far beyond what a change takes to be noticed.
    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn changes_are_noticed_however_they_are_made() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let build = dir.path().join("build");
        let file = build.join("a.wasm");
        fs::create_dir(&build)?;
        fs::write(&file, "one")?;
        let mut files = Files::new(BTreeSet::from([file.clone()]));

        fs::write(&file, "in place")?;
        time::timeout(LONG, files.changed()).await?;

        fs::write(build.join("new"), "by rename")?;
        fs::rename(build.join("new"), &file)?;
        time::timeout(LONG, files.changed()).await?;

        fs::remove_dir_all(&build)?;
        fs::create_dir(&build)?;
        fs::write(&file, "with its directory")?;
        time::timeout(LONG, files.changed()).await?;

        // Neither a neighbour nor a file that is away is a change.
        fs::write(build.join("neighbour"), "x")?;
        fs::remove_file(&file)?;
        assert!(time::timeout(QUIET * 4, files.changed()).await.is_err());
        fs::write(&file, "back again")?;
        time::timeout(LONG, files.changed()).await?;
        Ok(())
    }
}
