//! Reading a replica's log from a position on.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use warren_proto::v1;

use super::{LogQuery, ReplicaLog, kept::Line};

/// Lines of one replica in the order in which they were written.
pub struct LogStream {
    log: ReplicaLog,
    wanted: Wanted,
    /// Of the next line to read.
    position: u64,
    /// Where to stop; `None` follows.
    until: Option<u64>,
    /// The number of the next line of each source, if none is missed.
    expected: HashMap<Arc<str>, u64>,
}

/// Which lines are read.
struct Wanted {
    source: Option<String>,
    /// One run only; nothing where there was none.
    run: Option<Option<u32>>,
}

/// Bounds of what is read at once: far below the 4 MiB that a gRPC message may have.
const BATCH_LINES: usize = 256;
const BATCH_BYTES: usize = 256 << 10;

// === impl LogStream ===

impl LogStream {
    pub(super) fn new(log: ReplicaLog, query: LogQuery) -> Self {
        let since = query
            .since
            .and_then(|since| SystemTime::now().checked_sub(since));
        let ring = log.0.ring.lock();
        let wanted = Wanted {
            source: query.source,
            run: query.previous.then(|| ring.run().checked_sub(1)),
        };
        let position = ring.start(since, query.tail, |line| wanted.takes(line));
        let until = (!query.follow).then(|| ring.next());
        let expected = ring.expected(position);
        drop(ring);
        Self {
            log,
            wanted,
            position,
            until,
            expected,
        }
    }

    /// The next lines, at least one, as many as there are up to a bound; waits for them when following.
    /// `None` at the end. Cancel-safe: a dropped future has read nothing.
    pub async fn next(&mut self) -> Option<Vec<v1::LogLine>> {
        loop {
            let shared = Arc::clone(&self.log.0);
            // Registered before the look, so that a line which comes in between is not missed.
            let changed = shared.changed.notified();
            let (lines, at_end) = self.read();
            if !lines.is_empty() {
                return Some(lines);
            }
            if at_end {
                return None;
            }
            changed.await;
        }
    }

    fn read(&mut self) -> (Vec<v1::LogLine>, bool) {
        let mut found: Vec<Arc<Line>> = Vec::new();
        let mut bytes = 0;
        let ring = self.log.0.ring.lock();
        let mut more = false;
        // What was given up before it was read is passed over; the next line tells how many.
        for line in ring.from(self.position) {
            if self.until.is_some_and(|until| line.position >= until) {
                break;
            }
            if found.len() == BATCH_LINES || bytes > BATCH_BYTES {
                more = true;
                break;
            }
            self.position = line.position + 1;
            if self.wanted.takes(line) {
                bytes += line.text.len();
                found.push(Arc::clone(line));
            }
        }
        let at_end = !more && (self.until.is_some() || ring.is_closed());
        drop(ring);
        (found.iter().map(|line| self.tell(line)).collect(), at_end)
    }

    fn tell(&mut self, line: &Line) -> v1::LogLine {
        let expected = self.expected.entry(Arc::clone(&line.source)).or_default();
        let missed = line.number.saturating_sub(*expected);
        *expected = line.number + 1;
        v1::LogLine {
            time: Some(line.time.into()),
            replica: self.log.0.replica.clone(),
            source: line.source.to_string(),
            stream: v1::log_line::Stream::from(line.stream).into(),
            line: line.text.clone(),
            dropped_before: u32::try_from(missed).unwrap_or(u32::MAX),
            restarts: line.run,
        }
    }
}

// === impl Wanted ===

impl Wanted {
    fn takes(&self, line: &Line) -> bool {
        let source = self
            .source
            .as_ref()
            .is_none_or(|source| **source == *line.source);
        source && self.run.is_none_or(|run| run == Some(line.run))
    }
}
