//! `warren get`: lists, or one of them.

mod tables;

use anyhow::anyhow;
use clap::{ValueEnum, error::ErrorKind};
use prost::{Message, Name};
use tonic::Status;
use warren_model::manifest;

pub use tables::route;

use super::{AllNamespaces, connect};
use crate::{
    args::{self, Global},
    client::Server,
    output::{self, Table},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to list
    #[arg(value_enum)]
    what: What,
    /// One of them; for replicas a workload's name works too
    name: Option<String>,
    #[command(flatten)]
    all: AllNamespaces,
    /// How to print it: a table unless this is given
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    #[value(aliases = ["workload", "wl"])]
    Workloads,
    #[value(aliases = ["replica", "rs"])]
    Replicas,
    #[value(alias = "worker")]
    Workers,
    #[value(alias = "artifact")]
    Artifacts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table with more columns
    Wide,
    /// The protobuf JSON mapping; a list is an array
    Json,
    /// The same as YAML
    Yaml,
    /// What `warren apply` takes; for workloads only
    Manifest,
}

/// What was found: one by its name, or a list.
enum Found<T> {
    One(Box<T>),
    Many(Vec<T>),
}

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    if args.output == Some(Format::Manifest) && args.what != What::Workloads {
        return Err(usage(
            "only workloads have a manifest: `warren get workloads -o manifest`",
        ));
    }
    if args.name.is_some() && args.all.all_namespaces {
        return Err(usage(
            "a name is looked up in one namespace: use -n NAMESPACE instead of -A",
        ));
    }
    let server = connect(global).await?;
    let namespace = args.all.or(global)?;
    let name = args.name.as_deref();
    let everywhere = args.all.all_namespaces;
    let wide = args.output == Some(Format::Wide);
    match args.what {
        What::Workloads => {
            let found = match name {
                Some(name) => Found::one(server.get_workload(&namespace, name).await?),
                None => Found::Many(server.list_workloads(&namespace).await?),
            };
            if args.output == Some(Format::Manifest) {
                let texts: Vec<String> = found.items().iter().map(manifest::to_yaml).collect();
                return output::write(&texts.join("---\n"));
            }
            print(&found, args.output, |items| {
                tables::workloads(items, everywhere, wide)
            })
        }
        What::Replicas => {
            let found = match name {
                Some(name) => replicas_of(&server, &namespace, name).await?,
                None => Found::Many(server.list_replicas(&namespace, "").await?),
            };
            print(&found, args.output, |items| {
                tables::replicas(items, everywhere, wide)
            })
        }
        What::Workers => {
            let found = match name {
                Some(name) => Found::one(server.get_worker(name).await?),
                None => Found::Many(server.list_workers().await?),
            };
            print(&found, args.output, |items| tables::workers(items, wide))
        }
        What::Artifacts => {
            let found = match name {
                Some(digest) => Found::one(server.stat_artifact(digest).await?),
                None => Found::Many(server.list_artifacts().await?),
            };
            print(&found, args.output, |items| tables::artifacts(items, wide))
        }
    }
}

fn usage(message: &str) -> anyhow::Error {
    args::usage(ErrorKind::ArgumentConflict, message).into()
}

/// The replica of this id, or the replicas of the workload of this name.
async fn replicas_of(
    server: &Server,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Found<warren_proto::v1::Replica>> {
    let all = server.list_replicas(namespace, "").await?;
    if let Some(one) = all.iter().find(|replica| replica.id == name) {
        return Ok(Found::one(one.clone()));
    }
    // A workload may be without replicas; a name that is nothing is an error.
    match server.get_workload(namespace, name).await {
        Ok(_) => {}
        Err(status) if status.code() == tonic::Code::NotFound => {
            return Err(anyhow!(Status::not_found(format!(
                "namespace {namespace} has neither a replica nor a workload named {name}"
            ))));
        }
        Err(status) => return Err(status.into()),
    }
    let its = all.into_iter().filter(|replica| replica.workload == name);
    Ok(Found::Many(its.collect()))
}

fn print<T: Message + Name>(
    found: &Found<T>,
    format: Option<Format>,
    table: impl FnOnce(&[T]) -> Table,
) -> anyhow::Result<()> {
    let data = match format {
        Some(Format::Json) => output::Format::Json,
        Some(Format::Yaml) => output::Format::Yaml,
        None | Some(Format::Wide | Format::Manifest) => {
            let items = found.items();
            if items.is_empty() {
                output::note("none");
                return Ok(());
            }
            return output::write(&table(items).to_string());
        }
    };
    let value = match found {
        Found::One(item) => output::to_value(item.as_ref())?,
        Found::Many(items) => output::to_array(items)?,
    };
    output::value(&value, data)
}

// === impl Found ===

impl<T> Found<T> {
    fn one(item: T) -> Self {
        Self::One(Box::new(item))
    }

    fn items(&self) -> &[T] {
        match self {
            Self::One(item) => std::slice::from_ref(item),
            Self::Many(items) => items,
        }
    }
}
