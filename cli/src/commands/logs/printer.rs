//! Formats lines for people.

use std::time::SystemTime;

use jiff::Timestamp;
use warren_proto::v1::{self, log_line::Stream};

use crate::output::{Colour, Shown, Style, harmless};

/// How lines are formatted.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    pub style: Style,
    pub timestamps: bool,
    /// Whether to name the replica and the source of each line.
    pub prefix: bool,
    /// Whether lines are printed exactly as the guest wrote them, even if they control the
    /// terminal.
    pub raw: bool,
}

/// Follows a line that was cut off.
const CUT: &str = " … (the rest of the line was not kept)";

// === impl Printer ===

impl Printer {
    /// Formats a line with its line feed, preceded by a note about missing lines.
    pub fn text(self, line: &v1::LogLine) -> Shown {
        let mut prefix = Shown::default();
        if self.timestamps {
            prefix.push(format!("{} ", time(line)));
        }
        if self.prefix {
            let colour = Colour::of(&line.replica);
            let who = format!("{} {} |", line.replica, line.source);
            prefix.push(self.style.paint(colour, &harmless::line(&who)));
            prefix.push(" ");
        }
        let mut text = Shown::default();
        if line.dropped_before > 0 {
            let lost = match line.dropped_before {
                1 => "(1 line was not kept)".to_owned(),
                lost => format!("({lost} lines were not kept)"),
            };
            text.push(prefix.clone());
            text.push(self.style.paint(Colour::Dim, &lost).and("\n"));
        }
        text.push(prefix);
        text.push(match line.stream() {
            _ if self.raw => Shown::unchanged(&line.line),
            Stream::Stderr => self
                .style
                .paint(Colour::Yellow, &harmless::line(&line.line)),
            Stream::Stdout | Stream::Unspecified => Shown::line(&line.line),
        });
        if line.truncated {
            text.push(self.style.paint(Colour::Dim, CUT));
        }
        text.and("\n")
    }
}

/// Formats the time as in RFC 3339, with milliseconds.
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
    fn lines_have_their_source_and_what_is_missing() {
        let mut line = v1::LogLine {
            time: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 5_000_000,
            }),
            replica: "counter-abc".into(),
            source: "api".into(),
            stream: Stream::Stderr.into(),
            line: "hello".into(),
            dropped_before: 7,
            restarts: 0,
            truncated: false,
        };
        let mut printer = Printer {
            style: Style::plain(),
            timestamps: false,
            prefix: true,
            raw: false,
        };
        assert_eq!(
            printer.text(&line).as_str(),
            "counter-abc api | (7 lines were not kept)\ncounter-abc api | hello\n"
        );
        printer.prefix = false;
        printer.timestamps = true;
        let text = printer.text(&line);
        let end = "2023-11-14T22:13:20.005Z hello\n";
        assert!(text.as_str().ends_with(end), "{text:?}");

        printer.timestamps = false;
        (line.dropped_before, line.truncated) = (0, true);
        assert_eq!(
            printer.text(&line).as_str(),
            "hello … (the rest of the line was not kept)\n"
        );
    }

    #[test]
    fn escape_sequences_of_a_guest_are_printed_only_in_raw_mode() {
        let mut line = v1::LogLine {
            replica: "w-abc".into(),
            source: "service".into(),
            line: "\x1b[2Jcr\rforged".into(),
            ..Default::default()
        };
        let mut printer = Printer {
            style: Style::plain(),
            timestamps: false,
            prefix: true,
            raw: false,
        };
        for stream in [Stream::Stdout, Stream::Stderr] {
            line.set_stream(stream);
            printer.raw = false;
            let shown = "w-abc service | \\u{1b}[2Jcr\\rforged\n";
            assert_eq!(printer.text(&line).as_str(), shown);
            printer.raw = true;
            let raw = "w-abc service | \x1b[2Jcr\rforged\n";
            assert_eq!(printer.text(&line).as_str(), raw);
        }
    }
}
