//! The most recent lines of one replica, bounded in number, bytes and rate. Pure.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Instant, SystemTime},
};

use warren_proto::v1;

use super::{
    files::{Resumed, record_bytes},
    kept::Kept,
    line::{Line, LogLimits, Stream},
    rate::Rate,
    read::{Search, Wanted},
};

pub(super) struct Ring {
    line_bytes: usize,
    kept: Kept,
    sources: HashMap<Arc<str>, Source>,
    rate: Rate,
    closed: bool,
}

#[derive(Default)]
struct Source {
    /// The number of the next line.
    next: u64,
    /// How many lines were dropped since the last one that was kept.
    dropped: u64,
    /// The number of the first line since the source last began.
    begun: u64,
}

// === impl Stream ===

impl From<Stream> for v1::log_line::Stream {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Stdout => Self::Stdout,
            Stream::Stderr => Self::Stderr,
        }
    }
}

// === impl Ring ===

impl Ring {
    pub fn new(limits: LogLimits) -> Self {
        Self {
            line_bytes: limits.line_bytes,
            kept: Kept::new(limits),
            sources: HashMap::new(),
            rate: Rate::new(limits.lines_per_second, limits.burst),
            closed: false,
        }
    }

    /// Continues after the lines that are in files.
    pub fn resume(&mut self, at: Resumed) {
        self.kept.resume(at.next, at.run);
        for (source, next) in at.numbers {
            let counts = Source {
                next,
                ..Source::default()
            };
            self.sources.insert(source, counts);
        }
    }

    pub fn close(&mut self) {
        self.closed = true;
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Returns the position of the next line.
    pub fn next(&self) -> u64 {
        self.kept.next()
    }

    /// Returns how often the service was restarted.
    pub fn run(&self) -> u32 {
        self.kept.run()
    }

    /// Begins a run of the service, to which later lines belong.
    pub fn begin_run(&mut self, run: u32) {
        self.kept.begin(run);
    }

    pub fn begin(&mut self, source: &str) {
        let (_, source) = self.source(source);
        source.begun = source.next;
    }

    /// Adds a line, given without its end, or counts it as dropped if the rate is exceeded.
    pub fn push(
        &mut self,
        now: Instant,
        time: SystemTime,
        source: &str,
        stream: Stream,
        bytes: &[u8],
    ) {
        let admitted = self.rate.admit(now);
        let (position, run, limit) = (self.next(), self.run(), self.line_bytes);
        let (source, counts) = self.source(source);
        let number = counts.next;
        counts.next += 1;
        if !admitted {
            counts.dropped += 1;
            return;
        }
        let dropped_before = std::mem::take(&mut counts.dropped);
        let (text, truncated) = text(bytes, limit);
        self.kept.push(Line {
            position,
            run,
            time,
            source,
            stream,
            text,
            truncated,
            number,
            dropped_before,
        });
    }

    /// Iterates over the lines in memory from a position on.
    pub fn from(&self, position: u64) -> impl DoubleEndedIterator<Item = &Arc<Line>> {
        self.kept.from(position)
    }

    /// Returns the position of the first line that is not in files.
    pub fn written(&self) -> u64 {
        self.kept.written()
    }

    /// Records that the lines before this position are in files.
    pub fn wrote(&mut self, until: u64) {
        self.kept.wrote(until);
    }

    /// Returns the next lines that are not in files, of at most `most` bytes as records, but at
    /// least one line.
    pub fn unwritten(&self, most: u64) -> Vec<Arc<Line>> {
        let mut bytes = 0;
        let fits = |line: &&Arc<Line>| {
            let is_first = bytes == 0;
            bytes += record_bytes(line);
            is_first || bytes <= most
        };
        let lines = self.from(self.written()).take_while(fits);
        lines.cloned().collect()
    }

    /// Returns the position from which on all lines that are kept are in memory. Earlier ones are
    /// in files.
    pub fn base(&self) -> u64 {
        self.kept.base()
    }

    /// Returns the position at which the selected lines begin, of which there are at most `tail`
    /// and none older than `since`. Only lines in memory are considered. If lines in files can
    /// change the result, also returns what to search for in them.
    pub fn start(
        &self,
        since: Option<SystemTime>,
        tail: Option<u32>,
        wanted: &Wanted,
    ) -> (u64, Option<Search>) {
        let base = self.base();
        if tail.is_none() && since.is_none() {
            return (0, None);
        }
        let mut begin = self.next();
        let mut left = tail.map_or(usize::MAX, |tail| tail as usize);
        for line in self.from(base).rev() {
            if left == 0 || since.is_some_and(|since| line.time < since) {
                return (begin, None);
            }
            if wanted.takes(&line.source, line.run) {
                begin = line.position;
                left -= 1;
            }
        }
        let search = Search {
            below: base,
            begin,
            tail: left,
            since,
        };
        (begin, (left > 0 && base > 0).then_some(search))
    }

    /// Returns the number of the next line of each source for a reader that begins at this position
    /// and misses no line.
    pub fn expected(&self, position: u64) -> HashMap<Arc<str>, u64> {
        let counts = self.sources.iter();
        let mut expected: HashMap<_, _> = counts
            .map(|(name, s)| (Arc::clone(name), s.next - s.dropped))
            .collect();
        for line in self.from(position).rev() {
            expected.insert(Arc::clone(&line.source), line.number - line.dropped_before);
        }
        expected
    }

    pub fn last_stderr(&self, source: &str, n: usize) -> Vec<String> {
        let begun = self.sources.get(source).map_or(0, |source| source.begun);
        let own = self.from(0).rev().filter(|line| &*line.source == source);
        let mut last: Vec<_> = own
            .take_while(|line| line.number >= begun)
            .filter(|line| line.stream == Stream::Stderr)
            .take(n)
            .map(|line| line.text.clone())
            .collect();
        last.reverse();
        last
    }

    fn source(&mut self, name: &str) -> (Arc<str>, &mut Source) {
        // A known name must not allocate, as this is called for every line.
        let name = match self.sources.get_key_value(name) {
            Some((name, _)) => Arc::clone(name),
            None => name.into(),
        };
        let source = self.sources.entry(Arc::clone(&name)).or_default();
        (name, source)
    }
}

/// Converts a guest's bytes to a line: bytes that are not UTF-8 are replaced, a carriage return at
/// the end is removed, and the rest is cut at the limit. Also returns whether anything was cut off.
fn text(bytes: &[u8], limit: usize) -> (String, bool) {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    // Three bytes more than the limit, so that the character at the limit is whole and not
    // replaced.
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(limit + 3)]).into_owned();
    // Replacement characters may be longer than the bytes they replace.
    let truncated = bytes.len() > limit || text.len() > limit;
    text.truncate(text.floor_char_boundary(limit));
    text.shrink_to_fit();
    (text, truncated)
}
