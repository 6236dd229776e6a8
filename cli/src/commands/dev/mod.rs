//! `warren dev`: a whole cluster in one process, for development on this machine.

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
    args::{global::Global, limits, value},
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
    /// Manifests, directories with a `warren.yaml`, or component files, which together form one
    /// workload [default: ./warren.yaml if it exists, else an empty cluster]
    ///
    /// The files and the components that they name are watched. An error in a file is reported,
    /// also at the start, and `dev` waits for a change; running workloads continue. If a new
    /// version of a service does not start, the previous one is restored.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Address for clients; port 0 takes any free port
    #[arg(long, value_name = "ADDR", value_parser = value::address, default_value = warren_control::DEFAULT_LISTEN)]
    listen: SocketAddr,
    /// Address that serves HTTP for every route; port 0 takes any free port
    #[arg(long, value_name = "ADDR", value_parser = value::address, default_value = warren_worker::DEFAULT_HTTP)]
    http: SocketAddr,
    /// Directory for the state of the cluster [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Directory that workloads may mount by its name, with `:ro` read-only; may be repeated
    #[arg(long = "volume", value_name = "NAME=PATH[:ro]", value_parser = value::volume)]
    volumes: Vec<HostVolume>,
    /// Let workloads reach this machine's own 127.0.0.1 if their egress names host.warren.internal
    #[arg(long)]
    allow_host_loopback: bool,
    #[command(flatten)]
    artifact_limits: limits::ArtifactLimits,
    /// Address or network of a proxy in front of --http whose X-Forwarded-* and Forwarded fields
    /// are trusted; may be repeated [default: none, the fields are replaced]
    #[arg(long = "trusted-proxy", value_name = "CIDR")]
    trusted_proxies: Vec<Cidr>,
    /// Address, with or without ports, where workloads may publish, such as 127.0.0.1 or
    /// 0.0.0.0:30000-30999; may be repeated [default: everywhere except Warren's own ports]
    #[arg(long, value_name = "ADDR[:PORT-PORT]")]
    publish_allow: Vec<PublishRule>,
}

/// The manifest that is deployed if no path is given.
const MANIFEST: &str = "warren.yaml";

/// Runs until a signal. A path that does not exist is a usage error; an error in a file is reported
/// and waits for a change.
pub async fn run(args: Args, global: Global) -> anyhow::Result<()> {
    logging::start(logging::DEV)?;
    if !args.listen.ip().to_canonical().is_loopback() {
        bail!(
            "`warren dev` is only for this machine: --listen takes a loopback address such as \
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
            "no path was given and there is no ./{MANIFEST}: the cluster is empty; deploy with `warren apply -f FILE`"
        ));
    }

    // The signal handler is installed before the directory is created, so that no signal leaves it
    // behind.
    let temporary = Temporary::default();
    let left_behind = temporary.clone();
    let stop = process::on_signals(
        || output::note("stopping (interrupt again to stop at once)"),
        move || {
            left_behind.remove();
            exit_now();
        },
    )?;
    let is_temporary = args.data.is_none();
    let data = match args.data {
        Some(data) => data,
        None => temporary
            .make("warren-dev-")
            .context("cannot create a temporary directory: name a data directory with --data")?,
    };
    let options = cluster::Options {
        listen: args.listen,
        http: args.http,
        data,
        temporary: is_temporary,
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

/// Runs the cluster. Everything that it started has stopped when it returns.
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

/// Deploys the projects, then shows events and redeploys changes for as long as it is polled.
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
    // Each of them runs until an error that no change of a file can fix.
    while let Some(ended) = tending.join_next().await {
        ended.context("a part of `warren dev` panicked")??;
    }
    Ok(())
}
