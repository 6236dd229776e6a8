//! Notices that files changed, however they are written: in place, by rename, or with their
//! directory recreated.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    time::{self, Instant, MissedTickBehavior},
};

/// Files that belong together.
pub struct Files {
    /// The stamps when their last change was reported.
    seen: Stamps,
    /// Watches the directories, not the files, because a file that is replaced takes its watch with
    /// it.
    watcher: Option<RecommendedWatcher>,
    wakes: UnboundedReceiver<Wake>,
    tick: time::Interval,
}

/// Every file, with `None` for one that is missing.
type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
}

/// An event of the system about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    /// It is being written.
    Touched,
    /// The writer has closed it, or has moved it to this name.
    Written,
}

/// A file that is being written counts as complete after this time without events.
const QUIET: Duration = Duration::from_millis(100);

/// A closed file is complete; this time is for other files that are written with it.
const OTHERS: Duration = Duration::from_millis(40);

/// The time that a missing file has to come back, because builds delete a file before they write
/// it.
const AWAY: Duration = Duration::from_secs(2);

/// The interval of checks for systems that report no events (some network and container mounts, a
/// directory that was recreated).
const LOOK: Duration = Duration::from_secs(1);

// === impl Files ===

impl Files {
    /// Starts with the current state of the files as seen.
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

    /// Watches these files from now on. No change of a file that was watched before is missed.
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

    /// Returns when one of them has changed and none is being written. Files that are written
    /// together are one change. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        loop {
            let mut last = Wake::Touched;
            // A call that was dropped may have seen a change without returning it.
            while self.now() == self.seen {
                last = tokio::select! {
                    Some(wake) = self.wakes.recv() => wake,
                    _ = self.tick.tick() => {
                        if self.now() != self.seen {
                            // The system reported nothing: the directory may have been recreated.
                            self.watch();
                        }
                        Wake::Touched
                    }
                };
            }
            let settled = self.settled(last).await;
            if settled != self.seen {
                self.seen = settled;
                return;
            }
        }
    }

    /// Returns the stamps once no file is being written and missing files are back.
    async fn settled(&mut self, wake: Wake) -> Stamps {
        let began = Instant::now();
        let mut until = began + wake.quiet();
        let mut last = self.now();
        loop {
            tokio::select! {
                Some(wake) = self.wakes.recv() => {
                    until = Instant::now() + wake.quiet();
                    last = self.now();
                }
                () = time::sleep_until(until) => {
                    let now = self.now();
                    let away = self.is_away(&now) && began.elapsed() < AWAY;
                    if now == last && !away {
                        return now;
                    }
                    last = now;
                    until = Instant::now() + QUIET;
                }
            }
        }
    }

    /// Returns whether a file that existed is missing.
    fn is_away(&self, now: &Stamps) -> bool {
        let mut there = self.seen.iter().filter(|(_, stamp)| stamp.is_some());
        there.any(|(path, _)| now.get(path).is_none_or(Option::is_none))
    }

    fn now(&self) -> Stamps {
        stamps(self.seen.keys().cloned())
    }

    fn watch(&mut self) {
        let directories: BTreeSet<PathBuf> = self.seen.keys().map(|path| directory(path)).collect();
        let names: BTreeSet<OsString> = self
            .seen
            .keys()
            .filter_map(|path| path.file_name())
            .map(OsString::from)
            .collect();
        let (wake, wakes) = mpsc::unbounded_channel();
        let told = move |event: notify::Result<notify::Event>| {
            if let Some(what) = Wake::of(event, &names) {
                // The receiver is gone if the watch has been replaced.
                let _ = wake.send(what);
            }
        };
        // Without a watcher, the check once a second remains.
        self.watcher = notify::recommended_watcher(told).ok();
        if let Some(watcher) = &mut self.watcher {
            for directory in directories {
                let _ = watcher.watch(&directory, RecursiveMode::NonRecursive);
            }
        }
        self.wakes = wakes;
    }
}

// === impl Wake ===

impl Wake {
    /// Returns what an event means for files of these names, or `None` if it means nothing. Other
    /// files in the directory and reads are ignored.
    fn of(event: notify::Result<notify::Event>, names: &BTreeSet<OsString>) -> Option<Self> {
        // An error may mean that events were missed.
        let Ok(event) = event else {
            return Some(Self::Touched);
        };
        let named = |path: &PathBuf| path.file_name().is_some_and(|name| names.contains(name));
        // Without a path it concerns everything: the queue of events has overflowed.
        if !event.paths.is_empty() && !event.paths.iter().any(named) {
            return None;
        }
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_)) => Some(Self::Written),
            EventKind::Access(_) => None,
            _ => Some(Self::Touched),
        }
    }

    fn quiet(self) -> Duration {
        match self {
            Self::Touched => QUIET,
            Self::Written => OTHERS,
        }
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

    /// Far longer than it takes to notice a change.
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

        fs::write(build.join("new"), "as a link, as cargo does")?;
        fs::remove_file(&file)?;
        fs::hard_link(build.join("new"), &file)?;
        time::timeout(LONG, files.changed()).await?;

        fs::remove_dir_all(&build)?;
        fs::create_dir(&build)?;
        fs::write(&file, "with its directory")?;
        time::timeout(LONG, files.changed()).await?;

        // Neither another file nor a missing file is a change.
        fs::write(build.join("neighbour"), "x")?;
        fs::remove_file(&file)?;
        assert!(time::timeout(AWAY / 4, files.changed()).await.is_err());
        fs::write(&file, "back again")?;
        time::timeout(LONG, files.changed()).await?;
        // A file that stays missing is a change.
        fs::remove_file(&file)?;
        time::timeout(LONG, files.changed()).await?;
        fs::write(&file, "at last")?;
        time::timeout(LONG, files.changed()).await?;
        Ok(())
    }

    #[tokio::test]
    async fn files_that_are_written_together_are_one_change() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let paths: BTreeSet<PathBuf> = (0..5).map(|i| dir.path().join(i.to_string())).collect();
        let mut files = Files::new(paths.clone());
        for path in &paths {
            fs::write(path, "x")?;
        }
        time::timeout(LONG, files.changed()).await?;
        assert!(time::timeout(QUIET * 4, files.changed()).await.is_err());
        Ok(())
    }

    #[test]
    fn only_its_own_files_wake_and_only_writers() {
        let names = BTreeSet::from([OsString::from("a.wasm")]);
        let wake = |kind, path: &str| {
            let event = notify::Event::new(kind).add_path(path.into());
            Wake::of(Ok(event), &names)
        };
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let read = EventKind::Access(AccessKind::Close(AccessMode::Read));
        let modified = EventKind::Modify(ModifyKind::Any);
        assert_eq!(wake(written, "build/a.wasm"), Some(Wake::Written));
        assert_eq!(wake(modified, "./a.wasm"), Some(Wake::Touched));
        assert_eq!(wake(read, "a.wasm"), None);
        assert_eq!(wake(written, "build/b.wasm"), None);
    }
}
