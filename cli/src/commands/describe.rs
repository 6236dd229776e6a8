//! `warren describe`: explains one object.

mod artifact;
mod hints;
mod replica;
mod spec;
mod text;
mod worker;
mod workload;

use std::time::SystemTime;

use tonic::Status;
use warren_proto::v1;

use self::text::Text;
use super::{
    connect, events,
    get::find::{self, DigestPrefix},
};
use crate::{
    args::{global::Global, value},
    client::{
        Server,
        requests::{Scope, Selector},
    },
    output,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show what should run, what runs, why the rest does not, how to reach it, and recent events
    #[command(visible_alias = "workloads", alias = "wl")]
    Workload {
        /// Name of the workload
        #[arg(value_parser = value::name)]
        name: String,
    },
    /// Show the state of a replica and how its service last ended
    #[command(visible_alias = "replicas", aliases = ["rs", "rep"])]
    Replica {
        /// Id or its beginning, or the name of a workload with a single replica
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Show the capacity of a worker and the replicas that it runs
    #[command(visible_alias = "workers", alias = "wk")]
    Worker {
        /// Name of the worker
        #[arg(value_parser = value::name)]
        name: String,
    },
    /// Show what a stored component is and which workloads use it
    #[command(visible_alias = "artifacts", alias = "art")]
    Artifact {
        /// Digest or its beginning
        #[arg(value_name = "DIGEST")]
        digest: DigestPrefix,
    },
}

/// Older events are shown by `warren events`.
const RECENT_EVENTS: usize = 15;

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let namespace = global.namespace()?;
    let server = connect(global).await?;
    let mut text = Text::new(SystemTime::now(), output::stdout_style());
    match args.what {
        What::Workload { name } => {
            let view = workload::look(&server, &namespace, &name).await?;
            workload::describe(&mut text, &view);
        }
        What::Replica { id } => {
            let view = replica::look(&server, &namespace, &id).await?;
            replica::describe(&mut text, &view);
        }
        What::Worker { name } => {
            let worker = server.get_worker(&name).await?;
            let mut replicas = server.select_replicas(&Scope::workload("*", "")).await?;
            replicas.retain(|replica| replica.worker == name);
            let events = recent(&server, "*", "", &format!("worker/{name}")).await?;
            worker::describe(&mut text, &worker, &replicas, &events);
        }
        What::Artifact { digest } => {
            let artifact = find::artifact(&server, &digest).await?;
            let everywhere = Scope {
                namespace: "*".to_owned(),
                ..Scope::default()
            };
            let workloads = server.select_workloads(&everywhere).await?;
            artifact::describe(&mut text, &artifact, &workloads);
        }
    }
    output::write(text.into_shown())
}

/// Returns the last events of a workload, or of one object.
async fn recent(
    server: &Server,
    namespace: &str,
    workload: &str,
    object: &str,
) -> Result<Vec<v1::Event>, Status> {
    let request = v1::EventsRequest {
        namespace: namespace.to_owned(),
        name: workload.to_owned(),
        ..Default::default()
    };
    let mut events = events::list(server, request).await?;
    events.retain(|event| object.is_empty() || event.object == object);
    Ok(events.split_off(events.len().saturating_sub(RECENT_EVENTS)))
}

async fn workers(server: &Server) -> Result<Vec<v1::Worker>, Status> {
    server.select_workers(&Selector::default()).await
}
