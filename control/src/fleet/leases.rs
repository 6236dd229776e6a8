//! When each worker was last heard of.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prost_types::Timestamp;
use tokio::time::Instant;

use crate::clock;

/// Uses monotonic time, so that a correction of the wall clock loses no worker. There is one entry
/// per worker.
pub struct Leases {
    /// No worker could have been seen before this time, so none is lost because of earlier silence.
    started: Instant,
    /// For how long heartbeats that earlier control planes acknowledged may still count.
    earlier: Duration,
    heard: Mutex<HashMap<String, Heard>>,
    /// When each worker's last session began.
    joined: Mutex<HashMap<String, Instant>>,
    /// When each worker was last turned away.
    turned_away: Mutex<HashMap<String, Instant>>,
}

#[derive(Clone, Copy)]
struct Heard {
    at: Instant,
    /// The same for people.
    time: Timestamp,
}

// === impl Leases ===

impl Leases {
    /// `earlier` is the longest worker timeout of a control plane before this one that may not be
    /// over yet.
    pub fn starting_now(earlier: Duration) -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            earlier,
            heard: Mutex::default(),
            joined: Mutex::default(),
            turned_away: Mutex::default(),
        })
    }

    /// Records that a worker's session begins.
    pub fn joined(&self, worker: &str) {
        self.joined.lock().insert(worker.to_owned(), Instant::now());
        self.heard(worker);
    }

    /// Returns the age of a worker's session, which may have ended; zero if it has not had one.
    pub fn connected_for(&self, worker: &str) -> Duration {
        let joined = self.joined.lock().get(worker).copied();
        joined.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Returns how long this control plane has been running.
    pub fn up_for(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns for how long a worker may still rely on heartbeats that an earlier control plane
    /// acknowledged.
    pub fn earlier_left(&self) -> Duration {
        self.earlier.saturating_sub(self.up_for())
    }

    /// Records a sign of life from a worker.
    pub fn heard(&self, worker: &str) {
        let heard = Heard {
            at: Instant::now(),
            time: clock::now(),
        };
        self.heard.lock().insert(worker.to_owned(), heard);
    }

    /// Forgets a worker that is gone for good.
    pub fn forget(&self, worker: &str) {
        self.heard.lock().remove(worker);
        self.joined.lock().remove(worker);
        self.turned_away.lock().remove(worker);
    }

    /// A worker that is not admitted asked for a session: it lives, which keeps nothing for it but
    /// its record.
    pub fn turned_away(&self, worker: &str) {
        let mut turned_away = self.turned_away.lock();
        turned_away.insert(worker.to_owned(), Instant::now());
    }

    /// Returns the time since a worker was last seen, or could have been, even if it was only
    /// turned away.
    pub fn absent_for(&self, worker: &str) -> Duration {
        let turned_away = self.turned_away.lock().get(worker).copied();
        let since = turned_away.map_or(Duration::MAX, |at| at.elapsed());
        self.silent_for(worker).min(since)
    }

    /// Returns the time since a worker was last seen, or could have been.
    pub fn silent_for(&self, worker: &str) -> Duration {
        let heard = self.heard.lock().get(worker).copied();
        heard.map_or(self.started, |heard| heard.at).elapsed()
    }

    /// Returns when a worker was last seen, if that was since this process started.
    pub fn last_heard(&self, worker: &str) -> Option<Timestamp> {
        self.heard.lock().get(worker).map(|heard| heard.time)
    }
}
