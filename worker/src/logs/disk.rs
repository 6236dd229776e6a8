//! The thread that writes all replicas' lines to disk, and what it is told.
//!
//! A replica's memory is the queue: the thread takes from there what no file has yet. So whoever writes a line never
//! waits for a disk, and one that is slow or full costs lines of the replicas that have too many, counted, and no memory.

use std::{
    collections::HashMap,
    fs, io, mem,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use warren_model::private;

use super::{
    ReplicaLog,
    files::{Files, Resumed, SEGMENTS},
    retention::{Rank, next_to_give},
};

/// Bounds of what is kept on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskLimits {
    /// Of one replica, in bytes: at least [`DiskLimits::LEAST`].
    pub replica: u64,
    /// Of all replicas, in bytes. One that runs always keeps the file that is being written, a quarter of its own.
    pub total: u64,
}

pub(super) struct Disk {
    dir: PathBuf,
    limits: DiskLimits,
    /// Of every replica that has any, or will.
    files: Mutex<HashMap<String, Arc<Files>>>,
    /// Where those go on that were found at the start, until somebody asks.
    resumed: Mutex<HashMap<String, Resumed>>,
    jobs: Mutex<Jobs>,
    wake: Condvar,
    /// Readers at once: each may hold a file's bytes.
    pub reads: Semaphore,
}

#[derive(Default)]
struct Jobs {
    waiting: Vec<Job>,
    ending: bool,
}

/// A replica stands here at most once for each.
enum Job {
    Write(ReplicaLog),
    Remove(String),
}

/// Ends the thread when it is dropped, after it has written what is there.
pub(super) struct Writer {
    disk: Arc<Disk>,
    ended: CancellationToken,
}

/// From the first line of a silence to its write: those that come meanwhile go with it. A worker that is killed loses them.
const GATHER: Duration = Duration::from_millis(10);
/// Between tries while the disk takes nothing.
const RETRY: Duration = Duration::from_secs(2);
/// Bytes of one write, if a file may have several of those.
const BATCH: u64 = 256 << 10;
const READS: usize = 4;

// === impl DiskLimits ===

impl DiskLimits {
    /// Of a replica: four files, each of several of the longest lines.
    pub const LEAST: u64 = 256 << 10;
}

impl Default for DiskLimits {
    fn default() -> Self {
        Self {
            replica: 8 << 20,
            total: 1 << 30,
        }
    }
}

// === impl Writer ===

impl Writer {
    /// Finds what an earlier worker left in the directory, made if it is missing, and starts the thread.
    pub fn start(dir: PathBuf, limits: DiskLimits) -> io::Result<Self> {
        private::open_dir(&dir)?;
        let disk = Disk {
            dir,
            limits,
            files: Mutex::default(),
            resumed: Mutex::default(),
            jobs: Mutex::default(),
            wake: Condvar::new(),
            reads: Semaphore::new(READS),
        };
        disk.recover()?;
        let (disk, ended) = (Arc::new(disk), CancellationToken::new());
        let (theirs, ends) = (Arc::clone(&disk), ended.clone().drop_guard());
        thread::Builder::new()
            .name("logs".to_owned())
            .spawn(move || {
                let _ends = ends;
                theirs.run();
            })?;
        Ok(Self { disk, ended })
    }

    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// Ends the thread, and returns when it has written what is there.
    pub async fn finish(&self) {
        self.disk.end();
        self.ended.cancelled().await;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.disk.end();
    }
}

// === impl Disk ===

