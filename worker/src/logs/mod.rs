//! Lines that guests wrote to stdout and stderr: kept in bounded memory, read from there by whoever follows.
//!
//! A follower holds a position in its replica's ring and no queue of its own. So there is no gap between the lines
//! before and the lines after it came, and one that is slow costs nothing: it is told how many lines it missed.

mod kept;
mod rate;
mod ring;
mod stream;
mod writer;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use self::ring::Ring;
pub use self::{
    ring::{LogLimits, Stream},
    stream::LogStream,
    writer::LineWriter,
};

/// The logs of all replicas of a worker. Cheap to clone; all clones are one hub.
#[derive(Clone)]
pub struct LogHub {
    limits: LogLimits,
    replicas: Arc<RwLock<HashMap<String, ReplicaLog>>>,
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
}

// === impl LogHub ===

impl LogHub {
    pub fn new(limits: LogLimits) -> Self {
        Self {
            limits,
            replicas: Arc::default(),
        }
    }

    /// The log of a replica, the same one until it is closed.
    pub fn open(&self, replica: &str) -> ReplicaLog {
        let mut replicas = self.replicas.write();
        let log = replicas
            .entry(replica.to_owned())
            .or_insert_with(|| ReplicaLog::new(replica, self.limits));
        log.clone()
    }

    /// Ends the log of a replica that is gone: followers get what is left, then the end.
    pub fn close(&self, replica: &str) {
        let log = self.replicas.write().remove(replica);
        if let Some(ReplicaLog(shared)) = log {
            shared.ring.lock().close();
            shared.changed.notify_waiters();
        }
    }

    /// Lines of a replica. `None` when there is no such replica.
    pub fn subscribe(&self, replica: &str, query: LogQuery) -> Option<LogStream> {
        let log = self.replicas.read().get(replica)?.clone();
        Some(LogStream::new(log, query))
    }
}

// === impl ReplicaLog ===

impl ReplicaLog {
    fn new(replica: &str, limits: LogLimits) -> Self {
        Self(Arc::new(Shared {
            replica: replica.to_owned(),
            ring: Mutex::new(Ring::new(limits)),
            changed: Notify::new(),
        }))
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
    }
}

#[cfg(test)]
mod tests;
