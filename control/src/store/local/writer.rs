//! The writer, which owns the disk.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    super::{Change, Durability, Op, Revision, StoreError, Versioned, Write},
    Batch, Disk, Seal, Shared,
    group::Group,
};
use crate::clock;

/// The bounds of one group: commits or bytes beyond them wait for the next flush.
const GROUP_COMMITS: usize = 1024;
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// The least time between two attempts to open the disk again.
const REOPEN_INTERVAL: Duration = Duration::from_millis(500);

/// A request from the store to its writer.
pub(super) enum Command {
    Commit(Commit),
    Close { done: oneshot::Sender<()> },
}

pub(super) struct Commit {
    pub writes: Vec<Write>,
    pub durability: Durability,
    pub reply: Reply,
}

type Reply = oneshot::Sender<Result<Revision, StoreError>>;

/// Writes the commits of a store. Dropping it has the effect of a crash: nothing more is written,
/// and commits that are not acknowledged yet fail.
pub(crate) struct Writer<D> {
    disk: D,
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Command>,
    state: DiskState,
    /// Of the committed state.
    seal: Seal,
    /// The number of the last write that was tried.
    sequence: u64,
    /// Whether the disk holds relaxed writes that are not flushed.
    unflushed: bool,
}

enum DiskState {
    Usable,
    /// Whether a call failed: the contents of the disk are unknown until it is opened again, and
    /// may differ from what is committed.
    Broken {
        /// The time before which opening is not tried.
        retry: Option<Instant>,
    },
}

/// The commits that were taken from the queue together.
#[derive(Default)]
struct Taken {
    commits: Vec<Commit>,
    bytes: usize,
    close: Option<oneshot::Sender<()>>,
}

// === impl Writer ===

impl<D: Disk> Writer<D> {
    pub(super) fn new(
        disk: D,
        shared: Arc<Shared>,
        seal: Seal,
        queue: mpsc::Receiver<Command>,
    ) -> Self {
        Self {
            disk,
            shared,
            queue,
            state: DiskState::Usable,
            seal,
            sequence: seal.sequence,
            unflushed: false,
        }
    }

    /// Until the store is closed or dropped.
    pub async fn run(mut self) {
        let mut close = None;
        while close.is_none()
            && let Some(first) = self.queue.recv().await
        {
            let mut taken = Taken::default();
            taken.add(first);
            while !taken.is_full()
                && let Ok(next) = self.queue.try_recv()
            {
                taken.add(next);
            }
            self.commit(taken.commits).await;
            close = taken.close;
        }
        if self.unflushed && self.usable().await.is_ok() {
            // Only relaxed writes are lost with an error: they were never reported as durable.
            let _ = self.flush().await;
        }
        self.disk.close().await;
        self.shared.watchers.lock().close();
        // From here on all commits fail at once, including those in the queue.
        drop(self.queue);
        if let Some(done) = close {
            let _ = done.send(());
        }
    }

    async fn commit(&mut self, commits: Vec<Commit>) {
        let mut replies: Vec<(Reply, Result<Revision, StoreError>)> =
            Vec::with_capacity(commits.len());
        let usable = self.usable().await;
        let mut flush = false;

        let (mut batch, changes) = {
            let view = self.shared.view.read();
            let mut group = Group::new(&view.entries, view.history.revision());
            for commit in commits {
                let result = match &usable {
                    Ok(()) => group.add(commit.writes),
                    Err(reason) => Err(StoreError::Unavailable(reason.clone())),
                };
                flush |= result.is_ok() && commit.durability == Durability::Flushed;
                replies.push((commit.reply, result));
            }
            group.finish(self.seal)
        };

        if let Err(error) = self.store(&mut batch, flush).await {
            tracing::error!(%error, "the store cannot be written; it is opened again before the next write");
            self.state = DiskState::Broken { retry: None };
            let reason = error.to_string();
            for (reply, result) in replies {
                let _ = reply.send(result.and(Err(StoreError::Unavailable(reason.clone()))));
            }
            return;
        }

        let oldest = self.apply(batch, &changes);
        for (reply, result) in replies {
            // The caller may have gone; its transaction was carried out all the same.
            let _ = reply.send(result);
        }
        if !changes.is_empty() {
            self.shared.watchers.lock().publish(&changes, oldest);
        }
    }

