//! Lines as people read them.

use std::time::SystemTime;

use jiff::Timestamp;
use warren_proto::v1::{self, log_line::Stream};

use crate::output::{Colour, Style};

/// How lines are told apart.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    pub style: Style,
    pub timestamps: bool,
    /// Whether to name the replica and the source of each line.
    pub prefix: bool,
}

// === impl Printer ===

impl Printer {
    /// The line with its end, and before it what is missing.
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
            let lost = match line.dropped_before {
                1 => "(1 line was not kept)".to_owned(),
                lost => format!("({lost} lines were not kept)"),
            };
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
            restarts: 0,
        };
        let mut printer = Printer {
            style: Style::plain(),
            timestamps: false,
            prefix: true,
        };
        assert_eq!(
            printer.text(&line),
            "counter-abc api | (7 lines were not kept)\ncounter-abc api | hello\n"
        );
        printer.prefix = false;
        printer.timestamps = true;
        let text = printer.text(&line);
        assert!(text.ends_with("2023-11-14T22:13:20.005Z hello\n"), "{text}");
    }
}
