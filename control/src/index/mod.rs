//! The present state in memory: one task follows the store, and everything else reads here.
//!
//! A thousand watchers share one view of the store and one derivation of each workload's status.

mod contents;
mod drain;
mod feed;
mod follow;
mod present;
mod show;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod watched;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use parking_lot::RwLock;
use tokio::sync::{Notify, broadcast, watch};
use warren_model::{
    digest::Digest,
    link::HostInterfaces,
    name::{Name, WorkloadId},
    spec::WorkloadSpec,
};
use warren_proto::v1;

use crate::{
    dirty::DirtySet,
    scheduler::Offers,
    state::{Stored, records::ReplicaRecord},
    store::Revision,
};
use contents::{Contents, Effects};
pub use contents::{HeldPort, Usage, parse_spec};
pub use feed::{Change, Cursor, Feed, Position};
pub use follow::IndexTask;
pub use present::Present;
pub use watched::{ShownReplica, Watched};

/// The number of workloads that a reader of [`Index::touched`] may be behind.
const TOUCHED_BUFFER: usize = 8192;
/// The number of sessions' wakes that are kept besides those of known workers.
const SPARE_SESSIONS: usize = 1024;

/// The reading side. Every method holds a lock only for the time of a map's look-up.
pub struct Index {
    inner: RwLock<Inner>,
    applied: watch::Sender<Revision>,
    workload_changes: Feed<v1::Workload>,
    replica_changes: Feed<ShownReplica>,
    worker_changes: Feed<v1::Worker>,
    /// Workloads of which a replica changed, seen by users or not.
    touched: broadcast::Sender<WorkloadId>,
    dirty: Arc<DirtySet>,
}

struct Inner {
    contents: Contents,
    applied: Revision,
    /// The wakes on which the sessions of workers wait for changes of what they should run.
    sessions: BTreeMap<Name, Arc<Notify>>,
}

/// One workload as the reconciler sees it.
pub struct Observation {
    pub workload: Option<Stored<Arc<v1::Workload>>>,
    /// The workload's spec; `None` where this version of Warren cannot read it.
    pub spec: Option<Arc<WorkloadSpec>>,
    pub replicas: Vec<Stored<Arc<ReplicaRecord>>>,
}

/// A worker, and what was placed on it.
pub struct WorkerUsage {
    pub name: Name,
    pub worker: Arc<v1::Worker>,
    pub offers: Arc<Offers>,
    pub usage: Usage,
}

// === impl Index ===

impl Index {
    /// Waits until everything up to a revision is in the index, so that its writer can read it
    /// here.
    pub async fn reached(&self, revision: Revision) {
        // An error means that the sender is gone, and it lives in `self`.
        let _ = self
            .applied
            .subscribe()
            .wait_for(|applied| *applied >= revision)
            .await;
    }

    /// Returns why components could not be compiled, for those of `digests` that could not.
    pub fn compile_failures(
        &self,
        digests: impl IntoIterator<Item = Digest>,
    ) -> Vec<Arc<v1::CompileFailure>> {
        let inner = self.inner.read();
        let known = &inner.contents.uncompilable;
        let failures = digests.into_iter().filter_map(|digest| {
            let held = known.get(&digest)?;
            held.value.compile_failure.clone().map(Arc::new)
        });
        failures.collect()
    }

    /// Returns the workloads that were on a worker when it was lost, except for one of them, and
    /// their replicas.
    pub fn suspects(&self, but: &WorkloadId) -> Vec<(Arc<v1::Workload>, Vec<Arc<ReplicaRecord>>)> {
        let inner = self.inner.read();
        let contents = &inner.contents;
        let suspects = contents.suspects.iter().filter(|id| *id != but);
        let suspects = suspects.filter_map(|id| {
            let entry = contents.workloads.get(id)?;
            let replicas = entry.replicas.values().map(|held| held.value.clone());
            Some((entry.stored.as_ref()?.value.clone(), replicas.collect()))
        });
        suspects.collect()
    }

    /// Returns a workload with its status.
    pub fn workload(&self, id: &WorkloadId) -> Option<Arc<v1::Workload>> {
        self.inner
            .read()
            .contents
            .workloads
            .get(id)?
            .assembled
            .clone()
    }

