//! What a direction of a connection holds, and how much of it may be written.

use std::{cmp, sync::Arc, task::Waker};

use crate::{
    buffer::Buffer,
    end::{ReadEnd, WriteEnd},
    pool::Pool,
};

/// How the writer ended. The first end is final: a reset after a FIN does not undo it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Open,
    Fin,
    Reset,
}

/// The steps by which the reader turns away. It only ever moves down this list, and the
/// first of the last two to be reached is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Open,
    /// `shutdown(receive)`: bytes that arrive are discarded, and the writer does not notice.
    Stopped,
    /// The reader was dropped but its socket is still open: bytes that arrive are discarded, and
    /// turn the later close into a reset.
    Dropped,
    Closed,
    Reset,
}

/// The most that a writer is promised at a time, in bytes: promised room is not available to other
/// connections.
const PROMISE: usize = 64 << 10;

pub(super) struct State {
    pub buffer: Buffer,
    /// The receive buffer's size, in bytes.
    pub capacity: usize,
    /// The bytes that the writer was last promised. Its next write may be that long, even if the
    /// buffer shrinks in between.
    offered: usize,
    pool: Arc<Pool>,
    /// Bytes taken from the pool: at least what is buffered and offered beyond the floor.
    held: usize,
    pub sent: Sent,
    pub taken: Taken,
    /// Whether bytes were discarded that the reader should have read.
    pub lost: bool,
    /// The task that waits for bytes or an end. Only the last one to poll is woken.
    pub reader: Option<Waker>,
    /// The task that waits for room or an end. Only the last one to poll is woken.
    pub writer: Option<Waker>,
}

impl State {
    pub fn new(capacity: usize, pool: Arc<Pool>) -> Self {
        Self {
            buffer: Buffer::new(),
            capacity,
            offered: 0,
            pool,
            held: 0,
            sent: Sent::Open,
            taken: Taken::Open,
            lost: false,
            reader: None,
            writer: None,
        }
    }

    pub fn is_readable(&self) -> bool {
        !self.buffer.is_empty() || self.read_end().is_some()
    }

    /// Returns why a reader with an empty buffer need not wait.
    pub fn read_end(&self) -> Option<ReadEnd> {
        match (self.taken, self.sent) {
            (Taken::Reset, _) => Some(ReadEnd::Reset),
            (Taken::Stopped | Taken::Dropped | Taken::Closed, _) => Some(ReadEnd::Eof),
            (Taken::Open, Sent::Open) => None,
            (Taken::Open, Sent::Fin) => Some(ReadEnd::Eof),
            (Taken::Open, Sent::Reset) => Some(ReadEnd::Reset),
        }
    }

    pub fn write_end(&self) -> Option<WriteEnd> {
        match (self.sent, self.taken) {
            (Sent::Fin, _) => Some(WriteEnd::Shutdown),
            (Sent::Reset, _) | (Sent::Open, Taken::Reset) => Some(WriteEnd::Reset),
            (Sent::Open, Taken::Closed) => Some(WriteEnd::Closed),
            (Sent::Open, Taken::Open | Taken::Stopped | Taken::Dropped) => None,
        }
    }

    /// Returns how many bytes a write could take now, as far as the pool can supply them.
    pub fn room(&self) -> usize {
        if self.discards() {
            return cmp::max(self.capacity, self.offered);
        }
        let free = self.free();
        let wanted = self.capacity.saturating_sub(self.buffer.len());
        let room = match wanted > free {
            true => cmp::min(wanted, free.saturating_add(self.pool.left())),
            false => wanted,
        };
        cmp::max(room, self.offered)
    }

    /// Returns how many bytes can be buffered without taking more from the pool.
    fn free(&self) -> usize {
        (self.pool.floor + self.held).saturating_sub(self.buffer.len())
    }

    /// Makes room for up to `wanted` bytes, taking what is missing from the pool, and returns how
    /// many can be buffered now.
    fn secure(&mut self, wanted: usize) -> usize {
        let free = self.free();
        if wanted > free {
            self.held += self.pool.take(wanted - free);
        }
        cmp::min(wanted, self.free())
    }

    /// Returns to the pool what neither the buffer nor the promise needs.
    pub fn give_back(&mut self) {
        // Discarded bytes take no memory.
        let needed = match self.discards() {
            true => 0,
            false => (self.buffer.len() + self.offered).saturating_sub(self.pool.floor),
        };
        if self.held > needed {
            self.pool.give(self.held - needed);
            self.held = needed;
        }
    }

    pub fn offer(&mut self) -> Result<usize, WriteEnd> {
        if let Some(end) = self.write_end() {
            return Err(end);
        }
        let wanted = self.capacity.saturating_sub(self.buffer.len()).min(PROMISE);
        self.offered = match self.discards() {
            true => cmp::min(self.capacity, PROMISE),
            false => self.secure(wanted),
        };
        self.give_back();
        Ok(self.offered)
    }

    /// Decides how many of `len` bytes are written now, and secures the room for them.
    pub fn accept(&mut self, len: usize) -> Result<usize, WriteEnd> {
        if let Some(end) = self.write_end() {
            return Err(end);
        }
        let n = if self.discards() {
            cmp::min(len, self.room())
        } else {
            let room = self.capacity.saturating_sub(self.buffer.len());
            self.secure(cmp::min(len, cmp::max(room, self.offered)))
        };
        if n > 0 {
            self.offered = 0;
        }
        self.lost |= n > 0 && self.taken == Taken::Dropped;
        Ok(n)
    }

    /// Ends the writer's direction, and returns what it was promised.
    pub fn finish(&mut self, sent: Sent) {
        self.sent = sent;
        self.offered = 0;
        self.give_back();
    }

    pub fn discards(&self) -> bool {
        self.taken != Taken::Open
    }

    /// Returns the waker of the writer, if it waits and can now write.
    pub fn room_made(&mut self) -> Option<Waker> {
        if self.writer.is_some() && self.room() > 0 {
            self.writer.take()
        } else {
            None
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.pool.give(self.held);
    }
}
