//! The format of a line in a file, which is text so that `grep` and `tail` can read it too. Pure.
//!
//! `TIME SOURCE STREAM RUN,POSITION,NUMBER,DROPPED TEXT`, such as `2026-05-04T03:02:01.123456Z
//! service stderr 2,1042,998,0 cannot connect`. A line that was cut has `,cut` after the last
//! number; older versions skip such a line and read all others. An incomplete record that a crash
//! or a full disk has left is skipped: it lacks its line end or does not parse.

use std::{io::Write as _, sync::Arc, time::SystemTime};

use prost_types::Timestamp;

use super::line::{Line, Stream};

/// The fields of a record, without its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    time: &'a str,
    pub source: &'a str,
    pub stream: Stream,
    pub run: u32,
    pub position: u64,
    pub number: u64,
    pub dropped_before: u64,
    pub truncated: bool,
}

/// Marks a line that was cut off, after its numbers.
const CUT: &str = "cut";

/// The most bytes that a record has in addition to its text: a time, a DNS label, a word and four
/// numbers.
pub(super) const HEAD_BYTES: usize = 256;

/// Appends a line as a record. `dropped_before` is the number of lines of its source directly
/// before it that are in no file.
pub(super) fn write(out: &mut Vec<u8>, line: &Line, dropped_before: u64) {
    let stream = match line.stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    // Writing to a `Vec` cannot fail.
    let _ = write!(
        out,
        "{} {} {stream} {},{},{},{dropped_before}",
        Timestamp::from(line.time),
        line.source,
        line.run,
        line.position,
        line.number,
    );
    if line.truncated {
        out.push(b',');
        out.extend_from_slice(CUT.as_bytes());
    }
    out.push(b' ');
    let text = out.len();
    out.extend_from_slice(line.text.as_bytes());
    // A line end would end the record.
    for byte in &mut out[text..] {
        if *byte == b'\n' {
            *byte = b' ';
        }
    }
    out.push(b'\n');
}

/// Parses a record without its line end, and returns its head and its text.
pub(super) fn parse(bytes: &[u8]) -> Option<(Head<'_>, &str)> {
    let mut parts = std::str::from_utf8(bytes).ok()?.splitn(5, ' ');
    let (time, source) = (parts.next()?, parts.next()?);
    let stream = match parts.next()? {
        "stdout" => Stream::Stdout,
        "stderr" => Stream::Stderr,
        _ => return None,
    };
    let mut numbers = parts.next()?.split(',');
    let head = Head {
        time,
        source,
        stream,
        run: numbers.next()?.parse().ok()?,
        position: numbers.next()?.parse().ok()?,
        number: numbers.next()?.parse().ok()?,
        dropped_before: numbers.next()?.parse().ok()?,
        truncated: match numbers.next() {
            None => false,
            Some(CUT) => true,
            Some(_) => return None,
        },
    };
    let is_whole = numbers.next().is_none() && head.dropped_before <= head.number;
    is_whole.then_some((head, parts.next()?))
}

// === impl Head ===

impl Head<'_> {
    /// Parses the time. Returns `None` if it is invalid.
    pub fn time(&self) -> Option<SystemTime> {
        let time: Timestamp = self.time.parse().ok()?;
        SystemTime::try_from(time).ok()
    }

    pub fn line(&self, text: &str) -> Option<Line> {
        Some(Line {
            position: self.position,
            run: self.run,
            time: self.time()?,
            source: Arc::from(self.source),
            stream: self.stream,
            text: text.to_owned(),
            truncated: self.truncated,
            number: self.number,
            dropped_before: self.dropped_before,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> Line {
        Line {
            position: 1042,
            run: 2,
            time: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_777_863_721_123_456_000),
            source: "service".into(),
            stream: Stream::Stderr,
            text: text.to_owned(),
            truncated: false,
            number: 998,
            dropped_before: 0,
        }
    }

    fn written(line: &Line) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, line, 7);
        out
    }

    #[test]
    fn a_record_is_a_readable_line() {
        let text = String::from_utf8(written(&line("cannot connect"))).unwrap();
        assert_eq!(
            text,
            "2026-05-04T03:02:01.123456Z service stderr 2,1042,998,7 cannot connect\n"
        );
    }

    #[test]
    fn invalid_records_are_not_parsed() {
        let good = written(&line("x"));
        let good = good.strip_suffix(b"\n").unwrap();
        assert!(parse(good).is_some());
        // Cut off anywhere before its text.
        for cut in 0..good.len() - 1 {
            assert_eq!(parse(&good[..cut]), None, "{cut}");
        }
        for bad in [
            "t service stdlog 1,2,3,0 x",
            "t service stdout 1,2,3 x",
            "t service stdout 1,2,3,4 x",
            "t service stdout 1,2,3,0,5 x",
            "t service stdout 1,2,3,0,cut,cut x",
            "t service stdout 1,-2,3,0 x",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse(b"t service stdout 1,2,3,0 \xff"), None);
        let (head, text) = parse(b"now service stdout 1,2,3,0 x").unwrap();
        assert!(head.line(text).is_none(), "the time is invalid");
    }

    #[test]
    fn a_cut_line_is_marked_and_others_are_written_as_in_earlier_versions() {
        let mut cut = line("a lot");
        cut.truncated = true;
        let text = String::from_utf8(written(&cut)).unwrap();
        assert_eq!(
            text,
            "2026-05-04T03:02:01.123456Z service stderr 2,1042,998,7,cut a lot\n"
        );
        let (head, text) = parse(text.trim_end().as_bytes()).unwrap();
        assert!(head.line(text).unwrap().truncated);
        // As every version has written it.
        let before = b"2026-05-04T03:02:01.123456Z service stderr 2,1042,998,7 a lot";
        let (head, text) = parse(before).unwrap();
        assert!(!head.line(text).unwrap().truncated);
    }

    proptest! {
        #[test]
        fn a_line_is_read_as_it_was_written(text in ".*", nanos in 0_u64..4_000_000_000_000_000_000, truncated: bool) {
            let mut line = line(&text);
            line.truncated = truncated;
            line.time = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
            let bytes = written(&line);
            prop_assert!(bytes.len() <= text.len() + HEAD_BYTES);
            prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
            let (head, read) = parse(bytes.strip_suffix(b"\n").unwrap()).unwrap();
            let read = head.line(read).unwrap();
            prop_assert_eq!(read.text, text.replace('\n', " "));
            prop_assert_eq!((read.time, read.truncated), (line.time, truncated));
            prop_assert_eq!((read.position, read.run, read.number, read.dropped_before), (1042, 2, 998, 7));
        }
    }
}