impl Disk {
    fn recover(&self) -> io::Result<()> {
        let (mut files, mut resumed) = (self.files.lock(), self.resumed.lock());
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let Ok(replica) = entry.file_name().into_string() else {
                continue;
            };
            if !entry.file_type()?.is_dir() {
                continue;
            }
            match Files::recover(entry.path(), self.segment_bytes()) {
                Ok(Some((found, at))) => {
                    files.insert(replica.clone(), Arc::new(found));
                    resumed.insert(replica, at);
                }
                Ok(None) => fs::remove_dir_all(entry.path())?,
                // Of no use, and no reason not to start.
                Err(error) => {
                    let path = entry.path();
                    tracing::warn!(path = %path.display(), %error, "cannot read a replica's earlier lines");
                }
            }
        }
        Ok(())
    }

    fn segment_bytes(&self) -> u64 {
        self.limits.replica.max(DiskLimits::LEAST) / SEGMENTS as u64
    }

    /// The files of a replica, which is of this rank from now on, and where its log goes on. The second is told once.
    pub fn open(&self, replica: &str) -> (Arc<Files>, Resumed) {
        let files = {
            let mut all = self.files.lock();
            let files = all.entry(replica.to_owned());
            let made = || Arc::new(Files::new(self.dir.join(replica), self.segment_bytes()));
            Arc::clone(files.or_insert_with(made))
        };
        let resumed = self.resumed.lock().remove(replica);
        (files, resumed.unwrap_or_default())
    }

    /// Whether an earlier worker left lines of a replica that nobody has asked for.
    pub fn has_left(&self, replica: &str) -> bool {
        let files = self.files.lock();
        files.get(replica).is_some_and(|it| it.rank() == Rank::Left)
    }

    /// Replicas of an earlier worker that nobody has asked for.
    pub fn left(&self) -> Vec<String> {
        let files = self.files.lock();
        let left = files.iter().filter(|(_, it)| it.rank() == Rank::Left);
        left.map(|(replica, _)| replica.clone()).collect()
    }

    pub fn write(&self, log: ReplicaLog) {
        self.push(Job::Write(log));
    }

    pub fn remove(&self, replica: String) {
        self.push(Job::Remove(replica));
    }

    fn push(&self, job: Job) {
        self.jobs.lock().waiting.push(job);
        self.wake.notify_one();
    }

    fn end(&self) {
        self.jobs.lock().ending = true;
        self.wake.notify_one();
    }

    fn run(&self) {
        // Replicas whose lines could not be written.
        let mut stuck: Vec<ReplicaLog> = Vec::new();
        let mut told = false;
        loop {
            let ending = self.wait(!stuck.is_empty());
            let jobs = mem::take(&mut self.jobs.lock().waiting);
            let mut logs = mem::take(&mut stuck);
            for job in jobs {
                match job {
                    Job::Write(log) => logs.push(log),
                    Job::Remove(replica) => {
                        let files = self.files.lock().remove(&replica);
                        self.resumed.lock().remove(&replica);
                        files.inspect(|files| files.remove_all());
                    }
                }
            }
            for log in logs {
                let Err(error) = log.write(BATCH) else {
                    continue;
                };
                if !mem::replace(&mut told, true) {
                    let path = self.dir.display();
                    tracing::warn!(%path, %error, "cannot write guests' lines: the last ones stay in memory");
                }
                stuck.push(log);
            }
            if stuck.is_empty() && mem::take(&mut told) {
                tracing::info!("guests' lines are written again");
            }
            self.make_room();
            if ending {
                return;
            }
        }
    }

    /// Returns when there is something to do, or to try again; whether it is the last time.
    fn wait(&self, retry: bool) -> bool {
        let mut jobs = self.jobs.lock();
        let again = Instant::now() + RETRY;
        while !jobs.ending {
            if retry {
                if self.wake.wait_until(&mut jobs, again).timed_out() {
                    return false;
                }
            } else if jobs.waiting.is_empty() {
                self.wake.wait(&mut jobs);
            } else {
                drop(jobs);
                thread::sleep(GATHER);
                return self.jobs.lock().ending;
            }
        }
        true
    }

    /// Removes files until all are below their bound, and some more, so that this is not done for every line.
    fn make_room(&self) {
        let files: Vec<_> = self.files.lock().values().cloned().collect();
        let mut bytes: u64 = files.iter().map(|files| files.bytes()).sum();
        if bytes <= self.limits.total {
            return;
        }
        let enough = self.limits.total - self.limits.total / 16;
        while bytes > enough {
            let Some(index) = next_to_give(files.iter().map(|files| files.held())) else {
                break;
            };
            let before = files[index].bytes();
            files[index].give();
            bytes -= before - files[index].bytes();
        }
    }
}

#[cfg(test)]
mod tests;
