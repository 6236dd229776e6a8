//! The present state in memory: one task follows the store, everybody else reads here.
//!
//! A thousand watchers share one view of the store and one derivation of each workload's status.

mod contents;
mod follow;
mod history;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use parking_lot::RwLock;
use tokio::sync::{Notify, broadcast, watch};
use warren_model::name::{Name, WorkloadId};
use warren_proto::v1;

use crate::{
    reconcile::dirty::DirtySet,
    state::{Stored, records::ReplicaRecord},
    store::Revision,
};
pub use contents::Usage;
use contents::{Contents, Effects};
pub use follow::IndexTask;
use history::History;
pub use history::NotKept;

/// Events that one watcher may be behind before it is told to start again.
const WATCH_BUFFER: usize = 1024;

/// What happened to a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchKind {
    Added,
    Modified,
    Deleted,
}

/// One change of what users see of a workload.
#[derive(Debug)]
pub struct WatchEvent {
    pub kind: WatchKind,
    pub id: WorkloadId,
    /// After the change; its last state when it was deleted.
    pub workload: Arc<v1::Workload>,
    pub revision: Revision,
}

/// The reading side. Every method holds a lock for the time of a map's look-up only.
pub struct Index {
    inner: RwLock<Inner>,
    applied: watch::Sender<Revision>,
    events: broadcast::Sender<Arc<WatchEvent>>,
    /// Workloads of which a replica changed, seen by users or not.
    touched: broadcast::Sender<WorkloadId>,
    dirty: Arc<DirtySet>,
}

struct Inner {
    contents: Contents,
    history: History,
    applied: Revision,
    /// Where the sessions of workers wait for changes of what they should run.
    sessions: BTreeMap<Name, Arc<Notify>>,
}

/// A view of all workloads that a watch starts from.
pub struct Subscription {
    /// Where it stands.
    pub revision: Revision,
    /// The present state, or what happened since the asked-for revision.
    pub start: Start,
    pub live: broadcast::Receiver<Arc<WatchEvent>>,
}

pub enum Start {
    Present(Vec<Arc<v1::Workload>>),
    Missed(Vec<Arc<WatchEvent>>),
}

/// One workload as the reconciler sees it.
pub struct Observation {
    pub workload: Option<Stored<Arc<v1::Workload>>>,
    pub replicas: Vec<Stored<Arc<ReplicaRecord>>>,
}

/// A worker and what was placed on it.
pub struct WorkerUsage {
    pub worker: Arc<v1::Worker>,
    pub revision: Revision,
    pub usage: Usage,
}

// === impl Index ===

impl Index {
    /// Waits until everything up to a revision is in the index, so that who wrote it reads it.
    pub async fn reached(&self, revision: Revision) {
        // An error means that the sender is gone, and it lives in `self`.
        let _ = self
            .applied
            .subscribe()
            .wait_for(|applied| *applied >= revision)
            .await;
    }

    /// A workload with its status.
    pub fn workload(&self, id: &WorkloadId) -> Option<Arc<v1::Workload>> {
        self.inner
            .read()
            .contents
            .workloads
            .get(id)?
            .assembled
            .clone()
    }

    /// Up to `limit` workloads after `after` that `keep` keeps, by namespace and name, and the revision of this page.
    pub fn workloads(
        &self,
        after: Option<&WorkloadId>,
        limit: usize,
        keep: impl Fn(&WorkloadId, &v1::Workload) -> bool,
    ) -> (Vec<Arc<v1::Workload>>, Revision) {
        let inner = self.inner.read();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = inner
            .contents
            .workloads
            .range((from, Bound::Unbounded))
            .filter_map(|(id, entry)| Some((id, entry.assembled.as_ref()?)))
            .filter(|(id, workload)| keep(id, workload))
            .map(|(_, workload)| workload.clone())
            .take(limit)
            .collect();
        (page, inner.applied)
    }

    /// Up to `limit` replicas after `after` that `keep` keeps, by namespace, workload and id.
    pub fn replicas(
        &self,
        after: Option<&(WorkloadId, String)>,
        limit: usize,
        keep: impl Fn(&WorkloadId) -> bool,
    ) -> Vec<v1::Replica> {
        let inner = self.inner.read();
        let from = after.map_or(Bound::Unbounded, |(workload, _)| Bound::Included(workload));
        inner
            .contents
            .workloads
            .range((from, Bound::Unbounded))
            .filter(|(workload, _)| keep(workload))
            .flat_map(|(workload, entry)| {
                entry
                    .replicas
                    .iter()
                    .map(move |(id, held)| (workload, id, held))
            })
            .filter(|(workload, id, _)| {
                after.is_none_or(|(last, last_id)| (*workload, *id) > (last, last_id))
            })
            .map(|(_, _, held)| shown(held))
            .take(limit)
            .collect()
    }

