//! The thread that writes the lines of all replicas to disk, and its job queue.
//!
//! The lines in a replica's memory are the queue: the thread takes those that are not in files yet.
//! Guests therefore never wait for the disk. If it is slow or full, replicas that write too much
//! lose lines, which are counted, but no memory is used up.

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

/// The limits of the lines that are kept on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskLimits {
    /// The limit of one replica in bytes, at least [`DiskLimits::LEAST`].
    pub replica: u64,
    /// The limit of all replicas together in bytes. A running replica always keeps the file that is
    /// being written, which takes at most a quarter of its own limit.
    pub total: u64,
}

pub(super) struct Disk {
    dir: PathBuf,
    limits: DiskLimits,
    /// The files of each replica that has or may get any.
    files: Mutex<HashMap<String, Arc<Files>>>,
    /// Where the logs found at the start continue, until they are opened.
    resumed: Mutex<HashMap<String, Resumed>>,
    jobs: Mutex<Jobs>,
    wake: Condvar,
    /// Bounds concurrent reads, each of which may hold the bytes of a file.
    pub reads: Semaphore,
}

#[derive(Default)]
struct Jobs {
    waiting: Vec<Job>,
    ending: bool,
}

/// A job for the thread. The queue contains at most one of each kind per replica.
enum Job {
    Write(ReplicaLog),
    Remove(String),
}

/// A handle to the thread. When it is dropped, the thread writes what is queued and ends.
pub(super) struct Writer {
    disk: Arc<Disk>,
    ended: CancellationToken,
}

/// How long to gather lines before they are written. A worker that is killed loses them.
const GATHER: Duration = Duration::from_millis(10);
/// How long to wait between attempts while writing fails.
const RETRY: Duration = Duration::from_secs(2);
/// The size of one write in bytes, unless files are too small for several of these.
const BATCH: u64 = 256 << 10;
const READS: usize = 4;

// === impl DiskLimits ===

impl DiskLimits {
    /// The smallest limit of a replica in bytes: four files, each with room for several of the
    /// longest lines.
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
    /// Creates the directory if it is missing, finds the lines that an earlier worker left there,
    /// and starts the thread.
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

    /// Ends the thread, and returns when it has written what is queued.
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
                // Unreadable logs must not prevent the worker from starting.
                Err(error) => {
                    let path = entry.path();
                    tracing::warn!(path = %path.display(), %error, "cannot read a replica's earlier log lines");
                }
            }
        }
        Ok(())
    }

    fn segment_bytes(&self) -> u64 {
        self.limits.replica.max(DiskLimits::LEAST) / SEGMENTS as u64
    }

    /// Returns the files of a replica, and where its log continues. Only the first call for a
    /// replica returns the latter.
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

    /// Returns whether an earlier worker left lines of this replica and the replica was not opened
    /// since.
    pub fn has_left(&self, replica: &str) -> bool {
        let files = self.files.lock();
        files.get(replica).is_some_and(|it| it.rank() == Rank::Left)
    }

    /// Returns the replicas of an earlier worker that were not opened since.
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
        let mut warned = false;
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
                if !mem::replace(&mut warned, true) {
                    let path = self.dir.display();
                    tracing::warn!(%path, %error, "cannot write guests' log lines to disk; the most recent ones stay in memory");
                }
                stuck.push(log);
            }
            if stuck.is_empty() && mem::take(&mut warned) {
                tracing::info!("guests' log lines are written to disk again");
            }
            self.make_room();
            if ending {
                return;
            }
        }
    }

    /// Waits until there is a job, or with `retry` until the next attempt is due. Returns whether
    /// the thread must end after this round.
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

    /// Removes files until all together are within the limit, and a little below it, so that this
    /// is not needed for every line.
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
