//! `warren delete`: workloads and artifacts.

use anyhow::bail;
use warren_model::digest::Digest;
use warren_proto::v1;

use super::{Wait, connect};
use crate::{
    args::{self, Global},
    client::{Server, incomplete},
    output, source, wait,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Stop the replicas of workloads and remove them
    #[command(visible_alias = "workloads")]
    Workload {
        #[arg(value_name = "NAME", required = true, value_parser = args::name)]
        names: Vec<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Remove artifacts that no workload names
    #[command(visible_alias = "artifacts")]
    Artifact {
        /// `sha256:` and 64 digits, as `warren get artifacts` prints them
        #[arg(value_name = "DIGEST", required = true, value_parser = Digest::parse)]
        digests: Vec<Digest>,
    },
}

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let server = connect(global).await?;
    match args.what {
        What::Workload { names, wait } => workloads(&server, global, &names, &wait).await,
        What::Artifact { digests } => {
            for digest in digests {
                let digest = digest.to_string();
                let request = v1::ArtifactServiceDeleteRequest {
                    digest: digest.clone(),
                };
                server.artifacts().delete(request).await?;
                output::line(format_args!("artifact/{digest} deleted"))?;
            }
            Ok(())
        }
    }
}

async fn workloads(
    server: &Server,
    global: &Global,
    names: &[String],
    wait: &Wait,
) -> anyhow::Result<()> {
    let namespace = global.namespace()?;
    let mut leaving = Vec::with_capacity(names.len());
    for name in names {
        let request = v1::DeleteRequest {
            namespace: namespace.clone(),
            name: name.clone(),
        };
        let response = server.workloads().delete(request).await?.into_inner();
        let workload = response.workload.ok_or_else(|| incomplete("workload"))?;
        let done = if wait.wait { "is stopping" } else { "deleted" };
        output::line(format_args!("{} {done}", source::title(&workload)))?;
        leaving.push(workload);
    }
    if wait.wait {
        for workload in leaving {
            let title = source::title(&workload);
            if !wait::gone(server, &workload, wait.timeout).await? {
                bail!(
                    "{title} was not gone within {}: `warren get replicas {}` shows what still stops",
                    warren_model::quantity::format_duration(wait.timeout),
                    workload.name
                );
            }
            output::line(format_args!("{title} deleted"))?;
        }
    }
    Ok(())
}
