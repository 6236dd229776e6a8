//! A path's workloads as they run, brought up to date with each change of its files.
//!
//! Nothing that a file can contain ends `dev`: what is wrong is told, what runs goes on, and the next change is a new
//! try. The same holds for the first start.

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
    /// Where HTTP is answered.
    pub http: SocketAddr,
    pub followers: Followers,
    pub claims: Claims,
    /// Changes when a path's workloads changed: what they held may be free.
    pub released: watch::Sender<()>,
}

/// A path and what runs of it.
pub struct Deployed {
    project: Project,
    shared: Shared,
    /// What was applied last.
    applied: BTreeMap<Key, v1::Workload>,
    /// What is not known to be ready or broken yet.
    pending: Mutex<BTreeMap<Key, v1::Workload>>,
    /// What was ready last: what to go back to.
    good: Mutex<BTreeMap<Key, v1::Workload>>,
    /// What the server refused, with what was said of it.
    refused: BTreeMap<Key, String>,
    /// Whether the last word was a complaint.
    complained: AtomicBool,
}

/// A first start compiles, and a large component takes its time.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Whoever changes a file again ends this wait.
const ENDLESS: Duration = Duration::from_secs(24 * 60 * 60);

/// A workload that is no longer in its manifest has this long to stop before what replaces it is applied.
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

    /// Deploys it, waits for what was applied, says how it went, and does so anew at each change of a file.
    /// Fails only when stdout or the control plane is gone.
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

    /// Applies what the files say now.
    async fn update(&mut self, files: &mut Files) -> anyhow::Result<()> {
        let read = self.project.read();
        // Before they are looked into: a change from here on is another change.
        files.follow(self.project.files());
        if let Err(error) = read.and_then(|()| Ok(self.project.check()?)) {
            self.complain(&error::render(&error))?;
            return self.say_what_now();
        }
        let had_complained = self.complained.swap(false, Relaxed);
        self.refused.clear();
        let documents = std::mem::take(&mut self.project.documents);
        let result = self.apply_all(&documents, had_complained).await;
        self.project.documents = documents;
        result
    }

    /// Something else changed: what was refused may be taken now.
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
            self.say_what_now()?;
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
                // A try that nobody asked for is not worth the same words again.
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
                    output::line(format_args!("{title} is as before, and goes on"))?;
                }
            }
            outcome => {
                if outcome == Outcome::Updated {
                    output::line(format_args!("{title} changed, redeploying"))?;
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

    /// First, because what takes its place may want its routes and ports.
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
            // Somebody else was faster.
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

    /// Waits until it is ready, and says how to reach it as soon as it serves: whether it goes on to do so is seen later.
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

    /// Goes on with the version before, or waits for the only one there is.
    async fn recover(
        &self,
        key: &Key,
        workload: &v1::Workload,
        broken: &NotDone,
    ) -> anyhow::Result<()> {
        self.complain(&broken.to_string())?;
        let title = source::title(workload);
        if broken.earlier_serves {
            return output::line(format_args!("{title} goes on with the version before"));
        }
        let good = self.good().get(key).cloned();
        let Some(good) = good.filter(|good| good.spec != workload.spec) else {
            output::line(format_args!(
                "{title} has no version to go back to: waiting until it recovers or is changed"
            ))?;
            return match self.serving(workload, ENDLESS, Patience::Endless).await? {
                Ok(()) => self.announce(key, workload),
                Err(_) => Ok(()),
            };
        };
        let back = match deploy::apply(&self.shared.server, good).await {
            Ok(back) => back.workload,
            // Another may have its route by now.
            Err(status) => return self.complain(&error::render_status(&status)),
        };
        match self
            .ready(&back, START_TIMEOUT, Patience::UntilFailed)
            .await?
        {
            Ok(_) => output::line(format_args!(
                "{title} went back to the version before; waiting for the next change"
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

    fn say_what_now(&self) -> anyhow::Result<()> {
        output::line(if self.applied.is_empty() {
            "waiting for a change"
        } else {
            "what runs goes on; waiting for the next change"
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
