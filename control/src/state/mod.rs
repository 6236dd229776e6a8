//! The control plane's state as typed objects over the store's keys.

pub mod claims;
pub mod exits;
pub mod keys;
pub mod records;
pub mod rollout;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use warren_model::{
    ambient,
    digest::Digest,
    name::{Name, WorkloadId},
    route::Route,
};
use warren_proto::v1;

use crate::store::{Durability, Precondition, Revision, Snapshot, Store, StoreError, Watch, Write};
use records::ReplicaRecord;

/// A value and the revision that wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<T> {
    pub value: T,
    pub revision: Revision,
}

/// Typed reads and writes. Cheap to clone.
#[derive(Clone)]
pub struct State {
    store: Arc<dyn Store>,
}

/// Writes that happen together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    writes: Vec<Write>,
}

/// The distance above the last known term and fence that is safe when the state lost some of them.
pub const TERMS_PER_LOSS: u64 = 1 << 20;

/// How often a read-modify-write is tried against the writes of others before it fails.
const MAX_ATTEMPTS: u32 = 32;

// === impl State ===

impl State {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    pub async fn workload(
        &self,
        id: &WorkloadId,
    ) -> Result<Option<Stored<v1::Workload>>, StoreError> {
        self.get(&keys::workload(id)).await
    }

    pub async fn artifact(
        &self,
        digest: Digest,
    ) -> Result<Option<Stored<v1::Artifact>>, StoreError> {
        self.get(&keys::artifact(digest)).await
    }

    /// Returns every artifact, by digest.
    pub async fn artifacts(&self) -> Result<Vec<Stored<v1::Artifact>>, StoreError> {
        let snapshot = self.store.list(keys::ARTIFACTS).await?;
        snapshot
            .entries
            .iter()
            .map(|(key, held)| decode(key, &held.value, held.revision))
            .collect()
    }

    /// Returns the workload that holds a route.
    pub async fn route_holder(&self, route: &Route) -> Result<Option<WorkloadId>, StoreError> {
        let key = keys::route(route);
        let Some(held) = self.store.get(&key).await? else {
            return Ok(None);
        };
        std::str::from_utf8(&held.value)
            .ok()
            .and_then(keys::parse_id)
            .map(Some)
            .ok_or_else(|| StoreError::Corrupt(format!("`{key}` does not name a workload")))
    }

    /// Returns a workload as it was at one of its revisions; `None` when that is no longer kept.
    pub async fn revision(
        &self,
        id: &WorkloadId,
        revision: u32,
    ) -> Result<Option<v1::Workload>, StoreError> {
        Ok(self
            .get(&keys::revision(id, revision))
            .await?
            .map(|held| held.value))
    }

    /// Returns a workload as it was at each of its kept revisions, oldest first.
    pub async fn snapshots(&self, id: &WorkloadId) -> Result<Vec<v1::Workload>, StoreError> {
        let snapshot = self.store.list(&keys::revisions(id)).await?;
        let snapshots = snapshot
            .entries
            .iter()
            .map(|(key, held)| decode(key, &held.value, held.revision).map(|stored| stored.value));
        snapshots.collect()
    }

    /// Returns the numbers of the kept revisions, oldest first.
    pub async fn revisions(&self, id: &WorkloadId) -> Result<Vec<u32>, StoreError> {
        let snapshot = self.store.list(&keys::revisions(id)).await?;
        Ok(snapshot
            .entries
            .iter()
            .filter_map(|(key, _)| keys::parse_revision(key))
            .collect())
    }