    /// Every replica of a workload.
    pub fn replicas_of(&self, id: &WorkloadId) -> Vec<Stored<Arc<ReplicaRecord>>> {
        let inner = self.inner.read();
        let entry = inner.contents.workloads.get(id);
        entry
            .map(|entry| entry.replicas.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Every replica that was placed on a worker.
    pub fn replicas_on(&self, worker: &Name) -> Vec<Arc<ReplicaRecord>> {
        let inner = self.inner.read();
        let Some(entry) = inner.contents.workers.get(worker) else {
            return Vec::new();
        };
        let record = |(id, workload): (&String, &WorkloadId)| {
            Some(
                inner
                    .contents
                    .workloads
                    .get(workload)?
                    .replicas
                    .get(id)?
                    .value
                    .clone(),
            )
        };
        entry.replicas.iter().filter_map(record).collect()
    }

    /// What the reconciler decides upon.
    pub fn observe(&self, id: &WorkloadId) -> Observation {
        let inner = self.inner.read();
        match inner.contents.workloads.get(id) {
            Some(entry) => Observation {
                workload: entry.stored.clone(),
                replicas: entry.replicas.values().cloned().collect(),
            },
            None => Observation {
                workload: None,
                replicas: Vec::new(),
            },
        }
    }

    /// Every workload's stored form: for what must look at all of them.
    pub fn all_workloads(&self) -> Vec<(WorkloadId, Arc<v1::Workload>)> {
        let inner = self.inner.read();
        let held = inner.contents.workloads.iter();
        held.filter_map(|(id, entry)| Some((id.clone(), entry.stored.as_ref()?.value.clone())))
            .collect()
    }

    /// Every workload that is known by itself or by its replicas.
    pub fn ids(&self) -> Vec<WorkloadId> {
        self.inner
            .read()
            .contents
            .workloads
            .keys()
            .cloned()
            .collect()
    }

    /// The workloads that have replicas on a worker.
    pub fn workloads_on(&self, worker: &Name) -> BTreeSet<WorkloadId> {
        let inner = self.inner.read();
        let entry = inner.contents.workers.get(worker);
        entry
            .map(|entry| entry.replicas.values().cloned().collect())
            .unwrap_or_default()
    }

    /// The workload of a replica, if that replica was placed on this worker.
    pub fn placed_on(&self, worker: &Name, replica: &str) -> Option<WorkloadId> {
        self.inner
            .read()
            .contents
            .workers
            .get(worker)?
            .replicas
            .get(replica)
            .cloned()
    }

    /// Every worker by name, with what its replicas may use.
    pub fn workers(&self) -> Vec<WorkerUsage> {
        let inner = self.inner.read();
        inner
            .contents
            .workers
            .values()
            .filter_map(worker_usage)
            .collect()
    }

    pub fn worker(&self, name: &Name) -> Option<WorkerUsage> {
        self.inner
            .read()
            .contents
            .workers
            .get(name)
            .and_then(worker_usage)
    }

    /// Follows all workloads: from the present state, or from what happened after a revision.
    pub fn subscribe(&self, after: Option<Revision>) -> Result<Subscription, NotKept> {
        // Events are sent under the write lock, so nothing falls between the start and the live end.
        let inner = self.inner.read();
        let start = match after {
            Some(revision) => Start::Missed(inner.history.since(revision)?),
            None => Start::Present(
                inner
                    .contents
                    .workloads
                    .values()
                    .filter_map(|e| e.assembled.clone())
                    .collect(),
            ),
        };
        Ok(Subscription {
            revision: inner.applied,
            start,
            live: self.events.subscribe(),
        })
    }

    /// Names workloads as their replicas change. Who lags looks at what it is interested in anew.
    pub fn touched(&self) -> broadcast::Receiver<WorkloadId> {
        self.touched.subscribe()
    }

    /// Wakes when what a worker should run may have changed. One session waits at a time.
    pub fn session_wake(&self, worker: &Name) -> Arc<Notify> {
        self.inner
            .write()
            .sessions
            .entry(worker.clone())
            .or_default()
            .clone()
    }

    /// Tells everyone concerned. Called with the write lock held: see `subscribe`.
    fn publish(&self, inner: &mut Inner, effects: Effects, revision: Revision) {
        for event in effects.events {
            inner.history.push(event.clone());
            // No receiver is no error: nobody watches.
            let _ = self.events.send(event);
        }
        for name in effects.workers {
            if let Some(session) = inner.sessions.get(&name) {
                session.notify_one();
            }
        }
        for id in &effects.workloads {
            let _ = self.touched.send(id.clone());
        }
        self.dirty.mark(effects.workloads);
        inner.applied = revision;
        self.applied.send_replace(revision);
    }
}

/// A replica as users see it.
fn shown(held: &Stored<Arc<ReplicaRecord>>) -> v1::Replica {
    let mut replica = held.value.replica.clone();
    replica.resource_version = held.revision.to_string();
    replica
}

fn worker_usage(entry: &contents::WorkerEntry) -> Option<WorkerUsage> {
    let stored = entry.stored.as_ref()?;
    Some(WorkerUsage {
        worker: stored.value.clone(),
        revision: stored.revision,
        usage: entry.usage.clone(),
    })
}
