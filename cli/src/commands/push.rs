//! `warren push`: stores a component.

use std::path::PathBuf;

use anyhow::Context as _;
use warren_proto::v1;

use super::connect;
use crate::{args::global::Global, output, output::Format, push};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// File of the component
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// Print the stored artifact instead of its digest
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let server = connect(global).await?;
    let pushed = push::push(&server, &args.file)
        .await
        .with_context(|| format!("cannot push {}", args.file.display()))?;
    if let Some(format) = args.output {
        return output::value(&output::to_value(&pushed.artifact)?, format);
    }
    output::note(format_args!(
        "{} {} ({}{})",
        args.file.display(),
        if pushed.existed {
            "was there already"
        } else {
            "pushed"
        },
        output::bytes(pushed.artifact.size_bytes),
        match uses(&pushed.artifact) {
            uses if uses.is_empty() => String::new(),
            uses => format!(", {uses}"),
        },
    ));
    output::line(&pushed.artifact.digest)
}

/// Formats the possible uses for tables.
pub fn uses(artifact: &v1::Artifact) -> String {
    let names: Vec<&str> = artifact.uses().map(|one| one.as_str_name()).collect();
    names.join(",")
}