    /// Returns the store's identity, and makes one where it has none: `known`, if it had one that
    /// was lost.
    pub async fn cluster_id(&self, known: Option<String>) -> Result<String, StoreError> {
        let id = known.unwrap_or_else(|| ambient::uuid_by_time().to_string());
        let write = Write::put(keys::CLUSTER_ID, id.clone()).when(Precondition::Absent);
        match self.store.commit(vec![write], Durability::Flushed).await {
            Ok(_) => return Ok(id),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
        let held = self.store.get(keys::CLUSTER_ID).await?;
        let id = held.and_then(|held| String::from_utf8(held.value.to_vec()).ok());
        id.ok_or_else(|| StoreError::Corrupt(format!("`{}` is not text", keys::CLUSTER_ID)))
    }

    /// Removes a worker that is still as it was read; `None` where it is not.
    pub async fn remove_worker(
        &self,
        name: &Name,
        read: Revision,
    ) -> Result<Option<Revision>, StoreError> {
        let mut transaction = Transaction::default();
        transaction.remove(keys::worker(name), read);
        match self.commit(transaction, Durability::Flushed).await {
            Ok(revision) => Ok(Some(revision)),
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns a worker as it is stored.
    pub async fn worker(&self, name: &Name) -> Result<Option<Stored<v1::Worker>>, StoreError> {
        self.get(&keys::worker(name)).await
    }

    /// Starts a new term: a number that no control plane over this store has had before, `above`
    /// higher than the last.
    pub async fn begin_term(&self, above: u64) -> Result<u64, StoreError> {
        self.count(keys::TERM, above).await
    }

    /// Returns a number for assignments of exclusive services, at least `above` greater than all
    /// before. It is on the disk when it is returned.
    pub async fn next_fence(&self, above: u64) -> Result<u64, StoreError> {
        self.count(keys::FENCE, above).await
    }

    /// Returns the longest worker timeout by which a worker may still count the time since its last
    /// heartbeat.
    pub async fn worker_timeout(&self) -> Result<Option<Duration>, StoreError> {
        let held = self.store.get(keys::WORKER_TIMEOUT).await?;
        let millis = held.map(|held| number(keys::WORKER_TIMEOUT, &held.value));
        Ok(millis.transpose()?.map(Duration::from_millis))
    }

    pub async fn set_worker_timeout(&self, timeout: Duration) -> Result<(), StoreError> {
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let write = Write::put(keys::WORKER_TIMEOUT, millis.to_string());
        let written = self.store.commit(vec![write], Durability::Flushed).await;
        written.map(drop)
    }

    /// Counts a stored number up by `above`, from 0, and returns it.
    async fn count(&self, key: &str, above: u64) -> Result<u64, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let held = self.store.get(key).await?;
            let before = held.as_ref().map(|held| number(key, &held.value));
            let next = before
                .transpose()?
                .unwrap_or(0)
                .checked_add(above)
                .ok_or_else(|| StoreError::Corrupt(format!("`{key}` cannot be counted up")))?;
            let unchanged = held.map_or(Precondition::Absent, |held| {
                Precondition::Revision(held.revision)
            });
            let write = Write::put(key, next.to_string()).when(unchanged);
            match self.store.commit(vec![write], Durability::Flushed).await {
                Ok(_) => return Ok(next),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict {
            key: key.to_owned(),
        })
    }

    /// Changes a worker until no other write comes between; `None` from `change` leaves it as it
    /// is. Returns the revision that wrote it, if one did.
    pub async fn update_worker(
        &self,
        name: &Name,
        durability: Durability,
        change: impl FnMut(Option<v1::Worker>) -> Option<v1::Worker> + Send,
    ) -> Result<Option<Revision>, StoreError> {
        self.update(&keys::worker(name), durability, change).await
    }

    /// Does the same for a replica.
    pub async fn update_replica(
        &self,
        workload: &WorkloadId,
        id: &str,
        durability: Durability,
        change: impl FnMut(Option<ReplicaRecord>) -> Option<ReplicaRecord> + Send,
    ) -> Result<Option<Revision>, StoreError> {
        self.update(&keys::replica(workload, id), durability, change)
            .await
    }

    /// Does the same for an artifact.
    pub async fn update_artifact(
        &self,
        digest: Digest,
        durability: Durability,
        change: impl FnMut(Option<v1::Artifact>) -> Option<v1::Artifact> + Send,
    ) -> Result<Option<Revision>, StoreError> {
        self.update(&keys::artifact(digest), durability, change)
            .await
    }

    /// Commits all of a transaction or none of it.
    pub async fn commit(
        &self,
        transaction: Transaction,
        durability: Durability,
    ) -> Result<Revision, StoreError> {
        self.store.commit(transaction.writes, durability).await
    }

    /// Returns once everything that was committed before is on the disk.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let nothing = self.store.commit(Vec::new(), Durability::Flushed);
        nothing.await.map(drop)
    }

    pub async fn list(&self, prefix: &str) -> Result<Snapshot, StoreError> {
        self.store.list(prefix).await
    }

    /// Watches every change of the store after `revision`.
    pub fn watch_all(&self, revision: Revision) -> Result<Watch, StoreError> {
        self.store.watch("", revision)
    }

    async fn get<M: Message + Default>(&self, key: &str) -> Result<Option<Stored<M>>, StoreError> {
        let held = self.store.get(key).await?;
        held.map(|held| decode(key, &held.value, held.revision))
            .transpose()
    }

    async fn update<M: Message + Default>(
        &self,
        key: &str,
        durability: Durability,
        mut change: impl FnMut(Option<M>) -> Option<M> + Send,
    ) -> Result<Option<Revision>, StoreError> {
        for _ in 0..MAX_ATTEMPTS {
            let held = self.get::<M>(key).await?;
            let (value, precondition) = match held {
                Some(held) => (Some(held.value), Precondition::Revision(held.revision)),
                None => (None, Precondition::Absent),
            };
            let Some(changed) = change(value) else {
                return Ok(None);
            };
            let write = Write::put(key, encode(&changed)).when(precondition);
            match self.store.commit(vec![write], durability).await {
                Ok(revision) => return Ok(Some(revision)),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict {
            key: key.to_owned(),
        })
    }
}

// === impl Transaction ===

impl Transaction {
    /// Writes a key that must not exist.
    pub fn create<M: Message>(&mut self, key: String, value: &M) -> &mut Self {
        self.add(Write::put(key, encode(value)).when(Precondition::Absent))
    }

    /// Writes a key that must be as it was read.
    pub fn replace<M: Message>(&mut self, key: String, value: &M, read: Revision) -> &mut Self {
        self.add(Write::put(key, encode(value)).when(Precondition::Revision(read)))
    }

    /// Writes a key, whatever is there.
    pub fn put<M: Message>(&mut self, key: String, value: &M) -> &mut Self {
        self.add(Write::put(key, encode(value)))
    }

    /// Claims a route that has no holder.
    pub fn claim(&mut self, route: &Route, holder: &WorkloadId) -> &mut Self {
        self.add(Write::put(keys::route(route), holder.to_string()).when(Precondition::Absent))
    }

    /// Deletes a key that must be as it was read.
    pub fn remove(&mut self, key: String, read: Revision) -> &mut Self {
        self.add(Write::delete(key).when(Precondition::Revision(read)))
    }

    /// Deletes a key, whatever is there.
    pub fn clear(&mut self, key: String) -> &mut Self {
        self.add(Write::delete(key))
    }

    /// Requires that a key exists, and leaves it as it is.
    pub fn require(&mut self, key: String) -> &mut Self {
        self.add(Write::check(key, Precondition::Exists))
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    fn add(&mut self, write: Write) -> &mut Self {
        self.writes.push(write);
        self
    }
}

pub(crate) fn number(key: &str, value: &[u8]) -> Result<u64, StoreError> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| StoreError::Corrupt(format!("`{key}` is no number")))
}

pub(crate) fn encode<M: Message>(value: &M) -> Bytes {
    value.encode_to_vec().into()
}

pub(crate) fn decode<M: Message + Default>(
    key: &str,
    value: &Bytes,
    revision: Revision,
) -> Result<Stored<M>, StoreError> {
    M::decode(value.clone())
        .map(|value| Stored { value, revision })
        .map_err(|error| StoreError::Corrupt(format!("`{key}`: {error}")))
}
