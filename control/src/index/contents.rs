//! What the index holds, and how a committed transaction changes it: no clock, no channels.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use warren_model::name::{Name, WorkloadId};
use warren_proto::v1;

use super::{WatchEvent, WatchKind};
use crate::{
    reconcile::observe,
    state::{
        Stored, decode,
        keys::{self, Key},
        records::ReplicaRecord,
    },
    status,
    store::{Change, Revision, Snapshot, StoreError},
};

/// Workloads, replicas and workers as of the last whole transaction.
#[derive(Default)]
pub(super) struct Contents {
    pub workloads: BTreeMap<WorkloadId, WorkloadEntry>,
    pub workers: BTreeMap<Name, WorkerEntry>,
    /// Workloads with a replica that has no worker yet: they gain when a worker does.
    pub unplaced: BTreeSet<WorkloadId>,
}

#[derive(Default)]
pub(super) struct WorkloadEntry {
    /// As stored; absent while only replicas are left.
    pub stored: Option<Stored<Arc<v1::Workload>>>,
    pub replicas: BTreeMap<String, Stored<Arc<ReplicaRecord>>>,
    /// With status, as users see it.
    pub assembled: Option<Arc<v1::Workload>>,
}

#[derive(Default)]
pub(super) struct WorkerEntry {
    /// As stored; absent when a replica names a worker that was never heard of.
    pub stored: Option<Stored<Arc<v1::Worker>>>,
    /// Ids of replicas, each with its workload.
    pub replicas: BTreeMap<String, WorkloadId>,
    pub usage: Usage,
}

/// What the replicas of a worker may use at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub memory_bytes: u64,
    pub replicas: u32,
    pub ports: Vec<String>,
}

/// Whom a transaction concerns.
#[derive(Default)]
pub(super) struct Effects {
    pub events: Vec<Arc<WatchEvent>>,
    /// Workloads to reconcile.
    pub workloads: BTreeSet<WorkloadId>,
    /// Workers whose sessions should compare what they sent with what should run.
    pub workers: BTreeSet<Name>,
}

// === impl Contents ===

impl Contents {
    /// Applies the changes of one or more revisions, all of each.
    pub fn apply(&mut self, changes: &[Change]) -> Effects {
        let mut effects = Effects::default();
        let mut touched = BTreeMap::new();
        let mut crowded = BTreeSet::new();
        for change in changes {
            let mut touch = |id| {
                let revision = touched.entry(id).or_insert(change.revision);
                *revision = change.revision.max(*revision);
            };
            match Key::parse(&change.key) {
                Some(Key::Workload(id)) => {
                    self.put_workload(&id, change);
                    touch(id);
                }
                Some(Key::Replica { workload, id }) => {
                    self.put_replica(&workload, id, change, &mut crowded);
                    touch(workload);
                }
                Some(Key::Worker(name)) => self.put_worker(name, change, &mut effects),
                None => {}
            }
        }
        for name in crowded {
            if self.measure(&name) {
                effects.workloads.extend(self.unplaced.iter().cloned());
            }
            effects.workers.insert(name);
        }
        for (id, revision) in touched {
            effects.events.extend(self.assemble(&id, revision));
            effects.workloads.insert(id);
        }
        // Of one revision, unless this is what was missed between two readings of the store.
        effects.events.sort_by_key(|event| event.revision);
        effects
    }

    fn put_workload(&mut self, id: &WorkloadId, change: &Change) {
        let entry = self.workloads.entry(id.clone()).or_default();
        entry.stored = read(change);
    }

    fn put_replica(
        &mut self,
        workload: &WorkloadId,
        id: String,
        change: &Change,
        crowded: &mut BTreeSet<Name>,
    ) {
        let entry = self.workloads.entry(workload.clone()).or_default();
        let after = read::<ReplicaRecord>(change);
        let place = |held: &Stored<Arc<ReplicaRecord>>| held.value.worker();
        let before_on = entry.replicas.get(&id).and_then(place);
        let after_on = after.as_ref().and_then(place);
        match after {
            Some(after) => entry.replicas.insert(id.clone(), after),
            None => entry.replicas.remove(&id),
        };
        if entry
            .replicas
            .values()
            .any(|held| held.value.replica.worker.is_empty())
        {
            self.unplaced.insert(workload.clone());
        } else {
            self.unplaced.remove(workload);
        }
        if let Some(name) = before_on {
            if let Some(worker) = self.workers.get_mut(&name) {
                worker.replicas.remove(&id);
            }
            crowded.insert(name);
        }
        if let Some(name) = after_on {
            let worker = self.workers.entry(name.clone()).or_default();
            worker.replicas.insert(id, workload.clone());
            crowded.insert(name);
        }
    }

    fn put_worker(&mut self, name: Name, change: &Change, effects: &mut Effects) {
        let entry = self.workers.entry(name).or_default();
        entry.stored = read(change);
        effects.workloads.extend(entry.replicas.values().cloned());
        if entry
            .stored
            .as_ref()
            .is_some_and(|held| held.value.ready && !held.value.cordoned)
        {
            effects.workloads.extend(self.unplaced.iter().cloned());
        }
    }