    /// Returns up to `limit` workloads after `after` that `keep` keeps, by namespace and name, and
    /// the revision of this page.
    pub fn workloads(
        &self,
        after: Option<&WorkloadId>,
        limit: usize,
        keep: impl Fn(&v1::Workload) -> bool,
    ) -> (Vec<Arc<v1::Workload>>, Revision) {
        let inner = self.inner.read();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = inner
            .contents
            .workloads
            .range((from, Bound::Unbounded))
            .filter_map(|(_, entry)| entry.assembled.as_ref())
            .filter(|workload| keep(workload))
            .take(limit)
            .cloned()
            .collect();
        (page, inner.applied)
    }

    /// Returns up to `limit` replicas after `after` that `keep` keeps, by namespace, workload and
    /// id, and the revision of this page.
    pub fn replicas(
        &self,
        after: Option<&(WorkloadId, String)>,
        limit: usize,
        keep: impl Fn(&ShownReplica) -> bool,
    ) -> (Vec<Arc<ShownReplica>>, Revision) {
        let inner = self.inner.read();
        let from = after.map_or(Bound::Unbounded, |(workload, _)| Bound::Included(workload));
        let page = inner
            .contents
            .workloads
            .range((from, Bound::Unbounded))
            .flat_map(|(workload, entry)| {
                let shown = entry.shown.iter();
                shown.map(move |(id, replica)| (workload, id, replica))
            })
            .filter(|(workload, id, _)| {
                after.is_none_or(|(last, last_id)| (*workload, *id) > (last, last_id))
            })
            .map(|(_, _, replica)| replica)
            .filter(|replica| keep(replica))
            .take(limit)
            .cloned()
            .collect();
        (page, inner.applied)
    }

    /// Returns up to `limit` workers after `after` that `keep` keeps, by name, and the revision of
    /// this page.
    pub fn shown_workers(
        &self,
        after: Option<&Name>,
        limit: usize,
        keep: impl Fn(&v1::Worker) -> bool,
    ) -> (Vec<Arc<v1::Worker>>, Revision) {
        let inner = self.inner.read();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = inner
            .contents
            .workers
            .range((from, Bound::Unbounded))
            .filter_map(|(_, entry)| entry.shown.as_ref())
            .filter(|worker| keep(worker))
            .take(limit)
            .cloned()
            .collect();
        (page, inner.applied)
    }

    /// Returns one worker as users see it.
    pub fn shown_worker(&self, name: &Name) -> Option<Arc<v1::Worker>> {
        let inner = self.inner.read();
        inner.contents.workers.get(name)?.shown.clone()
    }

