//! `warren backup`: the whole state of a control plane in a file.

use std::{
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use clap::error::ErrorKind;
use tempfile::NamedTempFile;
use warren_control::backup::{Body, Decoder, Header};
use warren_proto::v1;

use super::connect;
use crate::{
    args::global::Global,
    client::Server,
    output::{self, progress},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to write, or `-` for stdout
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

/// The contents of the backup.
#[derive(Default)]
struct Summary {
    header: Header,
    bytes: u64,
    /// Artifacts that could not be read, with the reason.
    missing: Vec<String>,
}

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    if args.file == Path::new("-") {
        let mut stdout = io::stdout();
        if stdout.is_terminal() {
            let message =
                "a backup cannot be written to a terminal: redirect stdout, or name a file";
            return Err(clap::Error::raw(ErrorKind::InvalidValue, message).into());
        }
        let server = connect(global).await?;
        let summary = receive(&server, "backup", &mut stdout).await?;
        stdout.flush().context("cannot write to stdout")?;
        return summary.print("stdout");
    }
    let name = args.file.display().to_string();
    if args.file.is_dir() {
        bail!("{name} is a directory: name a file in it");
    }
    if args.file.exists() && !args.force {
        bail!("{name} exists: name another file, or replace it with --force");
    }
    // Checks that the file can be created before anything is transferred.
    let parent = args.file.parent().filter(|path| *path != Path::new(""));
    let directory = parent.unwrap_or(Path::new("."));
    let about = || format!("cannot write to directory {}", directory.display());
    let mut file = NamedTempFile::new_in(directory).with_context(about)?;
    let server = connect(global).await?;
    let summary = receive(&server, &name, &mut file).await?;
    let about = || format!("cannot write {name}");
    file.as_file().sync_all().with_context(about)?;
    let kept = match args.force {
        true => file.persist(&args.file),
        false => file.persist_noclobber(&args.file),
    };
    kept.map_err(|error| error.error).with_context(about)?;
    let synced = std::fs::File::open(directory).and_then(|directory| directory.sync_all());
    synced.with_context(about)?;
    summary.print(&name)
}

/// Writes the backup as it arrives, and fails unless it arrived completely.
async fn receive(
    server: &Server,
    name: &str,
    target: &mut (impl Write + Send),
) -> anyhow::Result<Summary> {
    let begun = server.system().backup(v1::BackupRequest {}).await?;
    let mut messages = begun.into_inner();
    let mut decoder = Decoder::default();
    let mut summary = Summary::default();
    let mut bar = None;
    while let Some(message) = messages.message().await? {
        bar.get_or_insert_with(|| progress::transfer(name, message.size_bytes))
            .advance(message.chunk.len());
        summary.bytes += message.chunk.len() as u64;
        decoder.push(&message.chunk);
        while let Some(body) = decoder
            .record()
            .context("the server did not send a valid backup")?
        {
            match body {
                Body::Header(header) => summary.header = header,
                Body::ArtifactEnd(end) if !end.missing.is_empty() => {
                    summary.missing.push(end.missing);
                }
                _ => {}
            }
        }
        target
            .write_all(&message.chunk)
            .with_context(|| format!("cannot write {name}"))?;
    }
    decoder
        .finish()
        .context("the server did not send a valid backup")?;
    Ok(summary)
}

// === impl Summary ===

impl Summary {
    fn print(&self, name: &str) -> anyhow::Result<()> {
        let Header {
            workloads,
            artifacts,
            ..
        } = self.header;
        let missing = self.missing.len() as u64;
        output::note(format_args!(
            "{} and {} in {name} ({})",
            output::count(workloads, "workload"),
            output::count(artifacts.saturating_sub(missing), "artifact"),
            output::bytes(self.bytes),
        ));
        if self.missing.is_empty() {
            return Ok(());
        }
        Err(anyhow!(
            "the backup was written, but is incomplete:\n  {}",
            self.missing.join("\n  ")
        ))
    }
}
