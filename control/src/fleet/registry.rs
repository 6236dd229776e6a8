//! The sessions that are open: one a worker.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use warren_model::{guard::Guard, name::Name};
use warren_proto::v1;

/// Requests for logs that a session may be behind.
const LOG_REQUESTS: usize = 64;

#[derive(Default)]
pub struct Registry {
    sessions: Mutex<HashMap<Name, Open>>,
    /// How many messages each worker was sent in this term.
    generations: Mutex<HashMap<Name, u64>>,
    serial: AtomicU64,
}

/// An open session as others see it.
struct Open {
    worker_id: String,
    serial: u64,
    /// Asks the session to end, because the same worker opened another.
    end: CancellationToken,
    /// It has ended and will write nothing more.
    ended: CancellationToken,
    logs: mpsc::Sender<v1::LogsWanted>,
}

/// A session's place in the registry; dropping it makes room.
pub(super) struct Seat {
    registry: Arc<Registry>,
    name: Name,
    serial: u64,
    ended: CancellationToken,
    /// Cancelled when this session should end.
    pub end: CancellationToken,
    /// Requests to forward to the worker.
    pub logs: mpsc::Receiver<v1::LogsWanted>,
}

/// Another worker has an open session under the name.
#[derive(Debug)]
pub(super) struct Taken;

// === impl Registry ===

impl Registry {
    /// Takes the worker's seat. An older session of the same worker is ended first, whatever state its connection is in.
    pub(super) async fn enter(
        self: &Arc<Self>,
        name: &Name,
        worker_id: &str,
    ) -> Result<Seat, Taken> {
        loop {
            let ended = {
                let mut sessions = self.sessions.lock();
                match sessions.get(name) {
                    Some(open) if !open.may_give_way_to(worker_id) => return Err(Taken),
                    Some(open) => {
                        open.end.cancel();
                        open.ended.clone()
                    }
                    None => return Ok(self.seat(&mut sessions, name, worker_id)),
                }
            };
            ended.cancelled().await;
        }
    }

    /// Asks a worker for lines. False when it has no session, or one that does not keep up.
    pub(crate) fn want_logs(&self, worker: &Name, wanted: v1::LogsWanted) -> bool {
        let sessions = self.sessions.lock();
        sessions
            .get(worker)
            .is_some_and(|open| open.logs.try_send(wanted).is_ok())
    }

    /// The number of the next Assignments to a worker.
    pub(super) fn next_generation(&self, name: &Name) -> u64 {
        let mut generations = self.generations.lock();
        let generation = generations.entry(name.clone()).or_default();
        *generation += 1;
        *generation
    }

    fn seat(
        self: &Arc<Self>,
        sessions: &mut HashMap<Name, Open>,
        name: &Name,
        worker_id: &str,
    ) -> Seat {
        let (logs, wanted) = mpsc::channel(LOG_REQUESTS);
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let (end, ended) = (CancellationToken::new(), CancellationToken::new());
        let open = Open {
            worker_id: worker_id.to_owned(),
            serial,
            end: end.clone(),
            ended: ended.clone(),
            logs,
        };
        sessions.insert(name.clone(), open);
        Seat {
            registry: self.clone(),
            name: name.clone(),
            serial,
            ended,
            end,
            logs: wanted,
        }
    }
}

// === impl Open ===

impl Open {
    fn may_give_way_to(&self, worker_id: &str) -> bool {
        self.worker_id == worker_id && Guard::SameWorkerReturns.stands()
    }
}

// === impl Seat ===

impl Drop for Seat {
    fn drop(&mut self) {
        let mut sessions = self.registry.sessions.lock();
        if sessions
            .get(&self.name)
            .is_some_and(|open| open.serial == self.serial)
        {
            sessions.remove(&self.name);
        }
        self.ended.cancel();
    }
}
