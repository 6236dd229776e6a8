//! `warren describe`: one thing explained in words.

mod worker;
mod workload;

use super::connect;
use crate::{
    args::{self, Global},
    output,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// What it should be, what it is, and what happened to it
    #[command(visible_alias = "workloads")]
    Workload {
        #[arg(value_parser = args::name)]
        name: String,
    },
    /// What it offers and what it runs
    #[command(visible_alias = "workers")]
    Worker {
        #[arg(value_parser = args::name)]
        name: String,
    },
}

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let server = connect(global).await?;
    let text = match args.what {
        What::Workload { name } => workload::describe(&server, &global.namespace()?, &name).await?,
        What::Worker { name } => worker::describe(&server, &name).await?,
    };
    output::write(&text)
}
