//! Lines that guests write to stdout and stderr: the most recent ones in bounded memory, earlier
//! ones in files.
//!
//! A follower holds a position in its replica's log instead of a queue of its own. There is
//! therefore no gap between past and new lines, and a slow follower costs nothing: it receives the
//! number of lines that it missed. The thread that writes the files is such a follower too.

mod disk;
mod files;
mod kept;
mod line;
mod rate;
mod read;
mod record;
mod retention;
mod ring;
mod stream;
mod writer;

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{AcqRel, Acquire, Release},
        },
    },
    time::{Duration, Instant, SystemTime},
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

pub use self::{
    disk::DiskLimits,
    line::{LogLimits, Stream},
    stream::LogStream,
    writer::LineWriter,
};
use self::{
    disk::{Disk, Writer},
    files::Files,
    retention::Rank,
    ring::Ring,
};

/// The logs of all replicas of a worker. Cheap to clone; clones share the same logs.
#[derive(Clone)]
pub struct LogHub {
    limits: LogLimits,
    replicas: Arc<RwLock<HashMap<String, ReplicaLog>>>,
    writer: Option<Arc<Writer>>,
    /// Whether the worker is ending, so that replicas whose logs are closed from now on may come
    /// back.
    leaving: Arc<AtomicBool>,
}

/// The log of one replica. Cheap to clone; clones share the same log.
#[derive(Clone)]
pub struct ReplicaLog(Arc<Shared>);

/// Selects lines of a replica. The default selects all that are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// "service" or a component's name. `None` selects all sources.
    pub source: Option<String>,
    /// Only this many of the last lines that match the rest of the query.
    pub tail: Option<u32>,
    /// Only lines that were written within this time.
    pub since: Option<Duration>,
    /// Only lines of the run before the last restart of the service.
    pub previous: bool,
    /// Also lines that are written from now on, until the replica is gone.
    pub follow: bool,
}

struct Shared {
    replica: String,
    /// The most bytes of a line that are kept.
    line_bytes: usize,
    ring: Mutex<Ring>,
    /// Wakes followers. They check the ring after each wake-up, so an early one is harmless.
    changed: Notify,
    /// `None` if lines are kept in memory only.
    file: Option<OnDisk>,
}

/// The files of a replica's log.
struct OnDisk {
    disk: Arc<Disk>,
    files: Arc<Files>,
    /// Whether the log is queued for the thread that writes.
    queued: AtomicBool,
    /// Whether the replica is gone, so that its files are removed when the last reader drops the
    /// log.
    gone: AtomicBool,
}

// === impl LogHub ===

impl LogHub {
    /// Creates a hub that keeps lines in memory only.
    pub fn new(limits: LogLimits) -> Self {
        Self {
            limits,
            replicas: Arc::default(),
            writer: None,
            leaving: Arc::default(),
        }
    }

    /// Creates a hub that also keeps lines in files under `dir`, where it finds those of an earlier
    /// worker. Blocks on the disk.
    pub fn on_disk(limits: LogLimits, dir: PathBuf, disk: DiskLimits) -> io::Result<Self> {
        Ok(Self {
            writer: Some(Arc::new(Writer::start(dir, disk)?)),
            ..Self::new(limits)
        })
    }

    /// Opens the log of a replica. Returns the same log until it is closed.
    pub fn open(&self, replica: &str) -> ReplicaLog {
        let log = self.log(replica);
        log.rank(Rank::Live);
        log
    }

    /// Closes the log of a replica that is gone. Followers receive the remaining lines and then the
    /// end, and the files are removed.
    pub fn close(&self, replica: &str) {
        let log = self.replicas.write().remove(replica);
        if let Some(ReplicaLog(shared)) = log {
            if let Some(file) = &shared.file {
                file.files.set_rank(Rank::Ended);
                file.gone.store(!self.leaving.load(Acquire), Release);
            }
            shared.ring.lock().close();
            shared.changed.notify_waiters();
        }
    }

    /// Keeps the files of logs that are closed from now on, because the worker ends and its
    /// successor needs them.
    pub fn leave(&self) {
        self.leaving.store(true, Release);
    }

    /// Removes the lines that an earlier worker left of replicas for which `exist` returns false.
    pub fn forget_others(&self, exist: impl Fn(&str) -> bool) {
        let Some(writer) = &self.writer else { return };
        for replica in writer.disk().left() {
            if !exist(&replica) {
                self.forget(&replica);
            }
        }
    }

    /// Removes the lines of a replica that is gone and that this worker does not run.
    pub fn forget(&self, replica: &str) {
        if self.replicas.read().contains_key(replica) {
            // The log is being read.
            self.close(replica);
        } else if let Some(writer) = &self.writer {
            writer.disk().remove(replica.to_owned());
        }
    }

    /// Waits until all lines are written to files, or one more attempt has failed. Later lines stay
    /// in memory.
    pub async fn finish(&self) {
        if let Some(writer) = &self.writer {
            writer.finish().await;
        }
    }

