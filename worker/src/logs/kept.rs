//! The lines themselves, in bounded memory. Pure.
//!
//! Lines that a file has fall first, all but a few. Where no file has them, what a service said before it crashed is
//! looked for after it was started again, when the run that is on has long written more than there is room for: so the
//! run before has a share of the memory that the present one cannot take.

use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use super::ring::{LogLimits, Stream};

pub(super) struct Line {
    /// Among all lines that were ever kept.
    pub position: u64,
    /// How often the service had been started again when it was written.
    pub run: u32,
    pub time: SystemTime,
    pub source: Arc<str>,
    pub stream: Stream,
    pub text: String,
    /// Whether the end of the line was cut off at the limit.
    pub truncated: bool,
    /// Among all lines of its source, dropped ones included: a gap is what a reader missed.
    pub number: u64,
    /// Lines of its source dropped right before this one.
    pub dropped_before: u64,
}

/// Lines in the order in which they were written. Runs older than the one before fall first, then the oldest lines of
/// the run before beyond its share, then the oldest of the present run.
pub(super) struct Kept {
    limits: LogLimits,
    /// Lines from before the present run.
    past: Part,
    /// Lines of the present run.
    present: Part,
    run: u32,
    next: u64,
    /// Files have the lines before this position, or nobody has them.
    written: u64,
    /// No line from this position on was given up.
    floor: u64,
}

#[derive(Default)]
struct Part {
    lines: VecDeque<Arc<Line>>,
    bytes: usize,
}

/// The run before keeps this part of the memory, if it wrote so much.
const SHARE: usize = 4;

/// What a line costs beside its text: its other fields, two counters, its place in the ring.
const LINE_OVERHEAD: usize = size_of::<Line>() + 24;

// === impl Kept ===

impl Kept {
    pub fn new(limits: LogLimits) -> Self {
        Self {
            limits,
            past: Part::default(),
            present: Part::default(),
            run: 0,
            next: 0,
            written: 0,
            floor: 0,
        }
    }

    /// Goes on from what files have.
    pub fn resume(&mut self, next: u64, run: u32) {
        (self.next, self.written, self.floor) = (next, next, next);
        self.run = run;
    }

    /// The present run.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Position of the next line.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// What is kept from here on is of another run.
    pub fn begin(&mut self, run: u32) {
        if run != self.run {
            self.run = run;
            self.past.take(&mut self.present);
        }
    }

    /// Adds a line, which has [`Self::next`] as its position, and gives up what there is no room for any more.
    pub fn push(&mut self, line: Line) {
        self.next = line.position + 1;
        self.present.push(Arc::new(line));
        self.give_written();
        while self.is_full() {
            let fallen = if self.falls_from_past() {
                self.past.pop()
            } else {
                self.present.pop()
            };
            self.floor = fallen.map_or(self.floor, |position| self.floor.max(position + 1));
        }
    }

    /// Files have the lines before this position.
    pub fn wrote(&mut self, until: u64) {
        self.written = self.written.max(until);
        self.give_written();
    }

    /// Position of the first line that no file has, if there is one.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// From this position on, whatever is kept is kept here. Lines before it are in files.
    pub fn base(&self) -> u64 {
        self.floor.min(self.written)
    }

    /// Lines from a position on that are kept.
    pub fn from(&self, position: u64) -> impl DoubleEndedIterator<Item = &Arc<Line>> {
        self.past.from(position).chain(self.present.from(position))
    }

    /// Keeps a few for those who follow.
    fn give_written(&mut self) {
        while self.past.bytes + self.present.bytes > self.limits.recent_bytes {
            let oldest = match self.past.lines.is_empty() {
                true => &mut self.present,
                false => &mut self.past,
            };
            let first = oldest.lines.front();
            if first.is_none_or(|line| line.position >= self.written) {
                break;
            }
            let fallen = oldest.pop();
            self.floor = fallen.map_or(self.floor, |position| self.floor.max(position + 1));
        }
    }

    fn is_full(&self) -> bool {
        self.past.lines.len() + self.present.lines.len() > self.limits.lines
            || self.past.bytes + self.present.bytes > self.limits.bytes
    }

    fn falls_from_past(&self) -> bool {
        let Some(oldest) = self.past.lines.front() else {
            return false;
        };
        let is_older = oldest.run < self.run.saturating_sub(1);
        let has_more_than_its_share = self.past.lines.len() > self.limits.lines / SHARE
            || self.past.bytes > self.limits.bytes / SHARE;
        is_older || has_more_than_its_share
    }
}

// === impl Part ===

impl Part {
    fn push(&mut self, line: Arc<Line>) {
        self.bytes += cost(&line);
        self.lines.push_back(line);
    }

    /// Gives up the oldest line, which was at this position.
    fn pop(&mut self) -> Option<u64> {
        let oldest = self.lines.pop_front()?;
        self.bytes -= cost(&oldest);
        Some(oldest.position)
    }

    fn take(&mut self, newer: &mut Self) {
        self.bytes += std::mem::take(&mut newer.bytes);
        self.lines.append(&mut newer.lines);
    }

    fn from(&self, position: u64) -> impl DoubleEndedIterator<Item = &Arc<Line>> {
        let skip = self.lines.partition_point(|line| line.position < position);
        self.lines.range(skip..)
    }
}

fn cost(line: &Line) -> usize {
    line.text.len() + LINE_OVERHEAD
}
