//! `warren events`: prints events.

mod read;

use futures::StreamExt as _;
use tonic::{Code, Status};
use warren_proto::v1;

use super::{AllNamespaces, connect};
use crate::{
    args::{global::Global, value},
    client::Server,
    output::{self, Colour, Columns, Format, Shown, Style, Table, age, harmless},
};

pub use read::follow;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only events of this workload and its replicas
    #[arg(value_parser = value::name, conflicts_with = "all_namespaces")]
    name: Option<String>,
    #[command(flatten)]
    all: AllNamespaces,
    /// Keep printing events as they happen; a repeated event is printed again with its count
    #[arg(short, long)]
    watch: bool,
    /// Only events within this time, such as 10m; by default all that are kept
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    since: Option<std::time::Duration>,
    /// Print as data: an array, or with --watch one object per line
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// Initial column widths for rows that arrive one after the other: the width of typical cells.
const USUAL: [&str; 5] = ["59s", "WARNING", "TooManyRestarts", "replica/", "10"];

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let server = connect(global).await?;
    let since = args
        .since
        .map(prost_types::Duration::try_from)
        .transpose()?;
    let request = v1::EventsRequest {
        namespace: args.all.or(global)?,
        name: args.name.unwrap_or_default(),
        follow: false,
        since,
    };
    if !request.name.is_empty() {
        exists(&server, &request).await?;
    }
    if args.watch {
        return watch(server, request, args.output).await;
    }
    let events = list(&server, request).await?;
    match args.output {
        Some(format) => output::value(&output::to_array(&events)?, format),
        None if events.is_empty() => {
            output::note("no events");
            Ok(())
        }
        None => output::table(&table(&events)),
    }
}

/// Fails if the name matches neither a workload nor kept events of a deleted one.
async fn exists(server: &Server, request: &v1::EventsRequest) -> Result<(), Status> {
    let unknown = match server.get_workload(&request.namespace, &request.name).await {
        Err(status) if status.code() == Code::NotFound => status,
        found => return found.map(drop),
    };
    let ever = v1::EventsRequest {
        since: None,
        ..request.clone()
    };
    if list(server, ever).await?.is_empty() {
        return Err(unknown);
    }
    Ok(())
}

/// Returns the events that are kept, oldest first, each once with its latest count.
pub async fn list(server: &Server, request: v1::EventsRequest) -> Result<Vec<v1::Event>, Status> {
    let mut stream = server.workloads().events(request).await?.into_inner();
    let mut events = Vec::new();
    while let Some(response) = stream.message().await? {
        events.extend(response.event);
    }
    Ok(events)
}

async fn watch(
    server: Server,
    request: v1::EventsRequest,
    format: Option<Format>,
) -> anyhow::Result<()> {
    let mut events = follow(server, request);
    let mut columns = Columns::default();
    if format.is_none() {
        output::write(header(&mut columns))?;
    }
    while let Some(event) = events.next().await {
        let event = event?;
        match format {
            Some(format) => output::stream_item(&output::to_value(&event)?, format)?,
            None => {
                let row = table(std::slice::from_ref(&event));
                output::write(columns.next(&row, output::terminal_width()))?;
            }
        }
    }
    Ok(())
}

/// Returns the header line, with columns wide enough for most rows that follow.
fn header(columns: &mut Columns) -> String {
    let mut usual = table(&[]);
    usual.row(USUAL.map(str::to_owned));
    let lines = columns.next(&usual, output::terminal_width());
    lines
        .lines()
        .take(1)
        .map(|line| format!("{line}\n"))
        .collect()
}

pub fn table(events: &[v1::Event]) -> Table {
    let header = ["LAST", "TYPE", "REASON", "OBJECT", "COUNT", "MESSAGE"];
    let mut table = Table::new(header).giving_way(&["TYPE", "COUNT"]).flowing();
    for event in events {
        table.row([
            age(event.time.as_ref()),
            event.r#type().as_str_name().to_owned(),
            event.reason.clone(),
            event.object.clone(),
            event.count.to_string(),
            // `describe` shows backtraces.
            event.message.lines().next().unwrap_or_default().to_owned(),
        ]);
    }
    table
}

/// Formats one event for `dev`, which prints it among the lines of guests. Further lines, such as
/// those of a backtrace, are indented.
pub fn sentence(event: &v1::Event, style: Style) -> Shown {
    let colour = match event.r#type() {
        v1::event::Type::Warning => Colour::Red,
        v1::event::Type::Normal | v1::event::Type::Unspecified => Colour::Dim,
    };
    let reason = style.paint(colour, &harmless::line(&event.reason));
    let times = match event.count {
        0 | 1 => String::new(),
        count => format!(" (x{count})"),
    };
    let message = event.message.replace('\n', "\n    ");
    Shown::line(&event.object)
        .and(" ")
        .and(reason)
        .and(format!("{times}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trapped() -> v1::Event {
        v1::Event {
            object: "replica/cache-abc".into(),
            r#type: v1::event::Type::Warning.into(),
            reason: "Exited".into(),
            message: "wasm trap: unreachable\n  0: main".into(),
            count: 3,
            ..Default::default()
        }
    }

    #[test]
    fn repeated_events_say_how_often() {
        assert_eq!(
            sentence(&trapped(), Style::plain()).as_str(),
            "replica/cache-abc Exited (x3): wasm trap: unreachable\n      0: main"
        );
        assert_eq!(
            table(&[trapped()]).to_string(),
            "LAST   TYPE      REASON   OBJECT              COUNT   MESSAGE\n\
             -      WARNING   Exited   replica/cache-abc   3       wasm trap: unreachable\n"
        );
    }

    #[test]
    fn rows_that_come_later_stand_below_the_header() {
        let mut columns = Columns::default();
        let header = header(&mut columns);
        let row = columns.next(&table(&[trapped()]), None);
        assert_eq!(header.lines().count(), 1);
        assert_eq!(header.find("REASON"), row.find("Exited"));
        assert_eq!(header.find("OBJECT"), row.find("replica/"));
    }
}
