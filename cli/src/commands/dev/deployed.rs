//! The workloads of a path, updated with each change of its files.
//!
//! Nothing in a file can end `dev`: an error is reported, what runs continues, and the next change
//! is tried again. This also holds for the first start.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::anyhow;
use futures::future::try_join_all;
use tokio::sync::watch;
use tonic::Code;
use warren_proto::v1::{self, apply_response::Outcome};

use super::{
    claims::{Claims, Key},
    follow::Followers,
    project::Project,
    show,
    watch::Files,
};
use crate::{
    client::Server,
    deploy::{self, Applied},
    error,
    output::{self, Colour},
    source::{self, Document},
    wait::{self, NotDone, Patience, Progress},
};

/// What all paths of a `warren dev` share.
#[derive(Clone)]
pub struct Shared {
    pub server: Server,
    /// The address that serves HTTP.
    pub http: SocketAddr,
    pub followers: Followers,
    pub claims: Claims,
    /// Notified when the workloads of a path changed, because routes and ports that they held may
    /// be free now.
    pub released: watch::Sender<()>,
}

/// A path and its running workloads.
pub struct Deployed {
    project: Project,
    shared: Shared,
    /// The workloads that were applied last.
    applied: BTreeMap<Key, v1::Workload>,
    /// The workloads that are not yet known to be ready or broken.
    pending: Mutex<BTreeMap<Key, v1::Workload>>,
    /// The last version of each workload that was ready, for rollbacks.
    good: Mutex<BTreeMap<Key, v1::Workload>>,
    /// The workloads that the server refused, with the reason.
    refused: BTreeMap<Key, String>,
    /// Whether the last message was an error.
    complained: AtomicBool,
}

/// The first start includes compilation, which takes a while for a large component.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Effectively no limit: the next change of a file ends the wait.
const ENDLESS: Duration = Duration::from_secs(24 * 60 * 60);

/// The time that a workload which is no longer in its manifest has to stop before its replacement
/// is applied.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

// === impl Deployed ===

impl Deployed {
    pub fn new(project: Project, shared: Shared) -> Self {
        Self {
            project,
            shared,
            applied: BTreeMap::new(),
            pending: Mutex::default(),
            good: Mutex::default(),
            refused: BTreeMap::new(),
            complained: AtomicBool::new(false),
        }
    }

    /// Deploys the path, waits for the workloads, reports the result, and repeats this at each
    /// change of a file. Fails only if stdout or the control plane is gone.
    pub async fn tend(mut self) -> anyhow::Result<()> {
        let mut files = Files::new(self.project.files());
        let mut released = self.shared.released.subscribe();
        self.update(&mut files).await?;
        loop {
            let is_pending = !self.pending().is_empty();
            tokio::select! {
                settled = self.settle(), if is_pending => settled?,
                () = files.changed() => self.update(&mut files).await?,
                Ok(()) = released.changed(), if !self.refused.is_empty() => self.retry().await?,
            }
        }
    }

    /// Applies the current state of the files.
    async fn update(&mut self, files: &mut Files) -> anyhow::Result<()> {
        let read = self.project.read();
        // Followed before they are inspected, so that a later change is noticed.
        files.follow(self.project.files());
        if let Err(error) = read.and_then(|()| Ok(self.project.check()?)) {
            self.complain(&error::render(&error))?;
            return self.print_what_happens_next();
        }
        let had_complained = self.complained.swap(false, Relaxed);
        self.refused.clear();
        let documents = std::mem::take(&mut self.project.documents);
        let result = self.apply_all(&documents, had_complained).await;
        self.project.documents = documents;
        result
    }

    /// Tries refused workloads again after another path has changed.
    async fn retry(&mut self) -> anyhow::Result<()> {
        let documents = std::mem::take(&mut self.project.documents);
        let mut result = Ok(());
        for document in &documents {
            if result.is_ok() && self.refused.contains_key(&key(document)) {
                result = self.apply(document, false).await;
            }
        }
        self.project.documents = documents;
        result
    }

    /// Deletes the workloads that have no document any more, and applies every document.
    async fn apply_all(
        &mut self,
        documents: &[Document],
        had_complained: bool,
    ) -> anyhow::Result<()> {
        let gone: Vec<Key> = self
            .applied
            .keys()
            .filter(|held| documents.iter().all(|document| key(document) != **held))
            .cloned()
            .collect();
        for held in gone {
            self.delete(&held).await?;
        }
        for document in documents {
            self.apply(document, had_complained).await?;
        }
        if self.complained.load(Relaxed) {
            self.print_what_happens_next()?;
        }
        Ok(())
    }

    async fn apply(&mut self, document: &Document, had_complained: bool) -> anyhow::Result<()> {
        let key = key(document);
        let claimed = self.shared.claims.take(document, &self.project.title());
        let applied = match claimed {
            Ok(()) => deploy::deploy(&self.shared.server, document).await,
            Err(taken) => Err(anyhow!(taken)),
        };
        let Applied { workload, outcome } = match applied {
            Ok(applied) => applied,
            Err(error) => {
                let why = error::render(&error);
                // A retry that the user did not cause does not repeat the same message.
                if self.refused.get(&key) != Some(&why) {
                    self.complain(&why)?;
                    self.refused.insert(key, why);
                }
                return Ok(());
            }
        };
        let was_refused = self.refused.remove(&key).is_some();
        let title = document.title();
        let is_ready = self
            .good()
            .get(&key)
            .is_some_and(|good| good.uid == workload.uid)
            && !self.pending().contains_key(&key);
        match outcome {
            Outcome::Unchanged if is_ready => {
                if had_complained || was_refused {
                    output::line(format_args!("{title} is unchanged and keeps running"))?;
                }
            }
            outcome => {
                if outcome == Outcome::Updated {
                    output::line(format_args!("{title} changed: redeploying"))?;
                }
                self.pending().insert(key.clone(), workload.clone());
                self.shared.released.send_replace(());
            }
        }
        let followers = &self.shared.followers;
        followers.follow(&workload.namespace, &workload.name);
        self.applied.insert(key, workload);
        Ok(())
    }

