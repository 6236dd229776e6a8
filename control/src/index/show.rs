//! The objects of the index as users see them, and the changes of them.

use std::sync::Arc;

use warren_model::name::{Name, WorkloadId};
use warren_proto::v1;

use super::{
    contents::{Contents, Touched, WorkloadEntry, touch},
    feed,
    watched::{Labels, ShownReplica},
};
use crate::{status, store::Revision};

/// Changes of each kind.
#[derive(Default)]
pub(super) struct Seen {
    pub workloads: Vec<feed::Change<v1::Workload>>,
    pub replicas: Vec<feed::Change<ShownReplica>>,
    pub workers: Vec<feed::Change<v1::Worker>>,
}

// === impl Contents ===

impl Contents {
    /// Returns the changes that users see of all that was touched.
    pub(super) fn look(&mut self, touched: &mut Touched) -> Seen {
        let mut seen = Seen::default();
        for (id, revision) in &touched.workloads {
            let Some(change) = self.assemble(id, *revision) else {
                continue;
            };
            let labels = |workload: &Option<Arc<v1::Workload>>| {
                workload.as_ref().map(|held| held.labels.clone())
            };
            if labels(&change.before) != labels(&change.after)
                && let Some(entry) = self.workloads.get(id)
            {
                for replica in entry.shown.keys() {
                    let key = (id.clone(), replica.clone());
                    touch(&mut touched.replicas, key, *revision);
                }
            }
            seen.workloads.push(change);
        }
        for ((workload, id), revision) in &touched.replicas {
            seen.replicas
                .extend(self.show_replica(workload, id, *revision));
        }
        self.touch_draining(touched);
        for (name, revision) in &touched.workers {
            seen.workers.extend(self.show_worker(name, *revision));
        }
        for id in touched.workloads.keys() {
            let is_gone = |entry: &WorkloadEntry| {
                entry.stored.is_none() && entry.replicas.is_empty() && entry.shown.is_empty()
            };
            if self.workloads.get(id).is_some_and(is_gone) {
                self.workloads.remove(id);
            }
        }
        // They have one revision, unless this is what was missed between two readings of the store.
        seen.workloads.sort_by_key(|change| change.revision);
        seen.replicas.sort_by_key(|change| change.revision);
        seen.workers.sort_by_key(|change| change.revision);
        seen
    }

    /// Derives what users see of a workload. Returns a change if that differs from before.
    fn assemble(
        &mut self,
        id: &WorkloadId,
        revision: Revision,
    ) -> Option<feed::Change<v1::Workload>> {
        let entry = self.workloads.get_mut(id)?;
        let before = entry.assembled.clone();
        entry.assembled = match &entry.stored {
            None => None,
            Some(stored) => {
                let replicas: Vec<_> = entry
                    .replicas
                    .values()
                    .map(|held| held.value.replica.clone())
                    .collect();
                let mut workload = v1::Workload::clone(&stored.value);
                workload.status = Some(status::derive(&workload, &replicas));
                if let Some(before) = &before {
                    let version = &before.resource_version;
                    workload.resource_version.clone_from(version);
                    if **before == workload {
                        return None;
                    }
                }
                workload.resource_version = revision.to_string();
                Some(Arc::new(workload))
            }
        };
        changed(before, entry.assembled.clone(), revision)
    }

    /// Does the same for a replica. Other labels of its workload are a change for watches that
    /// select by them.
    fn show_replica(
        &mut self,
        workload: &WorkloadId,
        id: &str,
        revision: Revision,
    ) -> Option<feed::Change<ShownReplica>> {
        let entry = self.workloads.get_mut(workload)?;
        let before = entry.shown.get(id).cloned();
        let Some(held) = entry.replicas.get(id) else {
            entry.shown.remove(id);
            return changed(before, None, revision);
        };
        let mut replica = held.value.replica.clone();
        let version = before.as_ref().map(|held| &held.replica.resource_version);
        replica.resource_version = version.cloned().unwrap_or_default();
        if before.as_ref().is_none_or(|held| held.replica != replica) {
            replica.resource_version = revision.to_string();
        }
        let labels = match (&entry.stored, &before) {
            (Some(stored), Some(before)) if stored.value.labels == *before.labels => {
                before.labels.clone()
            }
            (Some(stored), _) => Arc::<Labels>::new(stored.value.labels.clone()),
            (None, Some(before)) => before.labels.clone(),
            (None, None) => Arc::default(),
        };
        let after = ShownReplica { replica, labels };
        if before.as_ref().is_some_and(|before| **before == after) {
            return None;
        }
        let after = Arc::new(after);
        entry.shown.insert(id.to_owned(), after.clone());
        changed(before, Some(after), revision)
    }

    /// Does the same for a worker. Another heartbeat is not a change.
    fn show_worker(&mut self, name: &Name, revision: Revision) -> Option<feed::Change<v1::Worker>> {
        let drain = self.drain(name);
        let entry = self.workers.get_mut(name)?;
        let before = entry.shown.clone();
        entry.shown = match &entry.stored {
            None => None,
            Some(stored) => {
                let mut worker = v1::Worker::clone(&stored.value);
                let keeps_reserves = worker.capacity.is_some_and(|it| it.keeps_reserves());
                worker.allocated = Some(v1::Resources {
                    memory_bytes: entry.usage.memory.counted(keeps_reserves),
                    replicas: entry.usage.replicas,
                    keeps_reserves: None,
                });
                worker.drain = drain;
                if let Some(before) = &before {
                    let same = v1::Worker {
                        resource_version: before.resource_version.clone(),
                        last_heartbeat: before.last_heartbeat,
                        ..worker.clone()
                    };
                    if **before == same {
                        return None;
                    }
                }
                worker.resource_version = revision.to_string();
                Some(Arc::new(worker))
            }
        };
        changed(before, entry.shown.clone(), revision)
    }
}

/// Makes a change; `None` for an object that neither existed nor exists.
fn changed<T>(
    before: Option<Arc<T>>,
    after: Option<Arc<T>>,
    revision: Revision,
) -> Option<feed::Change<T>> {
    (before.is_some() || after.is_some()).then_some(feed::Change {
        before,
        after,
        revision,
    })
}
