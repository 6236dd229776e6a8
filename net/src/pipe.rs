//! One direction of a connection: a bounded buffer between a writer and a reader.

use std::{
    cmp, mem,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::{BufMut, Bytes};
use parking_lot::{Mutex, MutexGuard};

use super::{
    buffer::Buffer,
    end::{ReadEnd, WriteEnd},
    pool::Pool,
};

/// How the writer ended. The first end is final: a reset after a FIN does not undo it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Open,
    Fin,
    Reset,
}

/// How far the reader has turned away. The state only ever moves down this list, and the first of
/// the last two to be reached is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
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

pub(super) struct Pipe {
    state: Mutex<State>,
}

struct State {
    buffer: Buffer,
    /// The receive buffer's size, in bytes.
    capacity: usize,
    /// How many bytes the writer was last promised. Its next write may be that long, even if the
    /// buffer shrinks in between.
    offered: usize,
    pool: Arc<Pool>,
    /// Bytes taken from the pool: at least what is buffered and offered beyond the floor.
    held: usize,
    sent: Sent,
    taken: Taken,
    /// Whether bytes were discarded that the reader should have read.
    lost: bool,
    /// The task that waits for bytes or an end. Only the last one to poll is woken.
    reader: Option<Waker>,
    /// The task that waits for room or an end. Only the last one to poll is woken.
    writer: Option<Waker>,
}

impl Pipe {
    pub fn new(capacity: usize, pool: Arc<Pool>) -> Self {
        Self {
            state: Mutex::new(State {
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
            }),
        }
    }

    // --- the reader's side ---

    /// Takes up to `max` bytes. The result is empty if there are none at present.
    pub fn read(&self, max: usize) -> Result<Bytes, ReadEnd> {
        let state = self.state.lock();
        if state.buffer.is_empty() {
            return state.read_end().map_or(Ok(Bytes::new()), Err);
        }
        Ok(State::take(state, max))
    }

    /// Like [`Self::read`], but waits for bytes or an end.
    pub fn poll_take(&self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Bytes, ReadEnd>> {
        let mut state = self.state.lock();
        if !state.buffer.is_empty() {
            return Poll::Ready(Ok(State::take(state, max)));
        }
        if let Some(end) = state.read_end() {
            return Poll::Ready(Err(end));
        }
        let old = register(&mut state.reader, cx);
        drop(state);
        drop(old);
        Poll::Pending
    }

    /// Copies the buffered bytes that fit into `out`, or waits for bytes or an end.
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
        state.give_back();
        let writer = state.room_made();
        drop(state);
        wake(writer);
        Poll::Ready(Ok(n))
    }

    /// Waits until there are bytes to read, or an end.
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

    /// Records that the reader has turned away, and discards what is buffered.
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
        state.give_back();
        let wakers = (state.reader.take(), state.writer.take());
        drop(state);
        drop(discarded);
        wake(wakers.0);
        wake(wakers.1);
    }

    /// Returns whether closing now would leave bytes unread (RFC 1122, 4.2.2.13).
    pub fn has_unread(&self) -> bool {
        let state = self.state.lock();
        state.lost || !state.buffer.is_empty()
    }

    /// Returns whether bytes were discarded because the reader was dropped.
    pub fn is_lost(&self) -> bool {
        self.state.lock().lost
    }

    pub fn capacity(&self) -> usize {
        self.state.lock().capacity
    }

    /// Sets the receive buffer's size. Bytes that exceed a smaller size stay until they are read.
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

    /// Buffers as many bytes as there is room for, and returns how many that was.
    pub fn write(&self, mut data: Bytes) -> Result<usize, WriteEnd> {
        let mut state = self.state.lock();
        let n = state.accept(data.len())?;
        if state.discards() || n == 0 {
            return Ok(n);
        }
        if n < data.len() {
            // A slice that is a small part of it would keep the whole allocation alive.
            data = match n < data.len() / 2 {
                true => Bytes::copy_from_slice(&data[..n]),
                false => data.split_to(n),
            };
        }
        state.buffer.push(data);
        state.give_back();
        let reader = state.reader.take();
        drop(state);
        wake(reader);
        Ok(n)
    }

    /// Copies as many bytes as there is room for, or waits for room.
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
        state.give_back();
        let reader = state.reader.take();
        drop(state);
        wake(reader);
        Poll::Ready(Ok(n))
    }

    /// Promises how many bytes the next write takes, whatever the reader does until then. Each
    /// offer replaces the previous one.
    pub fn offer(&self) -> Result<usize, WriteEnd> {
        self.state.lock().offer()
    }

    /// Like [`Self::offer`], but waits until the offer is not 0, or for an end.
    pub fn poll_offer(&self, cx: &mut Context<'_>) -> Poll<Result<usize, WriteEnd>> {
        let mut state = self.state.lock();
        match state.offer() {
            Ok(0) => {}
            offer => return Poll::Ready(offer),
        }
        let old = register(&mut state.writer, cx);
        drop(state);
        drop(old);
        Poll::Pending
    }

    /// Returns why nothing more can be written, if the direction has ended.
    pub fn write_end(&self) -> Option<WriteEnd> {
        self.state.lock().write_end()
    }

    /// Waits until there is room to write, or an end.
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

    /// Waits for an end, whether there is room or not.
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

    /// Ends the writer's direction. What is buffered stays for the reader.
    pub fn finish(&self, sent: Sent) {
        let mut state = self.state.lock();
        if state.sent != Sent::Open {
            return;
        }
        state.sent = sent;
        state.offered = 0;
        state.give_back();
        let wakers = (state.reader.take(), state.writer.take());
        drop(state);
        wake(wakers.0);
        wake(wakers.1);
    }
}

impl State {
    /// Takes up to `max` bytes, and wakes the writer if it waits for room.
    fn take(mut state: MutexGuard<'_, Self>, max: usize) -> Bytes {
        let data = state.buffer.pop(max);
        state.give_back();
        let writer = state.room_made();
        drop(state);
        wake(writer);
        data
    }

    /// Returns why a reader with an empty buffer need not wait.
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

    /// Returns how many bytes a write could take now, as far as the pool can supply them.
    fn room(&self) -> usize {
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
    fn give_back(&mut self) {
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

    fn offer(&mut self) -> Result<usize, WriteEnd> {
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
    fn accept(&mut self, len: usize) -> Result<usize, WriteEnd> {
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

    fn discards(&self) -> bool {
        self.taken != Taken::Open
    }

    /// Returns the waker of the writer, if it waits and can now write.
    fn room_made(&mut self) -> Option<Waker> {
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

/// Stores the waker and returns the one it replaces, which must be dropped outside the lock.
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
