//! Keeps what the worker last ran on disk, before it is followed. A worker that starts while the
//! control plane is away continues with it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use futures::future::pending;
use tokio::{sync::Mutex, time};
use tokio_util::sync::CancellationToken;
use warren_proto::v1;

use super::{
    files::{Directory, Files},
    saved::{Changes, Restored, Saved},
    store::Store,
    unsaved::Unsaved,
};
use crate::{
    agent::seen::Seen,
    replica::{
        Assignment,
        reports::{Change, ReplicaState, ReportBook},
    },
};

pub struct Keeper {
    store: Store,
    kept: Mutex<BTreeMap<String, Saved>>,
    /// True if the last change was written.
    works: AtomicBool,
}

/// A message that may be followed now.
pub struct Kept {
    pub message: v1::Assignments,
    /// The number of the next start of each replica that was already kept.
    pub restarts: HashMap<String, u32>,
}

/// The state that a worker knows when it starts.
#[derive(Debug, Default)]
pub struct Last {
    pub seen: Seen,
    pub replicas: Vec<Restored>,
}

// === impl Last ===

impl Last {
    /// Returns the assignments to run, and the replicas that have ended but whose end must still be
    /// reported.
    pub fn split(self) -> (Vec<Assignment>, Vec<(String, ReplicaState)>) {
        let (mut run, mut ended) = (Vec::new(), Vec::new());
        for restored in self.replicas {
            match restored {
                Restored::Run(assignment) => run.push(*assignment),
                Restored::Ended(replica, state) => ended.push((replica, *state)),
                Restored::Exclusive(replica) => {
                    tracing::info!(
                        replica,
                        "an exclusive replica starts only when a control plane assigns it"
                    );
                }
            }
        }
        (run, ended)
    }
}

// === impl Keeper ===

impl Keeper {
    /// Opens the directory, or creates it. Files that cannot be used are logged and ignored. Waits
    /// for the disk.
    pub fn open(dir: PathBuf) -> io::Result<(Arc<Self>, Last)> {
        Self::on(Directory::open(dir)?)
    }

    /// Reads the files of a directory. Waits for the disk.
    pub fn on(files: Arc<dyn Files>) -> io::Result<(Arc<Self>, Last)> {
        let (store, left) = Store::open(files)?;
        for (path, why) in &left.unreadable {
            let path = path.display();
            tracing::warn!(%path, %why, "ignoring the kept state of a replica: the control plane still has it");
        }
        let mut last = Last {
            seen: left.seen,
            replicas: Vec::new(),
        };
        for (replica, saved) in &left.replicas {
            match saved.clone().restore() {
                Ok(restored) => last.replicas.push(restored),
                Err(refused) => {
                    tracing::warn!(replica, why = %refused.why, "ignoring the kept state of a replica");
                }
            }
        }
        let keeper = Self {
            store,
            kept: Mutex::new(left.replicas.into_iter().collect()),
            works: AtomicBool::new(true),
        };
        Ok((Arc::new(keeper), last))
    }

    /// Keeps the assignments of a message, and `seen`, which is the newest. It must be awaited
    /// before the message is followed. Replicas that must stop are removed from the disk first, so
    /// that they never start again, even if the machine crashes. If the disk fails, the only loss
    /// is the start without a control plane. Without `run`, for a worker that is ending, new
    /// assignments are not kept. If the future is dropped early, only part of the change may be on
    /// disk, so it should run in a task of its own.
    pub async fn follow(self: Arc<Self>, message: v1::Assignments, seen: Seen, run: bool) -> Kept {
        let mut kept = self.kept.lock().await;
        let Changes { remove, add } = Changes::of(&message, kept.keys());
        let mut restarts = HashMap::new();
        for assignment in &message.assign {
            if let Some(saved) = kept.get(&assignment.replica) {
                restarts.insert(assignment.replica.clone(), saved.next_start());
            }
        }
        kept.retain(|replica, _| !remove.contains(replica));
        let new: Vec<(String, Saved)> = add
            .into_iter()
            .filter(|_| run)
            .map(|assignment| (assignment.replica.clone(), Saved::new(assignment)))
            .collect();
        kept.extend(new.iter().cloned());
        let known: Option<BTreeSet<String>> =
            message.complete.then(|| kept.keys().cloned().collect());
        self.change(move |store| {
            store.remove(remove.iter())?;
            if let Some(known) = known {
                store.remove_others(|replica| known.contains(replica))?;
            }
            for (replica, saved) in &new {
                store.save(replica, saved)?;
            }
            store.save_seen(&seen)
        })
        .await;
        Kept { message, restarts }
    }

    /// Keeps the progress of replicas, until `end` is cancelled.
    pub async fn watch(self: Arc<Self>, reports: ReportBook, end: CancellationToken) {
        let (mut version, mut unsaved) = (0, Unsaved::default());
        loop {
            let next = unsaved.next_at();
            let ends = tokio::select! {
                biased;
                () = reports.changed(version) => false,
                () = until(next) => false,
                () = end.cancelled() => true,
            };
            let (changes, newest) = reports.changes(version);
            version = newest;
            self.note(changes, &reports, &mut unsaved).await;
            loop {
                let some = unsaved.take(now(), ends);
                if some.is_empty() {
                    break;
                }
                self.save(some).await;
            }
            if ends {
                return;
            }
        }
    }

    async fn note(&self, changes: Vec<Change>, reports: &ReportBook, unsaved: &mut Unsaved) {
        let mut kept = self.kept.lock().await;
        for change in changes {
            let Some(saved) = kept.get_mut(&change.replica) else {
                unsaved.forget(&change.replica);
                continue;
            };
            // Transitions are not needed here.
            let report = reports.report(&change.replica, u64::MAX);
            if report.is_some_and(|(report, _)| saved.note(&report)) {
                unsaved.note(change.replica, change.ends, now());
            }
        }
    }

    /// Saves the current state of these replicas, if they are still kept.
    async fn save(&self, replicas: Vec<String>) {
        // The lock is held while they are written, so that a removed replica does not come back.
        let kept = self.kept.lock().await;
        let saved = replicas.into_iter().filter_map(|replica| {
            let saved = kept.get(&replica)?.clone();
            Some((replica, saved))
        });
        let saved: Vec<_> = saved.collect();
        self.change(move |store| {
            let mut saved = saved.iter();
            saved.try_for_each(|(replica, saved)| store.save(replica, saved))
        })
        .await;
        drop(kept);
    }

    /// Removes replicas that must not start again, because the control plane knows that they have
    /// stopped.
    pub async fn forget(&self, replicas: Vec<String>) {
        let mut kept = self.kept.lock().await;
        kept.retain(|replica, _| !replicas.contains(replica));
        self.change(move |store| store.remove(replicas.iter()))
            .await;
    }

    async fn change(&self, change: impl FnOnce(&Store) -> io::Result<()> + Send + 'static) {
        let store = self.store.clone();
        let work = Box::new(move || change(&store));
        let changed = self.store.files().run(work).await;
        let worked = self.works.swap(changed.is_ok(), Relaxed);
        if let Err(error) = changed
            && worked
        {
            tracing::warn!(
                %error,
                "cannot save what this worker runs: not all of it would start again without a control plane"
            );
        }
    }
}

async fn until(next: Option<Instant>) {
    match next {
        Some(next) => time::sleep_until(next.into()).await,
        None => pending().await,
    }
}

/// Returns the time by the runtime's clock, which a test may pause.
fn now() -> Instant {
    time::Instant::now().into_std()
}
