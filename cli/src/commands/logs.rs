//! `warren logs`: what guests wrote.
//!
//! Lines of several replicas are merged by the times that their workers gave them. What is there when the command
//! starts is merged whole; with `--follow` a line then waits a moment for others that were written before it. So lines
//! of two workers whose clocks differ stand in the order of their clocks.

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
    args::{self, Global},
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
    /// The workload
    #[arg(value_parser = args::name)]
    name: String,
    /// Go on with lines as they are written, those of replicas to come included
    #[arg(short, long)]
    follow: bool,
    /// Only the last N lines of each replica; else all that are kept
    #[arg(long, value_name = "N", value_parser = args::number(0..=u32::MAX), allow_negative_numbers = true)]
    tail: Option<u32>,
    /// Only what was written within this time, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    since: Option<Duration>,
    /// One replica only; the beginning of its id is enough
    #[arg(long, value_name = "ID")]
    replica: Option<String>,
    /// `service`, or one component by its name
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// What was written before the service was last started again, back to the start before
    #[arg(short, long, conflicts_with = "follow")]
    previous: bool,
    /// When each line was written, in UTC
    #[arg(short, long, conflicts_with = "output")]
    timestamps: bool,
    /// Print lines exactly as they were written, even to a terminal, which they may then control
    #[arg(long, conflicts_with = "output")]
    raw: bool,
    /// One object a line instead of text
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// How lines are printed.
enum Printing {
    Text(Printer),
    Data(Format),
}

/// How long a line that is followed waits for others that were written before it.
const WINDOW: Duration = Duration::from_millis(100);

/// Lines that wait are printed when they are more than this, in bytes.
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

/// Prints lines until they end. `false`: there were none.
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
                    true => anyhow::Error::new(status).context("not all lines can be read"),
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

/// There are no lines of a run before: because there was none, or because none of them are kept.
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
            "" => format!("no replica of {} was", source::title(workload)),
            id => format!("{id} was not"),
        };
        bail!("{what} started again yet: leave out --previous for what the first run wrote");
    }
    output::note("nothing is kept of the run before");
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
