//! `warren delete`: deletes workloads, artifacts and workers.

use warren_proto::v1;

use super::{
    Wait, connect,
    get::find::{self, DigestPrefix},
};
use crate::{
    args::{global::Global, value},
    client::{Server, incomplete},
    error, output, source,
    wait::{self, Limit},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Stop the replicas of workloads and remove the workloads
    #[command(visible_alias = "workloads", alias = "wl")]
    Workload {
        /// Names of the workloads
        #[arg(value_name = "NAME", required = true, value_parser = value::name)]
        names: Vec<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Remove workers that are gone for good
    ///
    /// A connected worker is refused, as is one that may still run: stop it first, or drain it and
    /// then stop it. A worker that has been disconnected for a day is removed automatically.
    #[command(visible_alias = "workers", alias = "wk")]
    Worker {
        /// Names of the workers
        #[arg(value_name = "NAME", required = true, value_parser = value::name)]
        names: Vec<String>,
    },
    /// Remove artifacts that no workload names
    #[command(visible_alias = "artifacts", alias = "art")]
    Artifact {
        /// Digests or their beginnings, as `warren get artifacts` prints them
        #[arg(value_name = "DIGEST", required = true)]
        digests: Vec<DigestPrefix>,
    },
}

/// Deletes as many as possible: a failure does not prevent the other deletions.
pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let server = connect(global).await?;
    let mut failures = Vec::new();
    match args.what {
        What::Workload { names, wait } => {
            let namespace = global.namespace()?;
            let mut leaving = Vec::new();
            for name in &names {
                match workload(&server, &namespace, name, &wait).await {
                    Ok(workload) => leaving.push(workload),
                    Err(error) => failures.push(error),
                }
            }
            let limit = Limit::from(wait.timeout);
            for workload in leaving.iter().filter(|_| wait.wait) {
                failures.extend(gone(&server, workload, limit).await.err());
            }
        }
        What::Worker { names } => {
            for name in names {
                failures.extend(worker(&server, name).await.err());
            }
        }
        What::Artifact { digests } => {
            for digest in &digests {
                failures.extend(artifact(&server, digest).await.err());
            }
        }
    }
    error::all(failures)
}

async fn workload(
    server: &Server,
    namespace: &str,
    name: &str,
    wait: &Wait,
) -> anyhow::Result<v1::Workload> {
    let request = v1::DeleteRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let response = server.workloads().delete(request).await?.into_inner();
    let workload = response.workload.ok_or_else(|| incomplete("workload"))?;
    let done = if wait.wait { "is stopping" } else { "deleted" };
    output::line(format_args!("{} {done}", source::title(&workload)))?;
    Ok(workload)
}

async fn gone(server: &Server, workload: &v1::Workload, limit: Limit) -> anyhow::Result<()> {
    wait::gone(server, workload, limit).await??;
    output::line(format_args!("{} deleted", source::title(workload)))
}

async fn worker(server: &Server, name: String) -> anyhow::Result<()> {
    let request = v1::WorkerServiceDeleteRequest { name: name.clone() };
    server.workers().delete(request).await?;
    output::line(format_args!("worker/{name} deleted"))
}

async fn artifact(server: &Server, digest: &DigestPrefix) -> anyhow::Result<()> {
    let digest = find::artifact(server, digest).await?.digest;
    let request = v1::ArtifactServiceDeleteRequest {
        digest: digest.clone(),
    };
    server.artifacts().delete(request).await?;
    output::line(format_args!("artifact/{digest} deleted"))
}
