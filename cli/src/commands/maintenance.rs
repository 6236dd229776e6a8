//! `warren cordon`, `warren uncordon`, `warren drain`: maintenance of workers.

use anyhow::bail;
use warren_proto::v1;

use super::{Wait, connect};
use crate::{
    args::{global::Global, value},
    client::{Server, incomplete},
    error, output,
    wait::{self, Limit},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names of the workers
    #[arg(value_name = "WORKER", required = true, value_parser = value::name)]
    names: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct DrainArgs {
    /// Names of the workers; all of them are cordoned before the command waits for the first
    #[arg(value_name = "WORKER", required = true, value_parser = value::name)]
    names: Vec<String>,
    #[command(flatten)]
    wait: Wait,
}

pub async fn cordon(args: Args, global: &Global) -> anyhow::Result<()> {
    let server = connect(global).await?;
    for name in args.names {
        let request = v1::CordonRequest { name: name.clone() };
        server.workers().cordon(request).await?;
        output::line(format_args!("worker/{name} cordoned"))?;
    }
    Ok(())
}

pub async fn uncordon(args: Args, global: &Global) -> anyhow::Result<()> {
    let server = connect(global).await?;
    for name in args.names {
        let request = v1::UncordonRequest { name: name.clone() };
        server.workers().uncordon(request).await?;
        output::line(format_args!("worker/{name} uncordoned"))?;
    }
    Ok(())
}

pub async fn drain(args: DrainArgs, global: &Global) -> anyhow::Result<()> {
    let server = connect(global).await?;
    let mut draining = Vec::new();
    for name in &args.names {
        let worker = begin(&server, name).await?;
        let left = worker.drain.as_ref().map_or(0, |drain| drain.replicas);
        output::line(match left {
            0 => format!("worker/{name} drained"),
            left => format!(
                "worker/{name} is being drained: {} to move",
                output::count(left, "replica")
            ),
        })?;
        if left > 0 {
            draining.push(worker);
        }
    }
    let limit = Limit::from(args.wait.timeout);
    let mut failures = Vec::new();
    for worker in draining.iter().filter(|_| args.wait.wait) {
        match wait::drained(&server, worker, limit).await? {
            Ok(()) => output::line(format_args!("worker/{} drained", worker.name))?,
            Err(not_done) => failures.push(not_done.into()),
        }
    }
    error::all(failures)
}

async fn begin(server: &Server, name: &str) -> anyhow::Result<v1::Worker> {
    let request = v1::DrainRequest {
        name: name.to_owned(),
    };
    let response = server.workers().drain(request).await?.into_inner();
    let worker = response.worker.ok_or_else(|| incomplete("worker"))?;
    if worker.drain.is_none() {
        bail!("worker/{name} was uncordoned at the same time: it is not being drained");
    }
    Ok(worker)
}
