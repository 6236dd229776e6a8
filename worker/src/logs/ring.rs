//! The last lines of one replica, bounded in number, bytes and rate. Pure.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use warren_proto::v1;

/// Bounds of each replica's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Lines kept.
    pub lines: usize,
    /// Memory of the lines kept, in bytes.
    pub bytes: usize,
    /// What is over this in one line is cut, in bytes.
    pub line_bytes: usize,
    /// Lines taken over a long time; those above are dropped and counted.
    pub lines_per_second: u32,
    /// Lines taken at once after a silence.
    pub burst: u32,
}

/// Where a guest wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

pub(super) struct Line {
    pub time: SystemTime,
    pub source: Arc<str>,
    pub stream: Stream,
    pub text: String,
    /// Among all lines of its source, dropped ones included: a gap is what a reader missed.
    pub number: u64,
    /// Lines of its source dropped right before this one.
    pub dropped_before: u64,
}

pub(super) struct Ring {
    limits: LogLimits,
    lines: VecDeque<Arc<Line>>,
    bytes: usize,
    /// Position of the oldest line kept; positions count every line that was kept once.
    first: u64,
    sources: HashMap<Arc<str>, Source>,
    rate: Rate,
    closed: bool,
}

#[derive(Default)]
struct Source {
    /// Number of the next line.
    next: u64,
    /// Lines dropped since the last one kept.
    dropped: u64,
    /// Number of the first line since it began.
    begun: u64,
}

/// The generic cell rate algorithm: one time stamp instead of a bucket to refill.
struct Rate {
    interval: Duration,
    tolerance: Duration,
    /// When the bucket would be empty again.
    full_until: Option<Instant>,
}

/// What a line costs beside its text: its other fields, two counters, its place in the ring.
const LINE_OVERHEAD: usize = size_of::<Line>() + 24;

// === impl LogLimits ===

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            lines: 10_000,
            bytes: 1 << 20,
            line_bytes: 16 << 10,
            lines_per_second: 1_000,
            burst: 10_000,
        }
    }
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
            limits,
            lines: VecDeque::new(),
            bytes: 0,
            first: 0,
            sources: HashMap::new(),
            rate: Rate::new(limits.lines_per_second, limits.burst),
            closed: false,
        }
    }

    pub fn close(&mut self) {
        self.closed = true;
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Position of the oldest line kept.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Position of the next line.
    pub fn next(&self) -> u64 {
        self.first + self.lines.len() as u64
    }

    pub fn line_bytes(&self) -> usize {
        self.limits.line_bytes
    }

    pub fn begin(&mut self, source: &str) {
        let (_, source) = self.source(source);
        source.begun = source.next;
    }

    /// Adds a line without its end, or counts it as dropped where lines come too fast.
    pub fn push(
        &mut self,
        now: Instant,
        time: SystemTime,
        source: &str,
        stream: Stream,
        bytes: &[u8],
    ) {
        let admitted = self.rate.admit(now);
        let limit = self.limits.line_bytes;
        let (source, counts) = self.source(source);
        let number = counts.next;
        counts.next += 1;
        if !admitted {
            counts.dropped += 1;
            return;
        }
        let dropped_before = std::mem::take(&mut counts.dropped);
        let text = text(bytes, limit);
        self.bytes += text.len() + LINE_OVERHEAD;
        let line = Line {
            time,
            source,
            stream,
            text,
            number,
            dropped_before,
        };
        self.lines.push_back(Arc::new(line));
        while self.lines.len() > self.limits.lines || self.bytes > self.limits.bytes {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= oldest.text.len() + LINE_OVERHEAD;
            self.first += 1;
        }
    }

    /// Lines from a position on, or from the oldest that is kept, each with its position.
    pub fn from(&self, position: u64) -> impl Iterator<Item = (u64, &Arc<Line>)> {
        let skip = self.index(position);
        (self.first + skip as u64..).zip(self.lines.range(skip..))
    }

    /// Where the last `tail` lines that match begin.
    pub fn tail(&self, tail: u32, matches: impl Fn(&Line) -> bool) -> u64 {
        let mut wanted = tail;
        let mut start = self.next();
        for (back, line) in self.lines.iter().rev().enumerate() {
            if wanted == 0 {
                break;
            }
            if matches(line) {
                wanted -= 1;
                start = self.next() - back as u64 - 1;
            }
        }
        start
    }

    /// For each source, the number that its next line has for a reader who begins at a position and missed nothing.
    pub fn expected(&self, position: u64) -> HashMap<Arc<str>, u64> {
        let counts = self.sources.iter();
        let mut expected: HashMap<_, _> = counts
            .map(|(name, s)| (Arc::clone(name), s.next - s.dropped))
            .collect();
        for line in self.lines.range(self.index(position)..).rev() {
            expected.insert(Arc::clone(&line.source), line.number - line.dropped_before);
        }
        expected
    }

    pub fn last_stderr(&self, source: &str, n: usize) -> Vec<String> {
        let begun = self.sources.get(source).map_or(0, |source| source.begun);
        let own = self
            .lines
            .iter()
            .rev()
            .filter(|line| &*line.source == source);
        let mut last: Vec<_> = own
            .take_while(|line| line.number >= begun)
            .filter(|line| line.stream == Stream::Stderr)
            .take(n)
            .map(|line| line.text.clone())
            .collect();
        last.reverse();
        last
    }

    fn index(&self, position: u64) -> usize {
        let index = usize::try_from(position.saturating_sub(self.first)).unwrap_or(usize::MAX);
        index.min(self.lines.len())
    }

    fn source(&mut self, name: &str) -> (Arc<str>, &mut Source) {
        // A known name costs no allocation: this is on the path of every line.
        let name = match self.sources.get_key_value(name) {
            Some((name, _)) => Arc::clone(name),
            None => name.into(),
        };
        let source = self.sources.entry(Arc::clone(&name)).or_default();
        (name, source)
    }
}

/// A guest's bytes as a line: bytes that are not UTF-8 replaced, a carriage return at the end dropped, cut at the limit.
fn text(bytes: &[u8], limit: usize) -> String {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    // Three bytes more than the limit, so that the character at the limit is whole and not replaced.
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(limit + 3)]).into_owned();
    text.truncate(text.floor_char_boundary(limit));
    text.shrink_to_fit();
    text
}

// === impl Rate ===

impl Rate {
    fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self {
            interval,
            tolerance: interval * burst.saturating_sub(1),
            full_until: None,
        }
    }

    fn admit(&mut self, now: Instant) -> bool {
        let full_until = self.full_until.map_or(now, |at| at.max(now));
        let admitted = full_until - now <= self.tolerance;
        if admitted {
            self.full_until = Some(full_until + self.interval);
        }
        admitted
    }
}