    /// Deletes a workload, before others are applied that may need its routes and ports.
    async fn delete(&mut self, key: &Key) -> anyhow::Result<()> {
        let Some(workload) = self.applied.remove(key) else {
            return Ok(());
        };
        self.good().remove(key);
        self.pending().remove(key);
        let server = &self.shared.server;
        let request = v1::DeleteRequest {
            namespace: workload.namespace.clone(),
            name: workload.name.clone(),
        };
        match server.workloads().delete(request).await {
            // It has already been deleted.
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(status.into()),
            Ok(_) => {
                let gone =
                    wait::gone_showing(server, &workload, STOP_TIMEOUT, Progress::Terminal).await?;
                if let Err(not_gone) = gone {
                    self.complain(&not_gone.to_string())?;
                }
            }
        }
        self.shared.claims.give_back(key);
        self.shared.released.send_replace(());
        output::line(format_args!(
            "{} is no longer in {}: deleted",
            source::title(&workload),
            self.project.title()
        ))
    }

    /// Waits until every workload is ready or known to be broken.
    async fn settle(&self) -> anyhow::Result<()> {
        let pending = self.pending().clone();
        let each = pending.iter();
        try_join_all(each.map(|(key, workload)| self.settle_one(key, workload))).await?;
        Ok(())
    }

    async fn settle_one(&self, key: &Key, workload: &v1::Workload) -> anyhow::Result<()> {
        let patience = Patience::UntilEnded;
        match self.serving(workload, START_TIMEOUT, patience).await? {
            Ok(()) => self.announce(key, workload),
            Err(broken) => self.recover(key, workload, &broken).await,
        }?;
        self.pending().remove(key);
        Ok(())
    }

    /// Waits until the workload is ready, and prints how to reach it as soon as it serves. Whether
    /// it stays ready is observed later.
    async fn serving(
        &self,
        workload: &v1::Workload,
        timeout: Duration,
        patience: Patience,
    ) -> anyhow::Result<Result<(), NotDone>> {
        let server = &self.shared.server;
        let progress = Progress::Terminal;
        let serving = wait::serving(server, workload, timeout, patience, progress).await?;
        let replicas = match serving {
            Ok(replicas) => replicas,
            Err(broken) => return Ok(Err(broken)),
        };
        let ways = show::ways_in(self.shared.http, workload, &replicas);
        if !ways.is_empty() {
            let mut text = format!("{} serves\n", source::title(workload));
            for way in ways {
                text.push_str(&format!("  {way}\n"));
            }
            output::write(text)?;
        }
        Ok(self.ready(workload, timeout, patience).await?.map(drop))
    }

    /// Rolls back to the previous version or, if there is none, waits for the only one.
    async fn recover(
        &self,
        key: &Key,
        workload: &v1::Workload,
        broken: &NotDone,
    ) -> anyhow::Result<()> {
        self.complain(&broken.to_string())?;
        let title = source::title(workload);
        if broken.earlier_serves {
            return output::line(format_args!("{title} continues with the previous version"));
        }
        let good = self.good().get(key).cloned();
        let Some(good) = good.filter(|good| good.spec != workload.spec) else {
            output::line(format_args!(
                "{title} has no previous version: waiting until it recovers or is changed"
            ))?;
            return match self.serving(workload, ENDLESS, Patience::Endless).await? {
                Ok(()) => self.announce(key, workload),
                Err(_) => Ok(()),
            };
        };
        let back = match deploy::apply(&self.shared.server, good).await {
            Ok(back) => back.workload,
            // Another workload may hold its route by now.
            Err(status) => return self.complain(&error::render_status(&status)),
        };
        match self
            .ready(&back, START_TIMEOUT, Patience::UntilFailed)
            .await?
        {
            Ok(_) => output::line(format_args!(
                "{title} was rolled back to the previous version; waiting for the next change"
            )),
            Err(broken) => self.complain(&broken.to_string()),
        }
    }

    async fn ready(
        &self,
        workload: &v1::Workload,
        timeout: Duration,
        patience: Patience,
    ) -> Result<Result<Vec<v1::Replica>, NotDone>, tonic::Status> {
        let server = &self.shared.server;
        wait::ready_showing(server, workload, timeout, patience, Progress::Terminal).await
    }

    fn announce(&self, key: &Key, workload: &v1::Workload) -> anyhow::Result<()> {
        self.good().insert(key.clone(), workload.clone());
        let title = source::title(workload);
        output::line(output::stdout_style().paint(Colour::Bold, &format!("{title} is ready")))
    }

    fn complain(&self, why: &str) -> anyhow::Result<()> {
        self.complained.store(true, Relaxed);
        output::line(error::marked(output::stdout_style(), why))
    }

    fn print_what_happens_next(&self) -> anyhow::Result<()> {
        output::line(if self.applied.is_empty() {
            "waiting for a change"
        } else {
            "running workloads continue; waiting for the next change"
        })
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<Key, v1::Workload>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn good(&self) -> MutexGuard<'_, BTreeMap<Key, v1::Workload>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(document: &Document) -> Key {
    let (namespace, name) = document.key();
    (namespace.to_owned(), name.to_owned())
}