    /// Sums up a worker's replicas anew. Whether room was made.
    fn measure(&mut self, name: &Name) -> bool {
        let Some(worker) = self.workers.get_mut(name) else {
            return false;
        };
        let mut usage = Usage::default();
        for (id, workload) in &worker.replicas {
            let record = self
                .workloads
                .get(workload)
                .and_then(|entry| entry.replicas.get(id));
            let Some(record) = record.map(|held| &held.value) else {
                continue;
            };
            if observe::phase(record.phase()).occupies() {
                usage.memory_bytes = usage.memory_bytes.saturating_add(record.memory_bytes);
                usage.replicas += 1;
                usage.ports.extend(record.ports.iter().cloned());
            }
        }
        let freed = usage.memory_bytes < worker.usage.memory_bytes
            || usage.replicas < worker.usage.replicas
            || usage.ports.len() < worker.usage.ports.len();
        worker.usage = usage;
        freed
    }

    /// Derives what users see of a workload; an event when that is not what it was.
    fn assemble(&mut self, id: &WorkloadId, revision: Revision) -> Option<Arc<WatchEvent>> {
        let entry = self.workloads.get_mut(id)?;
        let Some(stored) = &entry.stored else {
            let gone = entry.assembled.take();
            if entry.replicas.is_empty() {
                self.workloads.remove(id);
            }
            return gone.map(|workload| event(WatchKind::Deleted, id, workload, revision));
        };
        let replicas: Vec<_> = entry
            .replicas
            .values()
            .map(|held| held.value.replica.clone())
            .collect();
        let mut workload = v1::Workload::clone(&stored.value);
        workload.status = Some(status::derive(&workload, &replicas));
        let kind = match &entry.assembled {
            None => WatchKind::Added,
            // Another life of the name: for a watcher this is a new object, not a change of the old.
            Some(before) if before.uid != workload.uid => WatchKind::Added,
            Some(before) => {
                workload
                    .resource_version
                    .clone_from(&before.resource_version);
                if **before == workload {
                    return None;
                }
                WatchKind::Modified
            }
        };
        workload.resource_version = revision.to_string();
        let workload = Arc::new(workload);
        entry.assembled = Some(workload.clone());
        Some(event(kind, id, workload, revision))
    }

    /// The changes that lead from here to a snapshot of one of the followed prefixes.
    pub fn difference(&self, prefix: &str, snapshot: &Snapshot, changes: &mut Vec<Change>) {
        let mut gone = self.keys(prefix);
        for (key, held) in &snapshot.entries {
            if gone.remove(key) != Some(held.revision) {
                changes.push(Change {
                    key: key.clone(),
                    value: Some(held.value.clone()),
                    revision: held.revision,
                    last: false,
                });
            }
        }
        changes.extend(gone.into_keys().map(|key| Change {
            key,
            value: None,
            revision: snapshot.revision,
            last: false,
        }));
    }

    /// The keys of a prefix that are held, with their revisions.
    fn keys(&self, prefix: &str) -> BTreeMap<String, Revision> {
        let workloads = || self.workloads.iter();
        match prefix {
            keys::WORKLOADS => workloads()
                .filter_map(|(id, entry)| {
                    Some((keys::workload(id), entry.stored.as_ref()?.revision))
                })
                .collect(),
            keys::REPLICAS => workloads()
                .flat_map(|(workload, entry)| {
                    entry
                        .replicas
                        .iter()
                        .map(move |(id, held)| (keys::replica(workload, id), held.revision))
                })
                .collect(),
            _ => self
                .workers
                .iter()
                .filter_map(|(name, entry)| {
                    Some((keys::worker(name), entry.stored.as_ref()?.revision))
                })
                .collect(),
        }
    }
}

fn event(
    kind: WatchKind,
    id: &WorkloadId,
    workload: Arc<v1::Workload>,
    revision: Revision,
) -> Arc<WatchEvent> {
    Arc::new(WatchEvent {
        kind,
        id: id.clone(),
        workload,
        revision,
    })
}

/// Whether everything under a followed prefix can be read.
pub(super) fn check(prefix: &str, snapshot: &Snapshot) -> Result<(), StoreError> {
    for (key, held) in &snapshot.entries {
        let (value, revision) = (&held.value, held.revision);
        match prefix {
            keys::WORKLOADS => decode::<v1::Workload>(key, value, revision).map(drop)?,
            keys::REPLICAS => decode::<ReplicaRecord>(key, value, revision).map(drop)?,
            _ => decode::<v1::Worker>(key, value, revision).map(drop)?,
        }
        if Key::parse(key).is_none() {
            return Err(StoreError::Corrupt(format!(
                "`{key}` is no key of this schema"
            )));
        }
    }
    Ok(())
}

/// The value that a change wrote. One that cannot be read is reported and treated as absent:
/// the rest of the fleet must not stand still because of it.
fn read<M: prost::Message + Default>(change: &Change) -> Option<Stored<Arc<M>>> {
    let value = change.value.as_ref()?;
    match decode::<M>(&change.key, value, change.revision) {
        Ok(held) => Some(Stored {
            value: Arc::new(held.value),
            revision: held.revision,
        }),
        Err(error) => {
            tracing::error!(%error, "a stored object is left out");
            None
        }
    }
}
