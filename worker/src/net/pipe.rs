//! One direction of a connection: a bounded buffer between a writer and a reader.

use std::{
    cmp, io, mem,
    task::{Context, Poll, Waker},
};

use bytes::{BufMut, Bytes};
use parking_lot::Mutex;

use super::buffer::Buffer;

/// Why there is nothing more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadEnd {
    /// The peer ended its direction in good order, or this side asked to receive nothing more.
    #[error("end of stream")]
    Eof,
    /// The peer was ended by force, or closed without reading what it was sent.
    #[error("connection reset by peer")]
    Reset,
}

/// Why nothing more can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteEnd {
    /// The peer has closed the connection (`EPIPE`).
    #[error("the peer has closed the connection")]
    Closed,
    /// The peer was ended by force (`ECONNRESET`).
    #[error("connection reset by peer")]
    Reset,
    /// This side has ended its direction itself.
    #[error("this side of the connection is shut down")]
    Shutdown,
}

impl From<ReadEnd> for io::Error {
    fn from(end: ReadEnd) -> Self {
        match end {
            ReadEnd::Eof => io::ErrorKind::UnexpectedEof.into(),
            ReadEnd::Reset => io::ErrorKind::ConnectionReset.into(),
        }
    }
}

impl From<WriteEnd> for io::Error {
    fn from(end: WriteEnd) -> Self {
        match end {
            WriteEnd::Closed | WriteEnd::Shutdown => io::ErrorKind::BrokenPipe.into(),
            WriteEnd::Reset => io::ErrorKind::ConnectionReset.into(),
        }
    }
}

/// How the writer ended. The first end stands: a reset after a FIN does not undo it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Open,
    Fin,
    Reset,
}

/// How far the reader has turned away. It only ever goes down this list; of the last two the first stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Open,
    /// `shutdown(receive)`: what arrives is discarded, and the writer never learns it.
    Stopped,
    /// The reader is gone, its socket not yet: what arrives is discarded, and makes the close a reset.
    Dropped,
    Closed,
    Reset,
}

pub(super) struct Pipe {
    state: Mutex<State>,
}

struct State {
    buffer: Buffer,
    /// The receive buffer's size, in bytes.
    capacity: usize,
    /// What the writer was last told it may write: it still may when the buffer shrinks meanwhile.
    offered: usize,
    sent: Sent,
    taken: Taken,
    /// Bytes were discarded that the reader should have read.
    lost: bool,
    /// Waits for bytes or an end. One task at a time: the last to ask is woken.
    reader: Option<Waker>,
    /// Waits for room or an end, likewise.
    writer: Option<Waker>,
}

