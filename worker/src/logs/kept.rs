//! The lines in bounded memory. Pure.
//!
//! Lines that are in files are dropped first, except for a few. Without files, the last lines
//! before a crash are usually read after the service was restarted, when the present run may have
//! written more than fits. The previous run therefore has a share of the memory that the present
//! run cannot take.

use std::{collections::VecDeque, sync::Arc};

use super::line::{Line, LogLimits};

/// Lines in the order in which they were written. Lines of runs before the previous one are dropped
/// first, then the oldest lines of the previous run beyond its share, then the oldest of the
/// present run.
pub(super) struct Kept {
    limits: LogLimits,
    /// Lines from before the present run.
    past: Part,
    /// Lines of the present run.
    present: Part,
    run: u32,
    next: u64,
    /// Lines before this position are in files or were dropped.
    written: u64,
    /// No line at or after this position has been dropped.
    floor: u64,
}

#[derive(Default)]
struct Part {
    lines: VecDeque<Arc<Line>>,
    bytes: usize,
}

/// The previous run keeps up to one part in `SHARE` of the memory.
const SHARE: usize = 4;

/// The bytes that a line takes in addition to its text: its other fields, two counters and its
/// place in the ring.
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

    /// Continues after the lines that are in files.
    pub fn resume(&mut self, next: u64, run: u32) {
        (self.next, self.written, self.floor) = (next, next, next);
        self.run = run;
    }

    /// Returns the present run.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Returns the position of the next line.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Begins another run, to which later lines belong.
    pub fn begin(&mut self, run: u32) {
        if run != self.run {
            self.run = run;
            self.past.take(&mut self.present);
        }
    }

    /// Adds a line, whose position must be [`Self::next`], and drops the lines that no longer fit.
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

    /// Records that the lines before this position are in files.
    pub fn wrote(&mut self, until: u64) {
        self.written = self.written.max(until);
        self.give_written();
    }

    /// Returns the position of the first line that is not in files.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Returns the position from which on all lines that are kept are in memory. Earlier ones are
    /// in files.
    pub fn base(&self) -> u64 {
        self.floor.min(self.written)
    }

    /// Iterates over the lines in memory from a position on.
    pub fn from(&self, position: u64) -> impl DoubleEndedIterator<Item = &Arc<Line>> {
        self.past.from(position).chain(self.present.from(position))
    }

    /// Drops lines that are in files, except for a few that are kept for followers.
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

    /// Drops the oldest line and returns its position.
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
