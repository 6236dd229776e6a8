//! `warren validate`: the server's checks, without a server.

use std::path::PathBuf;

use crate::{
    args::{global::Global, limits::ArtifactLimits},
    output,
    source::{self, Given},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Manifest, directory with a `warren.yaml`, or `-` for stdin
    #[arg(short, long = "file", value_name = "FILE", required = true, num_args = 1..)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    artifact_limits: ArtifactLimits,
}

pub fn run(args: &Args, global: &Global) -> anyhow::Result<()> {
    let Given {
        documents,
        mut problems,
    } = source::read_all(&args.files, global)?;
    problems.extend(source::check(&documents, &args.artifact_limits.limits()));
    if !problems.is_empty() {
        return Err(source::refused(problems));
    }
    for document in &documents {
        output::line(format_args!("{} is valid", document.title()))?;
    }
    Ok(())
}
