//! `warren logs`: prints the output of guests.
//!
//! The lines of several replicas are merged by the timestamps of their workers. Lines that exist
//! when the command starts are merged completely. With `--follow`, a line then waits a moment for
//! earlier lines of other replicas. If the clocks of two workers differ, their lines are ordered by
//! those clocks.

mod choose;
mod merge;
mod printer;
mod read;

use std::time::Duration;

use anyhow::bail;
use futures::StreamExt as _;
use tokio::time::{self, Instant};
use tonic::Code;
use warren_proto::v1;

use super::connect;
use crate::{
    args::{global::Global, value},
    client::Server,
    output::{self, Format, Shown},
    source,
};

use merge::Merge;
pub use {
    printer::Printer,
    read::{Read, read},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the workload
    #[arg(value_parser = value::name)]
    name: String,
    /// Keep printing lines as they are written, including those of new replicas
    #[arg(short, long)]
    follow: bool,
    /// Only the last N lines of each replica; by default all that are kept
    #[arg(long, value_name = "N", value_parser = value::number(0..=u32::MAX), allow_negative_numbers = true)]
    tail: Option<u32>,
    /// Only lines within this time, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    since: Option<Duration>,
    /// Only one replica; the beginning of its id is enough
    #[arg(long, value_name = "ID")]
    replica: Option<String>,
    /// Only one source: `service`, or the name of a component
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Lines from before the last restart of the service, back to the restart before that
    #[arg(short, long, conflicts_with = "follow")]
    previous: bool,
    /// Print the time of each line, in UTC
    #[arg(short, long, conflicts_with = "output")]
    timestamps: bool,
    /// Print lines exactly as they were written; on a terminal, they may then control it
    #[arg(long, conflicts_with = "output")]
    raw: bool,
    /// Print one object per line instead of text
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// How lines are printed.
enum Printing {
    Text(Printer),
    Data(Format),
}

/// The time that a followed line waits for earlier lines of other replicas.
const WINDOW: Duration = Duration::from_millis(100);

/// The number of bytes of waiting lines beyond which they are printed at once.
const WAITING_BYTES: usize = 64 << 20;

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let server = connect(global).await?;
    let workload = server
        .get_workload(&global.namespace()?, &args.name)
        .await?;
    let replica = match &args.replica {
        Some(wanted) => choose_replica(&server, &workload, wanted).await?,
        None => String::new(),
    };
    let printing = match args.output {
        Some(format) => Printing::Data(format),
        None => Printing::Text(Printer {
            style: output::stdout_style(),
            timestamps: args.timestamps,
            prefix: args.replica.is_none() || args.source.is_none(),
            // Another program receives exactly what the guest wrote.
            raw: args.raw || !output::is_terminal(),
        }),
    };
    let since = args.since.map(prost_types::Duration::try_from);
    let request = v1::LogsRequest {
        namespace: workload.namespace.clone(),
        name: args.name,
        follow: args.follow,
        tail: args.tail,
        replica: replica.clone(),
        source: args.source.unwrap_or_default(),
        since: since.transpose()?,
        previous: args.previous,
    };
    let printed = print(&server, request, &printing).await?;
    if args.follow {
        output::note(format_args!("{} was deleted", source::title(&workload)));
    }
    if args.previous && !printed {
        nothing_previous(&server, &workload, &replica).await?;
    }
    Ok(())
}

/// Prints lines until the end. Returns `false` if there were none.
async fn print(
    server: &Server,
    request: v1::LogsRequest,
    printing: &Printing,
) -> anyhow::Result<bool> {
    let follow = request.follow;
    let mut reading = read(server.clone(), request);
    let mut merge = Merge::default();
    let mut due = Instant::now();
    let mut printed = false;
    loop {
        let read = tokio::select! {
            read = reading.next() => read,
            () = time::sleep_until(due), if follow && !merge.is_empty() => {
                printing.print(merge.take())?;
                continue;
            }
        };
        match read {
            Some(Ok(Read::Lines(lines))) => {
                if merge.is_empty() {
                    due = Instant::now() + WINDOW;
                }
                printed = true;
                merge.push(lines);
                if merge.bytes() > WAITING_BYTES {
                    printing.print(merge.take())?;
                }
            }
            Some(Ok(Read::Broken(why))) => {
                let why = why.lines().next().unwrap_or_default();
                output::note(format_args!("{why}; trying again"));
            }
            Some(Err(status)) => {
                printing.print(merge.take())?;
                let missing = status.code() == Code::Unavailable;
                return Err(match missing {
                    true => anyhow::Error::new(status).context("some lines cannot be read"),
                    false => status.into(),
                });
            }
            None => {
                printing.print(merge.take())?;
                return Ok(printed);
            }
        }
    }
}

async fn choose_replica(
    server: &Server,
    workload: &v1::Workload,
    wanted: &str,
) -> anyhow::Result<String> {
    let (namespace, name) = (&workload.namespace, &workload.name);
    let replicas = server.list_replicas(namespace, name).await?;
    let ids: Vec<String> = replicas.into_iter().map(|replica| replica.id).collect();
    let title = source::title(workload);
    choose::replica(&title, name, &ids, wanted).map_err(anyhow::Error::msg)
}

/// Says that there are no lines of a previous run, because there was none or because none are kept.
async fn nothing_previous(
    server: &Server,
    workload: &v1::Workload,
    replica: &str,
) -> anyhow::Result<()> {
    let (namespace, name) = (&workload.namespace, &workload.name);
    let replicas = server.list_replicas(namespace, name).await?;
    let mut asked = replicas
        .iter()
        .filter(|one| replica.is_empty() || one.id == replica);
    if asked.all(|one| one.restarts == 0) {
        let what = match replica {
            "" => source::title(workload),
            id => id.to_owned(),
        };
        bail!(
            "the service of {what} has not been restarted yet: omit --previous to see the first run"
        );
    }
    output::note("no lines of the previous run are kept");
    Ok(())
}

// === impl Printing ===

impl Printing {
    fn print(&self, lines: Vec<v1::LogLine>) -> anyhow::Result<()> {
        match self {
            Self::Text(printer) => {
                let text: Shown = lines.iter().map(|line| printer.text(line)).collect();
                output::write(text)
            }
            Self::Data(format) => lines
                .iter()
                .try_for_each(|line| output::stream_item(&output::to_value(line)?, *format)),
        }
    }
}
