//! The one task that follows the store.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::RwLock;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::{Contents, Feed, Index, Inner, TOUCHED_BUFFER, contents, feed::Bounds};
use crate::{
    dirty::DirtySet,
    state::{State, keys},
    store::{Change, Revision, StoreError, Watch},
};

/// The prefixes of keys that the index is made from.
const PREFIXES: [&str; 4] = [
    keys::WORKLOADS,
    keys::REPLICAS,
    keys::WORKERS,
    keys::ARTIFACTS,
];

/// Follows the store into the index until it is cancelled.
pub struct IndexTask {
    index: Arc<Index>,
    state: State,
    watch: Watch,
    /// The revision at which each prefix was read: earlier changes of it are known already.
    floors: [Revision; PREFIXES.len()],
    /// The changes of revisions that are not complete yet.
    pending: Vec<Change>,
}

// === impl IndexTask ===

impl IndexTask {
    /// Reads the present state. Afterwards `run` keeps the index up to date.
    pub async fn load(
        state: State,
        dirty: Arc<DirtySet>,
    ) -> Result<(Arc<Index>, Self), StoreError> {
        let index = Arc::new(Index {
            inner: RwLock::new(Inner {
                contents: Contents::default(),
                applied: 0,
                sessions: BTreeMap::new(),
            }),
            applied: watch::Sender::new(0),
            workload_changes: Feed::starting_at(0, Bounds::default()),
            replica_changes: Feed::starting_at(0, Bounds::default()),
            worker_changes: Feed::starting_at(0, Bounds::default()),
            touched: broadcast::Sender::new(TOUCHED_BUFFER),
            dirty,
        });
        let (watch, floors) = read_present(&state, &index).await?;
        {
            // No client has seen earlier states, so none can resume from them.
            let applied = index.inner.read().applied;
            index.workload_changes.begin_at(applied);
            index.replica_changes.begin_at(applied);
            index.worker_changes.begin_at(applied);
        }
        let task = Self {
            index: index.clone(),
            state,
            watch,
            floors,
            pending: Vec::new(),
        };
        Ok((index, task))
    }

    /// Runs until cancelled or until the store is closed.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let next = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                next = self.watch.next() => next,
            };
            match next {
                Some(Ok(change)) => self.take(change),
                Some(Err(error)) => {
                    tracing::warn!(%error, "the index fell behind the store and is read anew");
                    if !self.reload(&shutdown).await {
                        return;
                    }
                }
                None => return,
            }
        }
    }

    fn take(&mut self, change: Change) {
        let (last, revision) = (change.last, change.revision);
        let floor = PREFIXES
            .iter()
            .position(|prefix| change.key.starts_with(prefix))
            .map(|prefix| self.floors[prefix]);
        if floor.is_some_and(|floor| revision > floor) {
            self.pending.push(change);
        }
        // The prefixes were read one after the other: until the revision of the last reading is
        // reached, the contents would mix two revisions.
        if last && revision >= self.floors[PREFIXES.len() - 1] {
            let changes = std::mem::take(&mut self.pending);
            let mut inner = self.index.inner.write();
            let effects = inner.contents.apply(&changes);
            let revision = revision.max(inner.applied);
            self.index.publish(&mut inner, effects, revision);
        }
    }

    /// Reads everything again until that works. Returns false when it is time to end.
    async fn reload(&mut self, shutdown: &CancellationToken) -> bool {
        self.pending.clear();
        loop {
            match read_present(&self.state, &self.index).await {
                Ok((watch, floors)) => {
                    (self.watch, self.floors) = (watch, floors);
                    return true;
                }
                Err(error) => tracing::error!(%error, "the index cannot read the store"),
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return false,
                () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
            }
        }
    }
}

/// Brings the index to the store's present state, as if by one transaction, and opens a watch from
/// there.
async fn read_present(
    state: &State,
    index: &Index,
) -> Result<(Watch, [Revision; PREFIXES.len()]), StoreError> {
    let mut snapshots = Vec::with_capacity(PREFIXES.len());
    for prefix in PREFIXES {
        snapshots.push(state.list(prefix).await?);
    }
    // A workload that could not be read would look like a deleted one, and its replicas would be
    // stopped.
    for (prefix, snapshot) in PREFIXES.iter().zip(&snapshots) {
        contents::check(prefix, snapshot)?;
    }
    let floors = std::array::from_fn(|prefix| snapshots[prefix].revision);
    let watch = state.watch_all(floors[0])?;

    let mut inner = index.inner.write();
    let mut changes = Vec::new();
    for (prefix, snapshot) in PREFIXES.iter().zip(&snapshots) {
        inner.contents.difference(prefix, snapshot, &mut changes);
    }
    let effects = inner.contents.apply(&changes);
    let revision = floors[PREFIXES.len() - 1].max(inner.applied);
    index.publish(&mut inner, effects, revision);
    Ok((watch, floors))
}
