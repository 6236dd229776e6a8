//! `warren dev`: a whole cluster in one process, for the code on this machine.

mod claims;
mod cluster;
mod deployed;
mod follow;
mod project;
mod show;
mod temporary;
mod watch;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use tokio::{sync::watch as latest, task::JoinSet};
use tokio_util::sync::CancellationToken;

use warren_model::{cidr::Cidr, publish_rule::PublishRule};
use warren_worker::HostVolume;

use crate::{
    args::{self, Global},
    client::Server,
    logging, output,
    process::{self, exit_now},
};

use claims::Claims;
use cluster::Cluster;
use deployed::{Deployed, Shared};
use follow::Followers;
use project::Project;
use temporary::Temporary;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Manifests, directories with a `warren.yaml`, or components, which together are one workload
    /// [default: ./warren.yaml where there is one, else an empty cluster]
    ///
    /// Each is watched, with the components that it names. What is wrong in a file is told, also at the start, and waits
    /// for a change; what runs goes on meanwhile. A service that does not start makes way for the version before.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where clients connect; port 0 takes any free port
    #[arg(long, value_name = "ADDR", value_parser = args::address, default_value = warren_control::DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// Where HTTP is answered for every route; port 0 takes any free port
    #[arg(long, value_name = "ADDR", value_parser = args::address, default_value = warren_worker::DEFAULT_HTTP)]
    http: SocketAddr,
    /// Where the cluster's state is kept [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Directory that workloads may mount by its name, `:ro` for reading only; may be given several times
    #[arg(long = "volume", value_name = "NAME=PATH[:ro]", value_parser = args::volume)]
    volumes: Vec<HostVolume>,
    /// Let workloads reach this machine's own 127.0.0.1, where their egress names host.warren.internal
    #[arg(long)]
    allow_host_loopback: bool,
    #[command(flatten)]
    artifact_limits: args::ArtifactLimits,
    /// Proxy in front of --http, by address or network, whose X-Forwarded-* and Forwarded are kept;
    /// may be given several times [default: none, a client's own are replaced]
    #[arg(long = "trusted-proxy", value_name = "CIDR")]
    trusted_proxies: Vec<Cidr>,
    /// Where workloads may publish ports, such as 127.0.0.1 or 0.0.0.0:30000-30999; may be given
    /// several times [default: anywhere but on Warren's own ports]
    #[arg(long, value_name = "ADDR[:PORT-PORT]")]
    publish_allow: Vec<PublishRule>,
}

/// Deployed when no path is given.
const MANIFEST: &str = "warren.yaml";

/// Runs until a signal. A path that does not exist is a mistake in the command; what is wrong in its files is told, and
/// waits for a change.
pub async fn run(args: Args, global: Global) -> anyhow::Result<()> {
    logging::start(logging::DEV)?;
    if !args.listen.ip().to_canonical().is_loopback() {
        bail!(
            "`warren dev` is for this machine alone: --listen takes a loopback address such as \
             127.0.0.1:{}; `warren control` serves a network",
            args.listen.port()
        );
    }
    let mut paths = args.paths;
    if paths.is_empty() && Path::new(MANIFEST).exists() {
        paths.push(MANIFEST.into());
    }
    let limits = args.artifact_limits.limits();
    let projects = Project::open_all(&paths, &global, &limits)?;
    if projects.is_empty() {
        output::note(format_args!(
            "no path was given, and there is no ./{MANIFEST}: the cluster is empty; deploy with `warren apply -f FILE`"
        ));
    }

    // Installed before the directory is made, so that no signal leaves it behind.
    let temporary = Temporary::default();
    let left_behind = temporary.clone();
    let stop = process::on_signals(
        || output::note("stopping (again to stop at once)"),
        move || {
            left_behind.remove();
            exit_now();
        },
    )?;
    let data = match args.data {
        Some(data) => data,
        None => temporary
            .make("warren-dev-")
            .context("cannot make a temporary directory: say where with --data")?,
    };
    let options = cluster::Options {
        listen: args.listen,
        http: args.http,
        data,
        volumes: args.volumes,
        allow_host_loopback: args.allow_host_loopback,
        artifact_limits: limits,
        trusted_proxies: args.trusted_proxies,
        publish_allow: args.publish_allow,
    };
    let result = serve(options, projects, stop).await;
    temporary.remove();
    result
}

/// Everything that it started has stopped when it returns.
async fn serve(
    options: cluster::Options,
    projects: Vec<Project>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Some(mut cluster) = Cluster::start(options, &stop).await? else {
        return Ok(());
    };
    let result = tokio::select! {
        result = work(cluster.server.clone(), cluster.http, projects) => result,
        result = cluster.ended() => result,
        () = stop.cancelled() => Ok(()),
    };
    let stopped = cluster.stop().await;
    result.and(stopped)
}

/// Deploys, then shows what happens and redeploys what changes, for as long as it is polled.
async fn work(server: Server, http: SocketAddr, projects: Vec<Project>) -> anyhow::Result<()> {
    output::line(format_args!(
        "control plane at {}, HTTP at http://{}",
        server.url,
        process::reachable(http)
    ))?;
    let shared = Shared {
        followers: Followers::new(server.clone()),
        claims: Claims::default(),
        released: latest::Sender::new(()),
        server: server.clone(),
        http,
    };
    let mut tending = JoinSet::new();
    tending.spawn(follow::warnings(server));
    for project in projects {
        tending.spawn(Deployed::new(project, shared.clone()).tend());
    }
    // Each of them goes on until something fails that no change of a file can mend.
    while let Some(ended) = tending.join_next().await {
        ended.context("a part of `warren dev` broke")??;
    }
    Ok(())
}
