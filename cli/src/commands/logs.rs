//! `warren logs`: what guests wrote.

use std::time::SystemTime;

use jiff::Timestamp;
use warren_proto::v1::{self, log_line::Stream};

use super::connect;
use crate::{
    args::{self, Global},
    output::{self, Colour, Format, Style},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The workload
    #[arg(value_parser = args::name)]
    name: String,
    /// Go on with lines as they are written
    #[arg(short, long)]
    follow: bool,
    /// Only the last N lines of each replica; else all that are kept
    #[arg(long, value_name = "N")]
    tail: Option<u32>,
    /// One replica only
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    replica: String,
    /// `service`, or one component by its name
    #[arg(
        long,
        value_name = "SOURCE",
        default_value = "",
        hide_default_value = true
    )]
    source: String,
    /// When each line was written, in UTC
    #[arg(short, long, conflicts_with = "output")]
    timestamps: bool,
    /// One object a line instead of text
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// How lines are told apart.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    pub style: Style,
    pub timestamps: bool,
    /// Whether to name the replica and the source of each line.
    pub prefix: bool,
}

pub async fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let server = connect(global).await?;
    let printer = Printer {
        style: output::stdout_style(),
        timestamps: args.timestamps,
        prefix: args.replica.is_empty() || args.source.is_empty(),
    };
    let request = v1::LogsRequest {
        namespace: global.namespace()?,
        name: args.name,
        follow: args.follow,
        tail: args.tail,
        replica: args.replica,
        source: args.source,
    };
    let mut stream = server.workloads().logs(request).await?.into_inner();
    while let Some(response) = stream.message().await? {
        for line in &response.lines {
            match args.output {
                Some(format) => output::stream_item(&output::to_value(line)?, format)?,
                None => output::write(&printer.text(line))?,
            }
        }
    }
    Ok(())
}

// === impl Printer ===

impl Printer {
    /// The line with its end, and before it what was lost.
    pub fn text(self, line: &v1::LogLine) -> String {
        let mut prefix = String::new();
        if self.timestamps {
            prefix = format!("{} ", time(line));
        }
        if self.prefix {
            let colour = Colour::of(&line.replica);
            let who = format!("{} {} |", line.replica, line.source);
            prefix.push_str(&self.style.paint(colour, &who));
            prefix.push(' ');
        }
        let mut text = String::new();
        if line.dropped_before > 0 {
            let lost = format!("({} lines came too fast to be kept)", line.dropped_before);
            text = format!("{prefix}{}\n", self.style.paint(Colour::Dim, &lost));
        }
        let said = match line.stream() {
            Stream::Stderr => self.style.paint(Colour::Yellow, &line.line),
            Stream::Stdout | Stream::Unspecified => line.line.clone(),
        };
        text.push_str(&format!("{prefix}{said}\n"));
        text
    }
}

/// RFC 3339, in milliseconds.
fn time(line: &v1::LogLine) -> String {
    let time = line.time.and_then(|time| SystemTime::try_from(time).ok());
    match time.and_then(|time| Timestamp::try_from(time).ok()) {
        Some(time) => format!("{time:.3}"),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_who_wrote_them_and_what_is_missing() {
        let line = v1::LogLine {
            time: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 5_000_000,
            }),
            replica: "counter-abc".into(),
            source: "api".into(),
            stream: Stream::Stderr.into(),
            line: "hello".into(),
            dropped_before: 7,
        };
        let mut printer = Printer {
            style: Style::plain(),
            timestamps: false,
            prefix: true,
        };
        assert_eq!(
            printer.text(&line),
            "counter-abc api | (7 lines came too fast to be kept)\ncounter-abc api | hello\n"
        );
        printer.prefix = false;
        printer.timestamps = true;
        let text = printer.text(&line);
        assert!(text.ends_with("2023-11-14T22:13:20.005Z hello\n"), "{text}");
    }
}
