//! The addresses that Warren itself listens on, which every worker blocks for its guests.

use std::{
    collections::BTreeMap,
    iter,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::broadcast, time::timeout};
use tokio_util::sync::CancellationToken;
use warren_model::{listen, name::Name};
use warren_proto::v1;

use crate::index::Index;

/// The number of changes that a session may lag behind before it is sent all listeners again.
const BEHIND: usize = 1024;
/// The interval at which the control plane checks whether the addresses of its machine have
/// changed.
const LOOK: Duration = Duration::from_secs(5);

/// The listeners of the fleet, and the sessions that follow their changes.
pub struct ListenerBoard {
    /// The address that the control plane is bound to. Empty until it serves.
    own: OnceLock<SocketAddr>,
    /// The listeners of the workers that have joined since the start; the addresses of others are
    /// in their records.
    announced: Mutex<BTreeMap<String, Vec<String>>>,
    changes: broadcast::Sender<Arc<v1::FleetListeners>>,
}

/// The changes that one session still has to send.
pub(super) struct ListenerNews {
    board: Arc<ListenerBoard>,
    index: Arc<Index>,
    changes: broadcast::Receiver<Arc<v1::FleetListeners>>,
}

// === impl ListenerBoard ===

impl Default for ListenerBoard {
    fn default() -> Self {
        Self {
            own: OnceLock::new(),
            announced: Mutex::default(),
            changes: broadcast::Sender::new(BEHIND),
        }
    }
}

impl ListenerBoard {
    /// Records that the control plane serves at this address.
    pub fn serves(&self, bound: SocketAddr) {
        // A process serves only once.
        let _ = self.own.set(bound);
    }

    /// Records that a worker has joined, with the address of its record and the addresses of its
    /// listener. Workers that no longer have a record are forgotten.
    pub(super) fn announce(&self, index: &Index, worker: &Name, address: &str, at: &[String]) {
        let is_known = |name: &str| {
            let name = Name::parse(name).ok();
            name.is_some_and(|name| name == *worker || index.worker(&name).is_some())
        };
        let addresses = iter::once(address.to_owned()).chain(at.iter().cloned());
        self.update(worker.as_str(), addresses.collect(), is_known);
    }

    /// Records that a worker that has joined is now reached at other addresses.
    pub(super) fn moved(&self, index: &Index, worker: &Name, at: &[String]) {
        let is_address = |address: &&String| address.parse::<SocketAddr>().is_ok();
        let at = at.iter().filter(is_address).take(listen::MAX_ADDRESSES);
        let at: Vec<String> = at.cloned().collect();
        if let Some(held) = index.worker(worker) {
            self.announce(index, worker, &held.worker.address, &at);
        }
    }

    /// Checks periodically, until cancelled, where the control plane is reached: a listener on an
    /// unspecified address is also reached at addresses that the machine got since.
    pub fn watch(self: Arc<Self>, shutdown: CancellationToken) -> impl Future<Output = ()> + Send {
        let mut last = self.reached();
        async move {
            while timeout(LOOK, shutdown.cancelled()).await.is_err() {
                let now = self.reached();
                if now != last {
                    self.tell_own(&now);
                    last = now;
                }
            }
        }
    }

    fn reached(&self) -> Vec<String> {
        let own = self.own.get().map(|bound| listen::reached_at(*bound));
        own.iter().flatten().map(ToString::to_string).collect()
    }

    fn tell_own(&self, control: &[String]) {
        let news = v1::FleetListeners {
            control: control.to_vec(),
            ..v1::FleetListeners::default()
        };
        let _ = self.changes.send(Arc::new(news));
    }

    fn update(&self, worker: &str, addresses: Vec<String>, is_known: impl Fn(&str) -> bool) {
        let mut announced = self.announced.lock();
        let mut workers = Vec::new();
        announced.retain(|name, _| {
            let stays = is_known(name);
            if !stays {
                workers.push(listeners(name, &[]));
            }
            stays
        });
        if announced.get(worker) != Some(&addresses) {
            workers.push(listeners(worker, &addresses));
            announced.insert(worker.to_owned(), addresses);
        }
        if !workers.is_empty() {
            let news = v1::FleetListeners {
                workers,
                ..v1::FleetListeners::default()
            };
            // Done under the lock, so that changes are sent in order. It is not an error if there
            // is no receiver.
            let _ = self.changes.send(Arc::new(news));
        }
    }

    /// Returns all listeners and their later changes, for a session that has sent nothing yet.
    pub(super) fn news(self: &Arc<Self>, index: &Arc<Index>) -> (v1::FleetListeners, ListenerNews) {
        let news = ListenerNews {
            changes: self.changes.subscribe(),
            board: Arc::clone(self),
            index: Arc::clone(index),
        };
        (self.all(index), news)
    }

    fn all(&self, index: &Index) -> v1::FleetListeners {
        let announced = self.announced.lock();
        let workers = index.workers();
        let workers = workers.iter().map(|held| {
            let worker = &held.worker;
            match announced.get(&worker.name) {
                Some(addresses) => listeners(&worker.name, addresses),
                None => listeners(&worker.name, std::slice::from_ref(&worker.address)),
            }
        });
        v1::FleetListeners {
            complete: true,
            control: self.reached(),
            workers: workers.collect(),
        }
    }
}

// === impl ListenerNews ===

impl ListenerNews {
    /// Returns what to send next as soon as there is something. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Arc<v1::FleetListeners> {
        match self.changes.recv().await {
            Ok(change) => change,
            Err(_) => {
                // It fell behind.
                self.changes = self.changes.resubscribe();
                Arc::new(self.board.all(&self.index))
            }
        }
    }
}

fn listeners(worker: &str, addresses: &[String]) -> v1::WorkerListeners {
    v1::WorkerListeners {
        worker: worker.to_owned(),
        addresses: addresses.to_vec(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn changes_go_out_once_and_what_is_gone_is_taken_back() {
        let board = ListenerBoard::default();
        let mut changes = board.changes.subscribe();
        let mut told = |board: &ListenerBoard, worker: &str, address: &str, known: &[&str]| {
            board.update(worker, vec![address.to_owned()], |name| {
                known.contains(&name)
            });
            let news = changes.try_recv().ok()?;
            assert!(!news.complete && changes.is_empty());
            let workers = news.workers.iter();
            let shown = workers.map(|w| format!("{}={}", w.worker, w.addresses.join("+")));
            Some(shown.collect::<Vec<_>>())
        };
        let both = ["w1", "w2"];
        let first = told(&board, "w1", "10.0.0.1:7701", &both).unwrap();
        assert_eq!(first, ["w1=10.0.0.1:7701"]);
        assert_eq!(told(&board, "w1", "10.0.0.1:7701", &both), None);
        let moved = told(&board, "w1", "10.0.0.9:7701", &both).unwrap();
        assert_eq!(moved, ["w1=10.0.0.9:7701"]);
        let second = told(&board, "w2", "10.0.0.2:7701", &["w2"]).unwrap();
        assert_eq!(second, ["w1=", "w2=10.0.0.2:7701"]);
    }
}
