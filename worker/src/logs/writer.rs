//! Splits a guest's bytes into lines.

use std::sync::Arc;

use super::{ReplicaLog, Stream};

/// Accepts what a guest writes to one of its streams. Never blocks. A line without an end is kept
/// and written when the writer is dropped.
pub struct LineWriter {
    log: ReplicaLog,
    source: Arc<str>,
    stream: Stream,
    /// The incomplete line. Bytes beyond the limit of a line are not kept.
    begun: Vec<u8>,
    limit: usize,
}

impl LineWriter {
    pub(super) fn new(log: ReplicaLog, source: Arc<str>, stream: Stream) -> Self {
        // As much as the ring looks at, plus a carriage return.
        let limit = log.0.line_bytes + 4;
        Self {
            log,
            source,
            stream,
            begun: Vec::new(),
            limit,
        }
    }

    /// Accepts the next bytes, which may be cut anywhere.
    pub fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.end_line(&rest[..end]);
            rest = &rest[end + 1..];
        }
        self.keep(rest);
    }

    fn end_line(&mut self, bytes: &[u8]) {
        if self.begun.is_empty() {
            self.log.push(&self.source, self.stream, bytes);
        } else {
            self.keep(bytes);
            self.log.push(&self.source, self.stream, &self.begun);
            self.begun.clear();
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.limit - self.begun.len();
        self.begun
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        if !self.begun.is_empty() {
            self.end_line(&[]);
        }
    }
}
