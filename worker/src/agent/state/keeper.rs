//! What the worker last ran, on disk before it is followed: a worker that starts while the control
//! plane is away goes on with it.

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
    /// The disk took the last change.
    works: AtomicBool,
}

/// A message that may be followed now.
pub struct Kept {
    pub message: v1::Assignments,
    /// What the next start of each replica that was kept before is counted as.
    pub restarts: HashMap<String, u32>,
}

/// What a worker that starts knows.
#[derive(Debug, Default)]
pub struct Last {
    pub seen: Seen,
    pub replicas: Vec<Restored>,
}

// === impl Last ===

impl Last {
    /// Those that are to run, and those that have ended, which is still to be told.
    pub fn split(self) -> (Vec<Assignment>, Vec<(String, ReplicaState)>) {
        let (mut run, mut ended) = (Vec::new(), Vec::new());
        for restored in self.replicas {
            match restored {
                Restored::Run(assignment) => run.push(*assignment),
                Restored::Ended(replica, state) => ended.push((replica, *state)),
                Restored::Exclusive(replica) => {
                    tracing::info!(
                        replica,
                        "it is exclusive: it starts when a control plane says so"
                    );
                }
            }
        }
        (run, ended)
    }
}

// === impl Keeper ===

impl Keeper {
    /// Opens the directory, made if missing. What in it cannot be used is told and ignored. Waits
    /// for the disk.
    pub fn open(dir: PathBuf) -> io::Result<(Arc<Self>, Last)> {
        Self::on(Directory::open(dir)?)
    }

    /// Reads what is in a directory. Waits for the disk.
    pub fn on(files: Arc<dyn Files>) -> io::Result<(Arc<Self>, Last)> {
        let (store, left) = Store::open(files)?;
        for (path, why) in &left.unreadable {
            let path = path.display();
            tracing::warn!(%path, %why, "ignoring what was kept of a replica: the control plane knows it");
        }
        let mut last = Last {
            seen: left.seen,
            replicas: Vec::new(),
        };
        for (replica, saved) in &left.replicas {
            match saved.clone().restore() {
                Ok(restored) => last.replicas.push(restored),
                Err(refused) => {
                    tracing::warn!(replica, why = %refused.why, "ignoring what was kept of a replica");
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

    /// Keeps what a message of assignments says, the newest `seen`; to be awaited before it is
    /// followed. What is to stop is gone from the disk first: it must not start again, whenever the
    /// machine ends. A disk that refuses costs the start without a control plane, and nothing else.
    /// Without `run`, for a worker that ends, what is new is not kept. Dropped before its end, the
    /// disk may have it in part: let a task of its own run it.
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

    /// Keeps how far replicas came, until it is told to end.
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
            // Steps are of no interest here.
            let report = reports.report(&change.replica, u64::MAX);
            if report.is_some_and(|(report, _)| saved.note(&report)) {
                unsaved.note(change.replica, change.ends, now());
            }
        }
    }

    /// Saves these as they are now, if they are kept still.
    async fn save(&self, replicas: Vec<String>) {
        // Held meanwhile, so that what is removed does not come back.
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

    /// These do not start again: the control plane knows that they have stopped.
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
                "cannot keep what this worker runs: without a control plane it would not all start again"
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

/// By the clock of the runtime, which a test may stop.
fn now() -> Instant {
    time::Instant::now().into_std()
}
