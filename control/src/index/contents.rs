//! The data of the index, and how a committed transaction changes it: no clock, no channels.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use warren_model::{
    condition,
    digest::Digest,
    name::{Name, WorkloadId},
    spec::WorkloadSpec,
};
use warren_proto::v1::{self, condition::Status, replica::Phase};

use super::{show::Seen, watched::ShownReplica};
use crate::{
    scheduler::{Hold, Memory, Offers},
    state::{
        Stored, decode,
        keys::{self, Key},
        records::{ReplicaRecord, condition},
        rollout,
    },
    store::{Change, Revision, Snapshot, StoreError},
};

/// Workloads, replicas and workers as of the last whole transaction.
#[derive(Default)]
pub struct Contents {
    pub workloads: BTreeMap<WorkloadId, WorkloadEntry>,
    pub workers: BTreeMap<Name, WorkerEntry>,
    /// Artifacts that some worker could not compile.
    pub uncompilable: BTreeMap<Digest, Stored<Arc<v1::Artifact>>>,
    /// Workloads that were on a worker when it was lost.
    pub suspects: BTreeSet<WorkloadId>,
    /// Workloads with a replica that has no worker yet, or that waits for another one: they may
    /// gain when a worker changes.
    pub unplaced: BTreeSet<WorkloadId>,
    /// Workers that are being drained: what holds a drain up is seen in workloads.
    pub draining: BTreeSet<Name>,
}

#[derive(Default)]
pub struct WorkloadEntry {
    /// The workload as stored; absent while only replicas are left.
    pub stored: Option<Stored<Arc<v1::Workload>>>,
    /// The stored spec, parsed once; absent where this version of Warren cannot read it.
    pub spec: Option<Arc<WorkloadSpec>>,
    pub replicas: BTreeMap<String, Stored<Arc<ReplicaRecord>>>,
    /// The workload with its status, as users see it.
    pub assembled: Option<Arc<v1::Workload>>,
    /// The same replicas, as users see them.
    pub shown: BTreeMap<String, Arc<ShownReplica>>,
}

#[derive(Default)]
pub struct WorkerEntry {
    /// The worker as stored; absent when a replica names a worker that has never connected.
    pub stored: Option<Stored<Arc<v1::Worker>>>,
    /// What the stored worker offers.
    pub offers: Arc<Offers>,
    /// The ids of its replicas, each with its workload.
    pub replicas: BTreeMap<String, WorkloadId>,
    pub usage: Usage,
    /// The worker with what is allocated, as users see it.
    pub shown: Option<Arc<v1::Worker>>,
}

/// What the replicas of a worker take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub memory: Memory,
    pub replicas: u32,
    /// Published ports, each with the workload that holds it.
    pub ports: Vec<HeldPort>,
}

/// A published port of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldPort {
    pub port: String,
    pub holder: WorkloadId,
    pub hold: Hold,
}

/// The objects that a transaction concerns.
#[derive(Default)]
pub(super) struct Effects {
    /// The changes that users see, by revision.
    pub seen: Seen,
    /// Workloads to reconcile.
    pub workloads: BTreeSet<WorkloadId>,
    /// Workers whose sessions should compare what they sent with what should run.
    pub workers: BTreeSet<Name>,
}

/// The objects that changes touch, each with the newest of its changes.
#[derive(Default)]
pub(super) struct Touched {
    pub workloads: BTreeMap<WorkloadId, Revision>,
    pub replicas: BTreeMap<(WorkloadId, String), Revision>,
    pub workers: BTreeMap<Name, Revision>,
    /// Workers of which a replica changed.
    crowded: BTreeSet<Name>,
}

// === impl Contents ===

impl Contents {
    /// Applies the changes of one or more whole revisions.
    pub(super) fn apply(&mut self, changes: &[Change]) -> Effects {
        let mut effects = Effects::default();
        let mut touched = Touched::default();
        for change in changes {
            match Key::parse(&change.key) {
                Some(Key::Workload(id)) => {
                    self.put_workload(&id, change);
                    touch(&mut touched.workloads, id, change.revision);
                }
                Some(Key::Replica { workload, id }) => {
                    self.put_replica(&workload, id, change, &mut touched);
                    touch(&mut touched.workloads, workload, change.revision);
                }
                Some(Key::Worker(name)) => {
                    self.put_worker(&name, change, &mut effects);
                    touch(&mut touched.workers, name, change.revision);
                }
                Some(Key::Artifact(digest)) => self.put_artifact(digest, change),
                None => {}
            }
        }
        for name in std::mem::take(&mut touched.crowded) {
            if self.measure(&name) {
                effects.workloads.extend(self.unplaced.iter().cloned());
            }
            effects.workers.insert(name);
        }
        effects.seen = self.look(&mut touched);
        effects.workloads.extend(touched.workloads.into_keys());
        effects
    }

    fn put_workload(&mut self, id: &WorkloadId, change: &Change) {
        let entry = self.workloads.entry(id.clone()).or_default();
        entry.stored = read(change);
        entry.spec = entry
            .stored
            .as_ref()
            .and_then(|held| parse_spec(&held.value));
        let noted = entry
            .stored
            .as_ref()
            .and_then(|held| rollout::of(&held.value));
        if noted.is_some_and(|noted| !noted.losses.is_empty()) {
            self.suspects.insert(id.clone());
        } else {
            self.suspects.remove(id);
        }
    }