    /// Makes written changes visible. Returns the oldest revision that a watch can start after.
    fn apply(&self, batch: Batch, changes: &[Change]) -> Revision {
        let mut view = self.shared.view.write();
        for (key, versioned) in batch.entries {
            match versioned {
                Some(versioned) => view.entries.insert(key, versioned),
                None => view.entries.remove(&key),
            };
        }
        view.history.push(changes);
        view.history.floor()
    }

    /// Writes a batch to the disk and, with `flush`, makes everything before it durable too. The
    /// state's own seal is updated only once all of this has succeeded: after an error the state is
    /// unchanged.
    async fn store(&mut self, batch: &mut Batch, flush: bool) -> Result<(), StoreError> {
        let before = self.seal;
        let stored = async {
            if !batch.entries.is_empty() {
                self.write(batch).await?;
            }
            if flush && self.unflushed {
                self.flush().await?;
            }
            Ok(())
        };
        let stored = stored.await;
        if stored.is_err() {
            self.seal = before;
        }
        stored
    }

    async fn write(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        // This number is used up even if the write fails.
        self.sequence += 1;
        batch.seal.sequence = self.sequence;
        batch.seal.time = clock::millis(&clock::now());
        self.disk.write(batch).await?;
        self.seal = batch.seal;
        self.unflushed = true;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        self.disk.flush().await?;
        self.disk.seal(&self.seal).await?;
        self.unflushed = false;
        Ok(())
    }

    /// Opens a failed disk again. Returns the reason if it still cannot be used.
    async fn usable(&mut self) -> Result<(), String> {
        let DiskState::Broken { retry } = self.state else {
            return Ok(());
        };
        if retry.is_some_and(|retry| Instant::now() < retry) {
            return Err("it is opened again after an error".to_owned());
        }
        match self.repair().await {
            Ok(()) => {
                tracing::info!("the store can be written again");
                self.state = DiskState::Usable;
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the store cannot be opened again");
                let retry = Some(Instant::now() + REOPEN_INTERVAL);
                self.state = DiskState::Broken { retry };
                Err(error.to_string())
            }
        }
    }

    /// Restores the committed state on the disk: failed commits are undone, and lost relaxed ones
    /// are written again.
    async fn repair(&mut self) -> Result<(), StoreError> {
        let found = self.disk.open().await?.contents;
        let mut batch = Batch {
            entries: difference(&found.entries, &self.shared.view.read().entries),
            seal: self.seal,
        };
        self.write(&mut batch).await?;
        self.flush().await
    }
}

/// Returns the writes that turn `found` into `wanted`.
fn difference(
    found: &BTreeMap<String, Versioned>,
    wanted: &BTreeMap<String, Versioned>,
) -> BTreeMap<String, Option<Versioned>> {
    let surplus = found
        .keys()
        .filter(|key| !wanted.contains_key(*key))
        .map(|key| (key.clone(), None));
    let missing = wanted
        .iter()
        .filter(|(key, versioned)| found.get(*key) != Some(versioned))
        .map(|(key, versioned)| (key.clone(), Some(versioned.clone())));
    surplus.chain(missing).collect()
}

// === impl Taken ===

impl Taken {
    fn add(&mut self, command: Command) {
        match command {
            Command::Commit(commit) => {
                self.bytes += commit.writes.iter().map(size).sum::<usize>();
                self.commits.push(commit);
            }
            Command::Close { done } => self.close = Some(done),
        }
    }

    fn is_full(&self) -> bool {
        self.close.is_some() || self.commits.len() >= GROUP_COMMITS || self.bytes >= GROUP_BYTES
    }
}

fn size(write: &Write) -> usize {
    let value = match &write.op {
        Op::Put(value) => value.len(),
        Op::Delete | Op::Check => 0,
    };
    write.key.len() + value
}