impl Pipe {
    pub fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                buffer: Buffer::new(),
                capacity,
                offered: 0,
                sent: Sent::Open,
                taken: Taken::Open,
                lost: false,
                reader: None,
                writer: None,
            }),
        }
    }

    // --- the reader's side ---

    /// Up to `max` bytes; empty when there are none at present.
    pub fn read(&self, max: usize) -> Result<Bytes, ReadEnd> {
        let mut state = self.state.lock();
        if state.buffer.is_empty() {
            return state.read_end().map_or(Ok(Bytes::new()), Err);
        }
        let data = state.buffer.pop(max);
        let writer = state.room_made();
        drop(state);
        wake(writer);
        Ok(data)
    }

    /// Copies what there is to `out`, or waits.
    pub fn poll_read(
        &self,
        cx: &mut Context<'_>,
        out: &mut impl BufMut,
    ) -> Poll<Result<usize, ReadEnd>> {
        if !out.has_remaining_mut() {
            return Poll::Ready(Ok(0));
        }
        let mut state = self.state.lock();
        if state.buffer.is_empty() {
            if let Some(end) = state.read_end() {
                return Poll::Ready(Err(end));
            }
            let old = register(&mut state.reader, cx);
            drop(state);
            drop(old);
            return Poll::Pending;
        }
        let n = state.buffer.copy_to(out);
        let writer = state.room_made();
        drop(state);
        wake(writer);
        Poll::Ready(Ok(n))
    }

    /// Whether there is something to read, or an end.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if !state.buffer.is_empty() || state.read_end().is_some() {
            return Poll::Ready(());
        }
        let old = register(&mut state.reader, cx);
        drop(state);
        drop(old);
        Poll::Pending
    }

    /// The reader wants nothing more. What is buffered is discarded.
    pub fn turn_away(&self, taken: Taken) {
        let mut state = self.state.lock();
        let further = match (state.taken, taken) {
            (Taken::Open, _) => true,
            (Taken::Stopped | Taken::Dropped, Taken::Closed | Taken::Reset) => true,
            (Taken::Stopped | Taken::Dropped | Taken::Closed | Taken::Reset, _) => false,
        };
        if !further {
            return;
        }
        if state.taken == Taken::Open && taken == Taken::Dropped {
            state.lost = !state.buffer.is_empty();
        }
        state.taken = taken;
        let discarded = mem::replace(&mut state.buffer, Buffer::new());
        let wakers = (state.reader.take(), state.writer.take());
        drop(state);
        drop(discarded);
        wake(wakers.0);
        wake(wakers.1);
    }

    /// Whether a close now leaves bytes that nobody read (RFC 1122, 4.2.2.13).
    pub fn has_unread(&self) -> bool {
        let state = self.state.lock();
        state.lost || !state.buffer.is_empty()
    }

    /// Whether bytes were discarded since the reader was dropped.
    pub fn is_lost(&self) -> bool {
        self.state.lock().lost
    }

    pub fn capacity(&self) -> usize {
        self.state.lock().capacity
    }

    /// Sets the receive buffer's size. Bytes beyond a smaller one stay until they are read.
    pub fn set_capacity(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.capacity = bytes;
        let writer = state.room_made();
        drop(state);
        wake(writer);
    }

    pub fn buffered(&self) -> usize {
        self.state.lock().buffer.len()
    }

    // --- the writer's side ---

    /// Takes as much as there is room for, and returns how much that was.
    pub fn write(&self, mut data: Bytes) -> Result<usize, WriteEnd> {
        let mut state = self.state.lock();
        let n = state.accept(data.len())?;
        if state.discards() || n == 0 {
            return Ok(n);
        }
        if n < data.len() {
            // A small part would keep the whole allocation.
            data = match n < data.len() / 2 {
                true => Bytes::copy_from_slice(&data[..n]),
                false => data.split_to(n),
            };
        }
        state.buffer.push(data);
        let reader = state.reader.take();
        drop(state);
        wake(reader);
        Ok(n)
    }

    /// Copies as much as there is room for, or waits for room.
    pub fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, WriteEnd>> {
        let mut state = self.state.lock();
        let n = state.accept(data.len())?;
        if n == 0 && !data.is_empty() {
            let old = register(&mut state.writer, cx);
            drop(state);
            drop(old);
            return Poll::Pending;
        }
        if state.discards() || n == 0 {
            return Poll::Ready(Ok(n));
        }
        state.buffer.append(&data[..n]);
        let reader = state.reader.take();
        drop(state);
        wake(reader);
        Poll::Ready(Ok(n))
    }

    /// Bytes that a write takes now, whatever the reader does until then.
    pub fn offer(&self) -> Result<usize, WriteEnd> {
        let mut state = self.state.lock();
        if let Some(end) = state.write_end() {
            return Err(end);
        }
        state.offered = state.room();
        Ok(state.offered)
    }

    /// Whether there is room, or an end.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.room() > 0 || state.write_end().is_some() {
            return Poll::Ready(());
        }
        let old = register(&mut state.writer, cx);
        drop(state);
        drop(old);
        Poll::Pending
    }

    /// Waits for an end, room or not.
    pub fn poll_write_end(&self, cx: &mut Context<'_>) -> Poll<WriteEnd> {
        let mut state = self.state.lock();
        if let Some(end) = state.write_end() {
            return Poll::Ready(end);
        }
        let old = register(&mut state.writer, cx);
        drop(state);
        drop(old);
        Poll::Pending
    }

    /// The writer writes nothing more. What is buffered stays for the reader.
    pub fn finish(&self, sent: Sent) {
        let mut state = self.state.lock();
        if state.sent != Sent::Open {
            return;
        }
        state.sent = sent;
        let wakers = (state.reader.take(), state.writer.take());
        drop(state);
        wake(wakers.0);
        wake(wakers.1);
    }
}

impl State {
    /// Why the reader, its buffer empty, need not wait.
    fn read_end(&self) -> Option<ReadEnd> {
        match (self.taken, self.sent) {
            (Taken::Reset, _) => Some(ReadEnd::Reset),
            (Taken::Stopped | Taken::Dropped | Taken::Closed, _) => Some(ReadEnd::Eof),
            (Taken::Open, Sent::Open) => None,
            (Taken::Open, Sent::Fin) => Some(ReadEnd::Eof),
            (Taken::Open, Sent::Reset) => Some(ReadEnd::Reset),
        }
    }

    fn write_end(&self) -> Option<WriteEnd> {
        match (self.sent, self.taken) {
            (Sent::Fin, _) => Some(WriteEnd::Shutdown),
            (Sent::Reset, _) | (Sent::Open, Taken::Reset) => Some(WriteEnd::Reset),
            (Sent::Open, Taken::Closed) => Some(WriteEnd::Closed),
            (Sent::Open, Taken::Open | Taken::Stopped | Taken::Dropped) => None,
        }
    }

    fn room(&self) -> usize {
        cmp::max(
            self.capacity.saturating_sub(self.buffer.len()),
            self.offered,
        )
    }

    /// How much of `len` is written now.
    fn accept(&mut self, len: usize) -> Result<usize, WriteEnd> {
        if let Some(end) = self.write_end() {
            return Err(end);
        }
        let n = cmp::min(len, self.room());
        self.offered = self.offered.saturating_sub(n);
        self.lost |= n > 0 && self.taken == Taken::Dropped;
        Ok(n)
    }

    fn discards(&self) -> bool {
        self.taken != Taken::Open
    }

    /// The writer to wake, if it waits and can now write.
    fn room_made(&mut self) -> Option<Waker> {
        if self.writer.is_some() && self.room() > 0 {
            self.writer.take()
        } else {
            None
        }
    }
}

/// Keeps the waker, and returns the one it replaces, which is dropped outside the lock.
pub(super) fn register(slot: &mut Option<Waker>, cx: &Context<'_>) -> Option<Waker> {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => None,
        _ => slot.replace(cx.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