    fn put_artifact(&mut self, digest: Digest, change: &Change) {
        let failed = |held: &Stored<Arc<v1::Artifact>>| held.value.compile_failure.is_some();
        match read::<v1::Artifact>(change).filter(failed) {
            Some(held) => self.uncompilable.insert(digest, held),
            None => self.uncompilable.remove(&digest),
        };
    }

    fn put_replica(
        &mut self,
        workload: &WorkloadId,
        id: String,
        change: &Change,
        touched: &mut Touched,
    ) {
        let key = (workload.clone(), id.clone());
        touch(&mut touched.replicas, key, change.revision);
        let entry = self.workloads.entry(workload.clone()).or_default();
        let after = read::<ReplicaRecord>(change);
        let place = |held: &Stored<Arc<ReplicaRecord>>| held.value.worker();
        let before_on = entry.replicas.get(&id).and_then(place);
        let after_on = after.as_ref().and_then(place);
        match after {
            Some(after) => entry.replicas.insert(id.clone(), after),
            None => entry.replicas.remove(&id),
        };
        if entry.replicas.values().any(|held| waits(&held.value)) {
            self.unplaced.insert(workload.clone());
        } else {
            self.unplaced.remove(workload);
        }
        if let Some(name) = before_on {
            if let Some(worker) = self.workers.get_mut(&name) {
                worker.replicas.remove(&id);
            }
            touch(&mut touched.workers, name.clone(), change.revision);
            touched.crowded.insert(name);
        }
        if let Some(name) = after_on {
            let worker = self.workers.entry(name.clone()).or_default();
            worker.replicas.insert(id, workload.clone());
            touch(&mut touched.workers, name.clone(), change.revision);
            touched.crowded.insert(name);
        }
    }

    fn put_worker(&mut self, name: &Name, change: &Change, effects: &mut Effects) {
        let entry = self.workers.entry(name.clone()).or_default();
        entry.stored = read(change);
        let stored = entry.stored.as_ref();
        entry.offers = stored.map_or_else(Arc::default, |held| Offers::of(&held.value).into());
        let drained = entry
            .stored
            .as_ref()
            .is_some_and(|held| held.value.drain.is_some());
        if drained {
            self.draining.insert(name.clone());
        } else {
            self.draining.remove(name);
        }
        effects.workloads.extend(entry.replicas.values().cloned());
        if entry
            .stored
            .as_ref()
            .is_some_and(|held| held.value.ready && !held.value.cordoned)
        {
            effects.workloads.extend(self.unplaced.iter().cloned());
        }
    }

    /// Sums up a worker's replicas again. Returns whether room was made.
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
            if record.occupies() {
                usage.memory = usage.memory.saturating_add(record.memory());
                usage.replicas += 1;
                if let Some(hold) = record.hold() {
                    let held = |port: &String| HeldPort {
                        port: port.clone(),
                        holder: workload.clone(),
                        hold,
                    };
                    usage.ports.extend(record.ports.iter().map(held));
                }
            }
        }
        let freed = usage.memory.reserve < worker.usage.memory.reserve
            || usage.memory.limit < worker.usage.memory.limit
            || usage.replicas < worker.usage.replicas
            || usage.ports.len() < worker.usage.ports.len()
            || usage.staying_ports() < worker.usage.staying_ports();
        worker.usage = usage;
        freed
    }

    /// Adds the changes that lead from here to a snapshot of one of the followed prefixes.
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

    /// Returns the keys of a prefix that are held, with their revisions.
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
            keys::ARTIFACTS => self
                .uncompilable
                .iter()
                .map(|(digest, held)| (keys::artifact(*digest), held.revision))
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

// === impl Usage ===

impl Usage {
    /// Counts the ports that are not about to be released.
    fn staying_ports(&self) -> usize {
        let stays = |held: &&HeldPort| held.hold == Hold::Stays;
        self.ports.iter().filter(stays).count()
    }
}

/// Reads the spec of a stored workload. One that this version cannot read is reported.
pub fn parse_spec(workload: &v1::Workload) -> Option<Arc<WorkloadSpec>> {
    let spec = WorkloadSpec::from_proto(workload.spec.as_ref()?);
    let spec = spec.inspect_err(|error| {
        let (namespace, name) = (&workload.namespace, &workload.name);
        tracing::error!(namespace, name, %error, "the stored spec of a workload is not valid");
    });
    spec.ok().map(Arc::new)
}

/// Whether a replica may gain when a worker does.
fn waits(record: &ReplicaRecord) -> bool {
    let scheduled = condition(&record.replica.conditions, condition::SCHEDULED);
    record.replica.worker.is_empty()
        || (record.phase() == Phase::Failed
            && scheduled.is_some_and(|held| held.status() == Status::False))
}

pub(super) fn touch<K: Ord>(touched: &mut BTreeMap<K, Revision>, key: K, revision: Revision) {
    let newest = touched.entry(key).or_insert(revision);
    *newest = revision.max(*newest);
}

/// Checks that everything under a followed prefix can be read.
pub(super) fn check(prefix: &str, snapshot: &Snapshot) -> Result<(), StoreError> {
    for (key, held) in &snapshot.entries {
        let (value, revision) = (&held.value, held.revision);
        match prefix {
            keys::WORKLOADS => decode::<v1::Workload>(key, value, revision).map(drop)?,
            keys::REPLICAS => decode::<ReplicaRecord>(key, value, revision).map(drop)?,
            // Without artifacts everything still works, except that it is not known what does not
            // compile.
            keys::ARTIFACTS => continue,
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

/// Returns the value that a change wrote. One that cannot be read is reported and treated as
/// absent: it must not stop the rest of the fleet.
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
