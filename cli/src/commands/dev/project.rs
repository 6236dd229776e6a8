//! One path given to `warren dev`, from its files to its running workloads, again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::future::try_join_all;
use warren_proto::v1;

use super::{follow::Followers, show, watch::Files};
use crate::{
    args::Global,
    client::Server,
    commands::validate,
    deploy::{self, Applied},
    error::{self, Refused},
    output::{self, Colour},
    source::{self, Document},
    wait::{self, NotReady, Patience},
};

/// What a path says should run.
pub struct Project {
    path: PathBuf,
    global: Global,
    documents: Vec<Document>,
}

/// The same, running.
pub struct Deployed {
    project: Project,
    server: Server,
    http: SocketAddr,
    followers: Followers,
    /// What was applied last, by title.
    applied: BTreeMap<String, v1::Workload>,
    /// What was ready last, by title: what to go back to.
    good: Mutex<BTreeMap<String, v1::Workload>>,
}

/// A first start compiles, and a large component takes its time.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Whoever changes a file again ends this wait.
const ENDLESS: Duration = Duration::from_secs(24 * 60 * 60);

/// A workload that is no longer in its manifest has this long to stop before what replaces it is applied.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

// === impl Project ===

impl Project {
    /// Reads a manifest, a directory with one, or a component, and checks what can be checked here.
    pub fn read(path: &Path, global: &Global) -> anyhow::Result<Self> {
        let path = source::manifest_path(path);
        let documents = if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            vec![source::read_bare(&path, global)?]
        } else {
            source::read(&path, global)?
        };
        let problems: Vec<String> = documents.iter().flat_map(validate::check).collect();
        if !problems.is_empty() {
            return Err(Refused::manifest(problems).into());
        }
        Ok(Self {
            path,
            global: global.clone(),
            documents,
        })
    }

    /// How messages name its workloads.
    pub fn titles(&self) -> impl Iterator<Item = String> {
        self.documents.iter().map(Document::title)
    }

    /// The files whose change means a new version.
    fn files(&self) -> BTreeSet<PathBuf> {
        let components = self.documents.iter().flat_map(|document| &document.files);
        let mut files: BTreeSet<PathBuf> = components.map(|file| file.path.clone()).collect();
        files.insert(self.path.clone());
        files
    }

    /// Applies it for the first time. What changes from here on is noticed.
    pub async fn deploy(
        self,
        server: Server,
        http: SocketAddr,
        followers: Followers,
    ) -> anyhow::Result<(Deployed, Files)> {
        let files = Files::new(self.files());
        let mut deployed = Deployed {
            project: self,
            server,
            http,
            followers,
            applied: BTreeMap::new(),
            good: Mutex::default(),
        };
        deployed.apply().await?;
        Ok((deployed, files))
    }
}

// === impl Deployed ===

impl Deployed {
    /// Waits for what was applied, says how it went, and does so anew at each change of a file.
    /// Fails only when stdout or the control plane is gone.
    pub async fn tend(mut self, mut files: Files) -> anyhow::Result<()> {
        let mut settled = false;
        loop {
            tokio::select! {
                result = self.settle(), if !settled => {
                    result?;
                    settled = true;
                }
                () = files.changed() => {
                    match self.reload().await {
                        Ok(()) => settled = false,
                        Err(error) if error.is::<output::Closed>() => return Err(error),
                        Err(error) => self.say_broken(&error)?,
                    }
                    files.follow(self.project.files());
                }
            }
        }
    }

    async fn reload(&mut self) -> anyhow::Result<()> {
        self.project = Project::read(&self.project.path, &self.project.global)?;
        self.apply().await
    }

    /// Applies every document, and deletes the workloads that have no document any more.
    async fn apply(&mut self) -> anyhow::Result<()> {
        let titles: BTreeSet<String> = self.project.titles().collect();
        let gone: Vec<String> = self
            .applied
            .keys()
            .filter(|title| !titles.contains(*title))
            .cloned()
            .collect();
        for title in gone {
            self.delete(&title).await?;
        }
        for document in &self.project.documents {
            let Applied { workload, outcome } = deploy::deploy(&self.server, document).await?;
            if outcome == v1::apply_response::Outcome::Updated {
                output::line(format_args!("{} changed, redeploying", document.title()))?;
            }
            self.followers.follow(&workload.namespace, &workload.name);
            self.applied.insert(document.title(), workload);
        }
        Ok(())
    }

    /// First, because what takes its place may want its routes and ports.
    async fn delete(&mut self, title: &str) -> anyhow::Result<()> {
        let Some(workload) = self.applied.remove(title) else {
            return Ok(());
        };
        self.good().remove(title);
        let request = v1::DeleteRequest {
            namespace: workload.namespace.clone(),
            name: workload.name.clone(),
        };
        self.server.workloads().delete(request).await?;
        wait::gone(&self.server, &workload, STOP_TIMEOUT).await?;
        output::line(format_args!(
            "{title} is no longer in {}: deleted",
            self.project.path.display()
        ))
    }

    /// Waits until every workload is ready or known to be broken.
    async fn settle(&self) -> anyhow::Result<()> {
        let each = self.applied.iter();
        try_join_all(each.map(|(title, workload)| self.settle_one(title, workload))).await?;
        Ok(())
    }

    async fn settle_one(&self, title: &str, workload: &v1::Workload) -> anyhow::Result<()> {
        let patience = Patience::UntilEnded;
        match wait::ready(&self.server, workload, START_TIMEOUT, patience).await? {
            Ok(replicas) => self.announce(title, workload, &replicas),
            Err(broken) => self.recover(title, workload, &broken).await,
        }
    }

    /// Goes on with the version before, or waits for the only one there is.
    async fn recover(
        &self,
        title: &str,
        workload: &v1::Workload,
        broken: &NotReady,
    ) -> anyhow::Result<()> {
        self.complain(&broken.to_string())?;
        if broken.earlier_serves {
            return output::line(format_args!("{title} goes on with the version before"));
        }
        let good = self.good().get(title).cloned();
        let Some(good) = good.filter(|good| good.spec != workload.spec) else {
            output::line(format_args!(
                "{title} is started again by its restart policy, or change it"
            ))?;
            return match wait::ready(&self.server, workload, ENDLESS, Patience::Endless).await? {
                Ok(replicas) => self.announce(title, workload, &replicas),
                Err(_) => Ok(()),
            };
        };
        let back = deploy::apply(&self.server, good).await?.workload;
        match wait::ready(&self.server, &back, START_TIMEOUT, Patience::UntilFailed).await? {
            Ok(_) => output::line(format_args!("{title} went back to the version before")),
            Err(broken) => self.complain(&broken.to_string()),
        }
    }

    fn announce(
        &self,
        title: &str,
        workload: &v1::Workload,
        replicas: &[v1::Replica],
    ) -> anyhow::Result<()> {
        self.good().insert(title.to_owned(), workload.clone());
        let mut text = output::stdout_style().paint(Colour::Bold, &format!("{title} is ready\n"));
        for way in show::ways_in(self.http, workload, replicas) {
            text.push_str(&format!("  {way}\n"));
        }
        output::write(&text)
    }

    fn say_broken(&self, error: &anyhow::Error) -> anyhow::Result<()> {
        self.complain(&error::render(error))?;
        output::line("what runs goes on; waiting for the next change")
    }

    fn complain(&self, why: &str) -> anyhow::Result<()> {
        let mark = output::stdout_style().paint(Colour::Red, "error:");
        output::line(format_args!("{mark} {why}"))
    }

    fn good(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, v1::Workload>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