    /// Returns a stream of a replica's lines, or `None` if there is no such replica.
    pub fn subscribe(&self, replica: &str, query: LogQuery) -> Option<LogStream> {
        let known = self.replicas.read().get(replica).cloned();
        let log = known.or_else(|| {
            let left = self.writer.as_ref()?.disk().has_left(replica);
            left.then(|| self.log(replica))
        });
        Some(LogStream::new(log?, query))
    }

    fn log(&self, replica: &str) -> ReplicaLog {
        let mut replicas = self.replicas.write();
        let log = replicas.entry(replica.to_owned()).or_insert_with(|| {
            let disk = self.writer.as_ref().map(|writer| writer.disk());
            ReplicaLog::new(replica, self.limits, disk)
        });
        log.clone()
    }
}

// === impl ReplicaLog ===

impl ReplicaLog {
    fn new(replica: &str, limits: LogLimits, disk: Option<&Arc<Disk>>) -> Self {
        let mut ring = Ring::new(limits);
        let file = disk.map(|disk| {
            let (files, resumed) = disk.open(replica);
            ring.resume(resumed);
            OnDisk {
                disk: Arc::clone(disk),
                files,
                queued: AtomicBool::new(false),
                gone: AtomicBool::new(false),
            }
        });
        Self(Arc::new(Shared {
            replica: replica.to_owned(),
            line_bytes: limits.line_bytes,
            ring: Mutex::new(ring),
            changed: Notify::new(),
            file,
        }))
    }

    /// Records that the replica will not run again, so that its files are among the first to be
    /// removed when space runs out.
    pub fn end(&self) {
        self.rank(Rank::Ended);
    }

    fn rank(&self, rank: Rank) {
        if let Some(file) = &self.0.file {
            file.files.set_rank(rank);
        }
    }

    /// Returns a writer for one stream of a guest. `source` is "service" or the component's name.
    /// Costs little: most instances write nothing.
    pub fn writer(&self, source: impl Into<Arc<str>>, stream: Stream) -> LineWriter {
        LineWriter::new(self.clone(), source.into(), stream)
    }

    /// Adds a whole line.
    pub fn line(&self, source: &str, stream: Stream, text: &str) {
        self.push(source, stream, text.as_bytes());
    }

    /// Begins a run of the service: later lines belong to the run with this number of restarts.
    pub fn begin_run(&self, restarts: u32) {
        self.0.ring.lock().begin_run(restarts);
    }

    /// Records that a source has restarted: [`Self::last_stderr`] only returns lines written from
    /// now on.
    pub fn begin(&self, source: &str) {
        self.0.ring.lock().begin(source);
    }

    /// Returns the last `n` lines that a source wrote to stderr since it began, oldest first.
    pub fn last_stderr(&self, source: &str, n: usize) -> Vec<String> {
        self.0.ring.lock().last_stderr(source, n)
    }

    fn push(&self, source: &str, stream: Stream, bytes: &[u8]) {
        let mut ring = self.0.ring.lock();
        ring.push(Instant::now(), SystemTime::now(), source, stream, bytes);
        drop(ring);
        self.0.changed.notify_waiters();
        self.queue();
    }

    /// Queues the log for the thread that writes, unless it is queued already.
    fn queue(&self) {
        if let Some(file) = &self.0.file
            && !file.queued.swap(true, AcqRel)
        {
            file.disk.write(self.clone());
        }
    }

    /// Writes the lines that are not in files yet, at most `most` bytes at a time. After an error
    /// the caller must try again, as the log is not queued until a write succeeds.
    fn write(&self, most: u64) -> io::Result<()> {
        let Some(file) = &self.0.file else {
            return Ok(());
        };
        // The replica is gone, so no line is added any more, and readers get unwritten lines from
        // memory.
        if file.gone.load(Acquire) {
            return Ok(());
        }
        // Batches are small compared with a file, so that files are well filled.
        let most = most.min(file.files.segment_bytes() / 4);
        let (mut written, end) = {
            let ring = self.0.ring.lock();
            (ring.written(), ring.next())
        };
        // Only the lines up to `end`: a guest that floods its log must not keep other replicas
        // waiting.
        while written < end {
            let lines = self.0.ring.lock().unwritten(most);
            let Some(last) = lines.last() else { break };
            file.files.append(&lines)?;
            written = last.position + 1;
            self.0.ring.lock().wrote(written);
        }
        file.queued.store(false, Release);
        // Queue the log again if lines were added in the meantime, which could not queue it.
        let ring = self.0.ring.lock();
        let more = ring.from(ring.written()).next().is_some();
        drop(ring);
        if more {
            self.queue();
        }
        Ok(())
    }
}

// === impl Shared ===

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(file) = &self.file
            && file.gone.load(Acquire)
        {
            file.disk.remove(std::mem::take(&mut self.replica));
        }
    }
}

#[cfg(test)]
mod tests;