    /// Returns every replica of a workload.
    pub fn replicas_of(&self, id: &WorkloadId) -> Vec<Stored<Arc<ReplicaRecord>>> {
        let inner = self.inner.read();
        let entry = inner.contents.workloads.get(id);
        entry
            .map(|entry| entry.replicas.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Returns every replica that was placed on a worker.
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

    /// Returns what the reconciler decides upon.
    pub fn observe(&self, id: &WorkloadId) -> Observation {
        let inner = self.inner.read();
        match inner.contents.workloads.get(id) {
            Some(entry) => Observation {
                workload: entry.stored.clone(),
                spec: entry.spec.clone(),
                replicas: entry.replicas.values().cloned().collect(),
            },
            None => Observation {
                workload: None,
                spec: None,
                replicas: Vec::new(),
            },
        }
    }

    /// Returns the spec that a workload had at a revision of the store, if the index holds the
    /// workload at that revision. The inner `None` is a spec that this version cannot read.
    pub fn spec_at(
        &self,
        id: &WorkloadId,
        revision: Revision,
    ) -> Option<Option<Arc<WorkloadSpec>>> {
        let inner = self.inner.read();
        let entry = inner.contents.workloads.get(id)?;
        let stored = entry.stored.as_ref()?;
        (stored.revision == revision).then(|| entry.spec.clone())
    }

    /// Returns the stored form of every workload.
    pub fn all_workloads(&self) -> Vec<(WorkloadId, Arc<v1::Workload>)> {
        let inner = self.inner.read();
        let held = inner.contents.workloads.iter();
        held.filter_map(|(id, entry)| Some((id.clone(), entry.stored.as_ref()?.value.clone())))
            .collect()
    }

    /// Returns every workload that is known by itself or by its replicas.
    pub fn ids(&self) -> Vec<WorkloadId> {
        self.inner
            .read()
            .contents
            .workloads
            .keys()
            .cloned()
            .collect()
    }

    /// Returns the workloads that have replicas on a worker.
    pub fn workloads_on(&self, worker: &Name) -> BTreeSet<WorkloadId> {
        let inner = self.inner.read();
        let entry = inner.contents.workers.get(worker);
        entry
            .map(|entry| entry.replicas.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Returns the workload of a replica, if that replica was placed on this worker.
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

    /// Returns every worker by name, with what its replicas may use.
    pub fn workers(&self) -> Vec<WorkerUsage> {
        let inner = self.inner.read();
        inner
            .contents
            .workers
            .iter()
            .filter_map(|(name, entry)| worker_usage(name, entry))
            .collect()
    }

    /// Returns what workers of this version provide to guests, with what any known worker states
    /// that it provides beyond that.
    pub fn interfaces(&self) -> HostInterfaces {
        let this_version = HostInterfaces::of_this_version();
        let mut all = HostInterfaces::clone(this_version);
        let inner = self.inner.read();
        for worker in inner.contents.workers.values() {
            if !Arc::ptr_eq(&worker.offers.interfaces, this_version) {
                all.extend(&worker.offers.interfaces);
            }
        }
        all
    }

    /// Returns the number of known workers.
    pub fn worker_count(&self) -> usize {
        self.inner.read().contents.workers.len()
    }

    pub fn worker(&self, name: &Name) -> Option<WorkerUsage> {
        self.inner
            .read()
            .contents
            .workers
            .get(name)
            .and_then(|entry| worker_usage(name, entry))
    }

    /// Returns all objects of a kind, their revision, and a watch of the changes from then on.
    pub fn watch<T: Watched>(&self) -> (Arc<Present<T>>, Revision, Cursor) {
        // Changes are published under the write lock, so none falls between the present state and
        // the watch.
        let inner = self.inner.read();
        let feed = T::feed(self);
        let cursor = feed.cursor();
        let present = feed.present(&cursor, || T::present(&inner.contents));
        (present, inner.applied, cursor)
    }

    /// Names workloads as their replicas change. A reader that lags looks again at what it is
    /// interested in.
    pub fn touched(&self) -> broadcast::Receiver<WorkloadId> {
        self.touched.subscribe()
    }

    /// Returns what wakes when the replicas that a worker should run may have changed. One session
    /// waits at a time.
    pub fn session_wake(&self, worker: &Name) -> Arc<Notify> {
        let mut inner = self.inner.write();
        // The wakes of ended sessions are useless: the next session looks at everything first.
        if inner.sessions.len() > 2 * inner.contents.workers.len() + SPARE_SESSIONS {
            inner.sessions.retain(|_, wake| Arc::strong_count(wake) > 1);
        }
        inner.sessions.entry(worker.clone()).or_default().clone()
    }

    /// Notifies all readers that a change concerns. Called with the write lock held: see `watch`.
    fn publish(&self, inner: &mut Inner, effects: Effects, revision: Revision) {
        self.workload_changes.publish(effects.seen.workloads);
        self.replica_changes.publish(effects.seen.replicas);
        self.worker_changes.publish(effects.seen.workers);
        for name in effects.workers {
            if let Some(session) = inner.sessions.get(&name) {
                session.notify_one();
            }
        }
        for id in &effects.workloads {
            // It is not an error that there is no receiver: then no logs are being read.
            let _ = self.touched.send(id.clone());
        }
        self.dirty.mark(effects.workloads);
        inner.applied = revision;
        self.applied.send_replace(revision);
    }
}

fn worker_usage(name: &Name, entry: &contents::WorkerEntry) -> Option<WorkerUsage> {
    let stored = entry.stored.as_ref()?;
    Some(WorkerUsage {
        name: name.clone(),
        worker: stored.value.clone(),
        offers: entry.offers.clone(),
        usage: entry.usage.clone(),
    })
}
