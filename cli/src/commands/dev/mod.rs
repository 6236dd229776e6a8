//! `warren dev`: a whole cluster in one process, for the code on this machine.

mod cluster;
mod follow;
mod project;
mod show;
mod watch;

use std::{collections::BTreeSet, fs, net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;

use crate::{
    args::Global,
    client::Server,
    logging, output,
    process::{self, exit_now},
};

use cluster::Cluster;
use follow::Followers;
use project::Project;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Manifests, directories with a `warren.yaml`, or components; none starts an empty cluster
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where clients connect; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = warren_control::DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// Where HTTP is answered for every route; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = warren_worker::DEFAULT_HTTP)]
    http: SocketAddr,
    /// Where the cluster's state is kept [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Let workloads reach this machine's own 127.0.0.1, where their egress names host.warren.internal
    #[arg(long)]
    allow_host_loopback: bool,
}

/// Runs until a signal. What is wrong with the paths given is found before anything starts.
pub async fn run(args: Args, global: Global) -> anyhow::Result<()> {
    logging::start(logging::DEV)?;
    if !args.listen.ip().to_canonical().is_loopback() {
        bail!(
            "`warren dev` is for this machine alone: --listen takes a loopback address such as \
             127.0.0.1:{}; `warren control` serves a network",
            args.listen.port()
        );
    }
    let projects = read(&args.paths, &global)?;

    let temporary = match args.data {
        Some(_) => None,
        None => Some(
            tempfile::Builder::new()
                .prefix("warren-dev-")
                .tempdir()
                .context("cannot make a temporary directory: say where with --data")?,
        ),
    };
    let left_behind = temporary.as_ref().map(|dir| dir.path().to_path_buf());
    let stop = process::on_signals(
        || output::note("stopping (again to stop at once)"),
        move || {
            // The process ends here in any case.
            let _ = left_behind.map(fs::remove_dir_all);
            exit_now();
        },
    )?;

    let options = cluster::Options {
        listen: args.listen,
        http: args.http,
        data: args
            .data
            .or_else(|| temporary.as_ref().map(|dir| dir.path().to_path_buf()))
            .unwrap_or_default(),
        allow_host_loopback: args.allow_host_loopback,
    };
    let mut cluster = tokio::select! {
        cluster = Cluster::start(options) => cluster?,
        () = stop.cancelled() => return Ok(()),
    };
    let result = tokio::select! {
        result = work(cluster.server.clone(), cluster.http, projects) => result,
        result = cluster.ended() => result,
        () = stop.cancelled() => Ok(()),
    };
    let stopped = cluster.stop().await;
    result.and(stopped)
}

/// Reads every path, and refuses what stands twice.
fn read(paths: &[PathBuf], global: &Global) -> anyhow::Result<Vec<Project>> {
    let mut projects = Vec::with_capacity(paths.len());
    let mut titles = BTreeSet::new();
    for path in paths {
        let project = Project::read(path, global)?;
        for title in project.titles() {
            if !titles.insert(title.clone()) {
                bail!("{title} stands twice in what was given: names are unique in a namespace");
            }
        }
        projects.push(project);
    }
    Ok(projects)
}

/// Deploys, then shows what happens and redeploys what changes, for as long as it is polled.
async fn work(server: Server, http: SocketAddr, projects: Vec<Project>) -> anyhow::Result<()> {
    output::line(format_args!(
        "control plane at {}, HTTP at http://{}",
        server.url,
        process::reachable(http)
    ))?;
    let followers = Followers::new(server.clone());
    let mut tending = JoinSet::new();
    tending.spawn(follow::warnings(server.clone()));
    for project in projects {
        let (deployed, files) = project
            .deploy(server.clone(), http, followers.clone())
            .await?;
        tending.spawn(deployed.tend(files));
    }
    // Each of them goes on until something fails that no change of a file can mend.
    while let Some(ended) = tending.join_next().await {
        ended.context("a part of `warren dev` broke")??;
    }
    Ok(())
}
