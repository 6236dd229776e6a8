//! Forgets workers that are gone for good: on request, and automatically once they were
//! disconnected for long enough.

use std::{sync::Arc, time::Duration};

use prost_types::Timestamp;
use tokio_util::sync::CancellationToken;
use warren_model::{name::Name, quantity::format_duration};
use warren_proto::v1::{self, event::Type};

use super::{Fleet, presence};
use crate::{
    clock, events::Subject, index::WorkerUsage, state::Stored, store::StoreError, suggest::Absent,
};

/// The reason why an operation on a worker was refused.
#[derive(Debug, thiserror::Error)]
pub enum WorkerRefusal {
    #[error(transparent)]
    Absent(#[from] Absent),
    /// Its session is open.
    #[error(
        "worker `{0}` is connected: end its `warren worker` process first, or move its replicas to \
         others with `warren drain {0} --wait` and end it then"
    )]
    Connected(Name),
    /// It has not reported that it stopped. It counts as lost after `left`, and can be removed
    /// then.
    #[error(
        "worker `{worker}` is not connected, but may still run its replicas: try again in {}, when \
         it counts as lost",
        format_duration(whole_seconds(*left))
    )]
    MayRun { worker: Name, left: Duration },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The time for which disconnected workers are remembered.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub used: Duration,
    /// For workers that never ran anything and that no person has made a decision about.
    pub unused: Duration,
}

/// The interval between two passes over all workers.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The time within which every running worker has connected to a control plane that has just
/// started.
const ALL_ARE_BACK: Duration = Duration::from_secs(600);

// === impl Fleet ===

impl Fleet {
    /// Forgets a worker that certainly runs nothing. Its replicas, if it has any, are marked as
    /// lost.
    pub async fn remove_worker(&self, name: &Name) -> Result<(), WorkerRefusal> {
        loop {
            let Some(held) = self.state.worker(name).await? else {
                return Err(self.no_worker(name).into());
            };
            self.may_remove(name, &held.value)?;
            if let Some(revision) = self.state.remove_worker(name, held.revision).await? {
                self.index.reached(revision).await;
                self.forget(name, &held);
                return Ok(());
            }
            // It came back, or somebody decided something about it.
        }
    }

    /// Forgets workers that were disconnected for long, until cancelled.
    pub async fn retire(self: Arc<Self>, retention: Retention, shutdown: CancellationToken) {
        let shortest = retention.used.min(retention.unused);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY.min(shortest)) => {}
            }
            for held in self.index.workers() {
                let absent = self.leases.absent_for(&held.worker.name);
                let retention = match self.is_unused(&held) {
                    true => shortest,
                    false => retention.used,
                };
                let is_long_gone = is_retired(&held.worker, retention, &clock::now());
                if !is_long_gone || absent < ALL_ARE_BACK.min(retention) {
                    continue;
                }
                match self.remove_worker(&held.name).await {
                    Ok(()) => {
                        let gone = format_duration(retention);
                        let message = match held.worker.has_run {
                            Some(false) => format!(
                                "forgotten: it has run nothing and was disconnected for {gone}"
                            ),
                            _ => format!("forgotten: it was disconnected for {gone}"),
                        };
                        let subject = Subject::Worker(&held.name);
                        let events = &self.events;
                        events.record(subject, Type::Normal, "Removed", message);
                    }
                    Err(WorkerRefusal::Store(error)) => {
                        tracing::warn!(worker = %held.name, %error, "cannot forget a worker");
                    }
                    // It came back, or may still run something: it is checked again later.
                    Err(_) => {}
                }
            }
        }
    }

    /// Returns whether nothing is known about it except that it existed.
    fn is_unused(&self, held: &WorkerUsage) -> bool {
        let worker = &held.worker;
        let is_decided_about = worker.cordoned || worker.drain.is_some();
        worker.has_run == Some(false)
            && !is_decided_about
            && self.index.replicas_on(&held.name).is_empty()
    }

    fn may_remove(&self, name: &Name, worker: &v1::Worker) -> Result<(), WorkerRefusal> {
        let has_stopped = worker
            .departure
            .as_ref()
            .is_some_and(|departure| departure.stopped);
        let silent = self.leases.silent_for(&worker.name);
        let left = self.worker_timeout.saturating_sub(silent);
        match left.max(self.leases.earlier_left()) {
            _ if worker.ready || self.registry.is_open(name) => {
                Err(WorkerRefusal::Connected(name.clone()))
            }
            left if !has_stopped && !left.is_zero() => Err(WorkerRefusal::MayRun {
                worker: name.clone(),
                left,
            }),
            _ => Ok(()),
        }
    }

    fn forget(&self, name: &Name, held: &Stored<v1::Worker>) {
        self.leases.forget(name.as_str());
        self.forget_id(&held.value.id);
    }

    /// Forgets what is known about a worker by its id, unless it is connected under another name.
    pub(super) fn forget_id(&self, id: &str) {
        let workers = self.index.workers();
        if workers.iter().all(|other| other.worker.id != id) {
            self.registry.forget(id);
        }
    }
}

/// Rounds up, so that the time has passed after that many seconds.
fn whole_seconds(left: Duration) -> Duration {
    Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0))
}

fn is_retired(worker: &v1::Worker, retention: Duration, now: &Timestamp) -> bool {
    presence::not_ready_since(worker).is_some_and(|since| !clock::is_within(&since, retention, now))
}
