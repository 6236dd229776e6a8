//! `warren events`: what happened.

use warren_proto::v1;

use super::{AllNamespaces, connect};
use crate::{
    args::{self, Global},
    client::Server,
    output::{self, Colour, Format, Style, Table, age},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// One workload, with its replicas
    #[arg(value_parser = args::name, conflicts_with = "all_namespaces")]
    name: Option<String>,
    #[command(flatten)]
    all: AllNamespaces,
    /// Go on with events as they happen
    #[arg(short, long)]
    watch: bool,
    /// Only what happened within this time, such as 10m; else all that are kept
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    since: Option<std::time::Duration>,
    /// Print as data: an array, or with --watch one object a line
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let server = connect(global).await?;
    let since = args
        .since
        .map(prost_types::Duration::try_from)
        .transpose()?;
    let request = v1::EventsRequest {
        namespace: args.all.or(global)?,
        name: args.name.unwrap_or_default(),
        follow: args.watch,
        since,
    };
    if args.watch {
        return watch(&server, request, args.output).await;
    }
    let events = list(&server, request).await?;
    match args.output {
        Some(format) => output::value(&output::to_array(&events)?, format),
        None if events.is_empty() => {
            output::note("none");
            Ok(())
        }
        None => output::write(&table(&events).to_string()),
    }
}

/// The events that are kept, oldest first, each once with its latest count.
pub async fn list(
    server: &Server,
    request: v1::EventsRequest,
) -> Result<Vec<v1::Event>, tonic::Status> {
    let mut stream = server.workloads().events(request).await?.into_inner();
    let mut events = Vec::new();
    while let Some(response) = stream.message().await? {
        events.extend(response.event);
    }
    Ok(events)
}

async fn watch(
    server: &Server,
    request: v1::EventsRequest,
    format: Option<Format>,
) -> anyhow::Result<()> {
    let style = output::stdout_style();
    let mut stream = server.workloads().events(request).await?.into_inner();
    while let Some(response) = stream.message().await? {
        let Some(event) = response.event else {
            continue;
        };
        match format {
            Some(format) => output::stream_item(&output::to_value(&event)?, format)?,
            None => output::line(sentence(&event, style))?,
        }
    }
    Ok(())
}

pub fn table(events: &[v1::Event]) -> Table {
    let mut table = Table::new(["LAST", "TYPE", "REASON", "OBJECT", "COUNT", "MESSAGE"]);
    for event in events {
        table.row([
            age(event.time.as_ref()),
            event.r#type().as_str_name().to_owned(),
            event.reason.clone(),
            event.object.clone(),
            event.count.to_string(),
            // A backtrace is for `describe`.
            event.message.lines().next().unwrap_or_default().to_owned(),
        ]);
    }
    table
}

/// One event in one line, where columns cannot be known ahead.
pub fn sentence(event: &v1::Event, style: Style) -> String {
    let colour = match event.r#type() {
        v1::event::Type::Warning => Colour::Red,
        v1::event::Type::Normal | v1::event::Type::Unspecified => Colour::Dim,
    };
    let reason = style.paint(colour, &event.reason);
    let times = match event.count {
        0 | 1 => String::new(),
        count => format!(" (x{count})"),
    };
    format!("{} {reason}{times}: {}", event.object, event.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_events_say_how_often() {
        let event = v1::Event {
            object: "replica/cache-abc".into(),
            r#type: v1::event::Type::Warning.into(),
            reason: "Trapped".into(),
            message: "wasm trap: unreachable\n  0: main".into(),
            count: 3,
            ..Default::default()
        };
        assert_eq!(
            sentence(&event, Style::plain()),
            "replica/cache-abc Trapped (x3): wasm trap: unreachable\n  0: main"
        );
        assert_eq!(
            table(&[event]).to_string(),
            "LAST   TYPE      REASON    OBJECT              COUNT   MESSAGE\n\
             -      WARNING   Trapped   replica/cache-abc   3       wasm trap: unreachable\n"
        );
    }
}
