//! `warren scale`: sets the number of replicas of a workload.

use super::{Wait, connect};
use crate::{
    args::{global::Global, value},
    output::{self, Format},
    source,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the workload
    #[arg(value_parser = value::name)]
    name: String,
    /// Number of replicas, 0 to 1000
    #[arg(value_parser = value::number(0..=1000), allow_negative_numbers = true)]
    replicas: u32,
    #[command(flatten)]
    wait: Wait,
    /// Print the workload as stored by the server
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let server = connect(global).await?;
    let namespace = global.namespace()?;
    let workload = server.scale(&namespace, &args.name, args.replicas).await?;
    if args.output.is_none() {
        let title = source::title(&workload);
        output::line(format_args!("{title} scaled to {}", args.replicas))?;
    }
    args.wait.finish(&server, workload, args.output).await
}
