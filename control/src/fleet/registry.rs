//! The open sessions, at most one per worker.

use std::{
    collections::{HashMap, VecDeque},
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

/// The number of log requests that a session may lag behind.
const LOG_REQUESTS: usize = 64;

#[derive(Default)]
pub struct Registry {
    sessions: Mutex<HashMap<Name, Open>>,
    /// The last number of Assignments in this term, by worker id. What a worker has seen is stored
    /// in its data directory, and moves with the directory from name to name.
    generations: Mutex<HashMap<String, u64>>,
    /// The processes of each worker, by its id.
    processes: Mutex<HashMap<String, Processes>>,
    serial: AtomicU64,
}

/// An open session as others see it.
struct Open {
    worker_id: String,
    serial: u64,
    /// Asks the session to end, because the same worker opened another.
    end: CancellationToken,
    /// The session has ended and will write nothing more.
    ended: CancellationToken,
    logs: mpsc::Sender<v1::LogsWanted>,
}

/// The processes that have run with one worker id.
#[derive(Default)]
struct Processes {
    /// The one that joined last, and its name.
    last: String,
    name: Option<Name>,
    /// Those before it: one that speaks again runs on a copy of the data directory.
    before: VecDeque<String>,
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

/// Another worker has an open session under this name.
#[derive(Debug)]
pub(super) struct Taken;

/// The number of processes that are remembered for one worker.
const PROCESSES: usize = 16;

// === impl Registry ===

impl Registry {
    /// Takes the worker's seat. An older session of the same worker is ended first, whatever state
    /// its connection is in.
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

    /// Asks a worker for log lines. Returns false if it has no session, or one that does not keep
    /// up.
    pub(crate) fn want_logs(&self, worker: &Name, wanted: v1::LogsWanted) -> bool {
        let sessions = self.sessions.lock();
        sessions
            .get(worker)
            .is_some_and(|open| open.logs.try_send(wanted).is_ok())
    }

    /// Returns the number of the next Assignments to a worker, by its id: greater than all earlier
    /// ones, and than the one that it has seen.
    pub(super) fn next_generation(&self, worker_id: &str, seen: u64) -> u64 {
        let mut generations = self.generations.lock();
        let generation = generations.entry(worker_id.to_owned()).or_default();
        *generation = seen.max(*generation).saturating_add(1);
        *generation
    }

    /// Returns the name under which a later process has joined with this one's worker id, if there
    /// is one.
    pub(super) fn successor(&self, worker_id: &str, instance: &str) -> Option<Name> {
        let processes = self.processes.lock();
        let of_it = processes.get(worker_id)?;
        let is_earlier = of_it.before.iter().any(|before| before == instance);
        is_earlier.then(|| of_it.name.clone()).flatten()
    }

    /// Records that a process of a worker has joined. If an earlier process has a session under
    /// another name, that session ends.
    pub(super) async fn succeed(&self, name: &Name, worker_id: &str, instance: &str) {
        if instance.is_empty() {
            return;
        }
        {
            let mut processes = self.processes.lock();
            let of_it = processes.entry(worker_id.to_owned()).or_default();
            of_it.name = Some(name.clone());
            if of_it.last != instance {
                let before = std::mem::replace(&mut of_it.last, instance.to_owned());
                of_it.before.retain(|held| held != instance);
                if !before.is_empty() {
                    of_it.before.push_back(before);
                }
                if of_it.before.len() > PROCESSES {
                    of_it.before.pop_front();
                }
            }
        }
        let others: Vec<_> = {
            let sessions = self.sessions.lock();
            let others = sessions
                .iter()
                .filter(|(held, open)| *held != name && open.worker_id == worker_id);
            others
                .map(|(_, open)| (open.end.clone(), open.ended.clone()))
                .collect()
        };
        for (end, ended) in others {
            end.cancel();
            ended.cancelled().await;
        }
    }

    /// Forgets a worker that is gone for good.
    pub(crate) fn forget(&self, worker_id: &str) {
        self.generations.lock().remove(worker_id);
        self.processes.lock().remove(worker_id);
    }

    /// Returns whether a worker has a session, or is about to.
    pub(crate) fn is_open(&self, name: &Name) -> bool {
        self.sessions.lock().contains_key(name)
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
        self.worker_id == worker_id && Guard::SameWorkerReturns.is_enforced()
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn generations_grow_for_a_worker_under_whichever_name() {
        let registry = Registry::default();
        let next = |id, seen| registry.next_generation(id, seen);
        assert_eq!([next("a", 0), next("a", 0), next("b", 0)], [1, 2, 1]);
        assert_eq!([next("a", 9), next("a", 0)], [10, 11]);
        assert_eq!([next("a", u64::MAX), next("a", 0)], [u64::MAX; 2]);
        registry.forget("a");
        assert_eq!(next("a", 0), 1);
    }

    #[tokio::test]
    async fn the_process_that_joined_last_is_the_worker() {
        let registry = Arc::new(Registry::default());
        let earlier = registry.enter(&name("a"), "id").await.unwrap();
        registry.succeed(&name("a"), "id", "one").await;
        assert_eq!(registry.successor("id", "one"), None);
        let end = earlier.end.clone();
        let ends = tokio::spawn(async move {
            end.cancelled().await;
            drop(earlier);
        });
        let _later = registry.enter(&name("z"), "id").await.unwrap();
        registry.succeed(&name("z"), "id", "two").await;
        ends.await.unwrap();
        assert_eq!(registry.successor("id", "one"), Some(name("z")));
        assert_eq!(registry.successor("id", "two"), None);
        assert_eq!(registry.successor("other", "one"), None);
        // One that does not say which it is, is any.
        assert_eq!(registry.successor("id", ""), None);
        for number in 0..2 * PROCESSES {
            let instance = format!("p{number}");
            registry.succeed(&name("z"), "id", &instance).await;
        }
        assert_eq!(registry.processes.lock()["id"].before.len(), PROCESSES);
    }
}
