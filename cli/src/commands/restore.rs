//! `warren restore`: turns a backup into the data directory of a control plane.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use warren_control::backup::{self, Restored};

use crate::{
    output::{self, progress},
    process,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file that `warren backup` wrote, or `-` for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Data directory of the control plane, which must not be running [default:
    /// $XDG_DATA_HOME/warren/control]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Restore even if there is a store already; it is set aside and kept
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let name = args.file.display().to_string();
    let source: Box<dyn Read> = match args.file == Path::new("-") {
        true => Box::new(io::stdin().lock()),
        false => {
            let file = File::open(&args.file);
            Box::new(file.with_context(|| format!("cannot read {name}"))?)
        }
    };
    let given = args.data.is_some();
    let data = match args.data {
        Some(data) => data,
        None => process::data_dir("control")?,
    };
    warren_control::keep_new_files_private();
    process::prepare_data(&data)?;
    let mut bar = None;
    let advance = |bytes, total| {
        bar.get_or_insert_with(|| progress::transfer(&name, total))
            .advance(bytes);
    };
    let restored = backup::restore(source, &data, args.force, advance);
    drop(bar);
    let Restored {
        time,
        workloads,
        artifacts,
        missing,
        replaced,
    } = restored.with_context(|| format!("cannot restore {name}"))?;

    let data = data.display();
    let taken = time
        .map(|time| format!(", as of {time}"))
        .unwrap_or_default();
    output::note(format_args!(
        "restored {} and {} into {data}{taken}",
        output::count(workloads, "workload"),
        output::count(artifacts, "artifact"),
    ));
    for digest in missing {
        output::note(format_args!(
            "artifact {digest} is not in the backup: push the file again with `warren push FILE`"
        ));
    }
    if let Some(replaced) = replaced {
        output::note(format_args!(
            "the previous store is in {}: delete it when you are sure",
            replaced.display()
        ));
    }
    output::note(match given {
        true => format!("start it with `warren control --data {data}`"),
        false => "start it with `warren control`".to_owned(),
    });
    Ok(())
}
