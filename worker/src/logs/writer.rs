//! From a guest's bytes to lines.

use super::{ReplicaLog, Stream};

/// Takes what one guest writes to one of its streams. Never blocks; a line without an end is kept and
/// written when the writer is dropped.
pub struct LineWriter {
    log: ReplicaLog,
    source: Box<str>,
    stream: Stream,
    /// The line that has begun. What is over the limit of a line is not kept.
    begun: Vec<u8>,
    limit: usize,
}

impl LineWriter {
    pub(super) fn new(log: ReplicaLog, source: &str, stream: Stream) -> Self {
        // As much as the ring looks at, and a carriage return.
        let limit = log.0.ring.lock().line_bytes() + 4;
        Self {
            log,
            source: source.into(),
            stream,
            begun: Vec::new(),
            limit,
        }
    }

    /// Bytes in the order in which the guest wrote them, cut anywhere.
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
