//! One line of a replica's log, and the limits of the log.

use std::{sync::Arc, time::SystemTime};

/// One line of a replica's log.
pub(super) struct Line {
    /// The line's index among all lines that were ever kept.
    pub position: u64,
    /// How often the service had been restarted when the line was written.
    pub run: u32,
    pub time: SystemTime,
    pub source: Arc<str>,
    pub stream: Stream,
    pub text: String,
    /// Whether the line was cut off at the limit.
    pub truncated: bool,
    /// The line's index among all lines of its source, including dropped ones. A gap means missed
    /// lines.
    pub number: u64,
    /// How many lines of its source were dropped directly before this one.
    pub dropped_before: u64,
}

/// The limits of each replica's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// The most lines that are kept in memory.
    pub lines: usize,
    /// The most memory that the lines take, in bytes.
    pub bytes: usize,
    /// The most memory that the lines take if they are also in files, in bytes.
    pub recent_bytes: usize,
    /// The length at which a line is cut off, in bytes.
    pub line_bytes: usize,
    /// The number of lines accepted per second on average. Further lines are dropped and counted.
    pub lines_per_second: u32,
    /// The number of lines accepted at once after a silence.
    pub burst: u32,
}

/// The stream to which a guest wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

// === impl LogLimits ===

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            lines: 10_000,
            bytes: 1 << 20,
            recent_bytes: 64 << 10,
            line_bytes: 16 << 10,
            lines_per_second: 1_000,
            burst: 10_000,
        }
    }
}
