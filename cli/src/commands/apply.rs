//! `warren apply`: create or update workloads from manifests.

use std::path::PathBuf;

use super::{Wait, connect};
use crate::{
    args::Global,
    deploy, output,
    output::Format,
    source,
    wait::{self, Patience},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Manifest, directory with a `warren.yaml`, or `-` for stdin; components named by path are pushed
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    wait: Wait,
    /// Print the workloads as the server has them now
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let documents = source::read_all(&args.files, global)?;
    let server = connect(global).await?;
    let mut applied = Vec::with_capacity(documents.len());
    for document in &documents {
        let done = deploy::deploy(&server, document).await?;
        if args.output.is_none() {
            output::line(format_args!("{} {}", document.title(), done.verb()))?;
        }
        applied.push(done.workload);
    }
    if args.wait.wait {
        for workload in &mut applied {
            wait::ready(&server, workload, args.wait.timeout, Patience::UntilFailed).await??;
            if args.output.is_none() {
                output::line(format_args!("{} ready", source::title(workload)))?;
            } else {
                *workload = server
                    .get_workload(&workload.namespace, &workload.name)
                    .await?;
            }
        }
    }
    match (args.output, applied.as_slice()) {
        (None, _) => Ok(()),
        (Some(format), [one]) => output::value(&output::to_value(one)?, format),
        (Some(format), many) => output::value(&output::to_array(many)?, format),
    }
}
