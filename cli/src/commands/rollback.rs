//! `warren rollback`: rolls a workload back to an earlier revision.

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
    /// The revision to roll back to; by default the newest that differs from the current one
    #[arg(long, value_name = "REVISION", value_parser = value::number(1..=u32::MAX), allow_negative_numbers = true)]
    to: Option<u32>,
    #[command(flatten)]
    wait: Wait,
    /// Print the workload as stored by the server
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let server = connect(global).await?;
    let before = server
        .get_workload(&global.namespace()?, &args.name)
        .await?;
    let workload = server
        .rollback(&before, args.to.unwrap_or_default())
        .await?;
    let title = source::title(&workload);
    if args.output.is_none() {
        output::line(if workload.revision == before.revision {
            // Without `--to`, the server never picks the current revision.
            let to = args.to.unwrap_or(workload.revision);
            format!("{title} already has the spec of revision {to}")
        } else {
            let (from, now) = (workload.source_revision, workload.revision);
            format!("{title} rolled back to revision {from}, as revision {now}")
        })?;
    }
    args.wait.finish(&server, workload, args.output).await
}
