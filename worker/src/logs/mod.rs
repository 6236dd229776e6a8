//! Lines that guests wrote to stdout and stderr: the last ones in bounded memory, those before in files.
//!
//! A follower holds a position in its replica's log and no queue of its own. So there is no gap between the lines
//! before and the lines after it came, and one that is slow costs nothing: it is told how many lines it missed. What
//! writes the files is such a follower too.

mod disk;
mod files;
mod kept;
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
    ring::{LogLimits, Stream},
    stream::LogStream,
    writer::LineWriter,
};
use self::{
    disk::{Disk, Writer},
    files::Files,
    retention::Rank,
    ring::Ring,
};

/// The logs of all replicas of a worker. Cheap to clone; all clones are one hub.
#[derive(Clone)]
pub struct LogHub {
    limits: LogLimits,
    replicas: Arc<RwLock<HashMap<String, ReplicaLog>>>,
    writer: Option<Arc<Writer>>,
    /// The worker ends: what is closed from now on may come back.
    leaving: Arc<AtomicBool>,
}

/// The log of one replica. Cheap to clone; all clones are one log.
#[derive(Clone)]
pub struct ReplicaLog(Arc<Shared>);

/// Which lines of a replica. The default is all that are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// "service" or a component's name. `None`: all.
    pub source: Option<String>,
    /// The last so many of those that match the rest.
    pub tail: Option<u32>,
    /// Only what was written within this time.
    pub since: Option<Duration>,
    /// Only the run before the last restart of the service.
    pub previous: bool,
    /// And those to come, until the replica is gone.
    pub follow: bool,
}

struct Shared {
    replica: String,
    ring: Mutex<Ring>,
    /// Wakes followers. They look at the ring after every wake, so a lost or early one does no harm.
    changed: Notify,
    /// `None`: memory is all there is.
    file: Option<OnDisk>,
}

/// Where a replica's lines are written to.
struct OnDisk {
    disk: Arc<Disk>,
    files: Arc<Files>,
    /// It is in the hands of the thread that writes.
    queued: AtomicBool,
    /// The replica is gone: its files go with the last who reads them.
    gone: AtomicBool,
}

// === impl LogHub ===

impl LogHub {
    /// Lines in memory only.
    pub fn new(limits: LogLimits) -> Self {
        Self {
            limits,
            replicas: Arc::default(),
            writer: None,
            leaving: Arc::default(),
        }
    }

    /// Lines in files below a directory of its own, where those of an earlier worker are found. Waits for the disk.
    pub fn on_disk(limits: LogLimits, dir: PathBuf, disk: DiskLimits) -> io::Result<Self> {
        Ok(Self {
            writer: Some(Arc::new(Writer::start(dir, disk)?)),
            ..Self::new(limits)
        })
    }

    /// The log of a replica, the same one until it is closed.
    pub fn open(&self, replica: &str) -> ReplicaLog {
        let log = self.log(replica);
        log.rank(Rank::Live);
        log
    }

    /// Ends the log of a replica that is gone: followers get what is left, then the end, and its files are removed.
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

    /// From now on logs are closed because the worker ends: their files stay for the next one.
    pub fn leave(&self) {
        self.leaving.store(true, Release);
    }

    /// Removes what an earlier worker left of replicas that are not among these.
    pub fn forget_others(&self, exist: impl Fn(&str) -> bool) {
        let Some(writer) = &self.writer else { return };
        for replica in writer.disk().left() {
            if !exist(&replica) {
                self.forget(&replica);
            }
        }
    }

    /// Removes the lines of a replica that is gone, and of which this worker runs nothing.
    pub fn forget(&self, replica: &str) {
        if self.replicas.read().contains_key(replica) {
            // Somebody reads it.
            self.close(replica);
        } else if let Some(writer) = &self.writer {
            writer.disk().remove(replica.to_owned());
        }
    }

    /// Returns when all lines are written, or the disk refused them once more. Lines written later stay in memory.
    pub async fn finish(&self) {
        if let Some(writer) = &self.writer {
            writer.finish().await;
        }
    }

    /// Lines of a replica. `None` when there is no such replica.
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
            ring: Mutex::new(ring),
            changed: Notify::new(),
            file,
        }))
    }

    /// The replica will not run again: its files are the first to go when there are too many.
    pub fn end(&self) {
        self.rank(Rank::Ended);
    }

    fn rank(&self, rank: Rank) {
        if let Some(file) = &self.0.file {
            file.files.set_rank(rank);
        }
    }

    /// What a guest writes to; `source` is "service" or the component's name.
    pub fn writer(&self, source: &str, stream: Stream) -> LineWriter {
        LineWriter::new(self.clone(), source, stream)
    }

    /// Adds a whole line.
    pub fn line(&self, source: &str, stream: Stream, text: &str) {
        self.push(source, stream, text.as_bytes());
    }

    /// The service starts, having been started again so often: lines are of this run from here on.
    pub fn begin_run(&self, restarts: u32) {
        self.0.ring.lock().begin_run(restarts);
    }

    /// A source starts anew: [`Self::last_stderr`] tells only what it wrote since.
    pub fn begin(&self, source: &str) {
        self.0.ring.lock().begin(source);
    }

    /// The last lines, at most `n`, that a source wrote to stderr since it began, oldest first.
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

    /// Gives it to the thread that writes, unless it is there already.
    fn queue(&self) {
        if let Some(file) = &self.0.file
            && !file.queued.swap(true, AcqRel)
        {
            file.disk.write(self.clone());
        }
    }

    /// Writes what no file has, so many bytes at a time. After an error the caller has to try again: nobody queues it
    /// until it has succeeded.
    fn write(&self, most: u64) -> io::Result<()> {
        let Some(file) = &self.0.file else {
            return Ok(());
        };
        // Whoever still reads it has in memory what no file has: nothing is added any more.
        if file.gone.load(Acquire) {
            return Ok(());
        }
        // Files are well filled before the next one is begun.
        let most = most.min(file.files.segment_bytes() / 4);
        let (mut written, end) = {
            let ring = self.0.ring.lock();
            (ring.written(), ring.next())
        };
        // What comes meanwhile waits its turn: a guest that floods keeps nobody else waiting.
        while written < end {
            let lines = self.0.ring.lock().unwritten(most);
            let Some(last) = lines.last() else { break };
            file.files.append(&lines)?;
            written = last.position + 1;
            self.0.ring.lock().wrote(written);
        }
        file.queued.store(false, Release);
        // What came meanwhile, and was not queued.
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
