//! One direction of a connection: a bounded buffer between a writer and a reader.

mod state;

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::{BufMut, Bytes};
use parking_lot::{Mutex, MutexGuard};

use super::{
    buffer::Buffer,
    end::{ReadEnd, WriteEnd},
    pool::Pool,
};

use state::State;

pub(super) use state::{Sent, Taken};

pub(super) struct Pipe {
    state: Mutex<State>,
    /// Whether there are bytes to read, or an end. Written only under the lock, so that readiness
    /// can be tested without it.
    readable: AtomicBool,
}

impl Pipe {
    pub fn new(capacity: usize, pool: Arc<Pool>) -> Self {
        Self {
            state: Mutex::new(State::new(capacity, pool)),
            readable: AtomicBool::new(false),
        }
    }

    // --- the reader's side ---

    /// Takes up to `max` bytes. The result is empty if there are none at present.
    pub fn read(&self, max: usize) -> Result<Bytes, ReadEnd> {
        let state = self.state.lock();
        if state.buffer.is_empty() {
            return state.read_end().map_or(Ok(Bytes::new()), Err);
        }
        Ok(self.take(state, max))
    }

    /// Like [`Self::read`], but waits for bytes or an end.
    pub fn poll_take(&self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Bytes, ReadEnd>> {
        let mut state = self.state.lock();
        if !state.buffer.is_empty() {
            return Poll::Ready(Ok(self.take(state, max)));
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
        self.note_readable(&state);
        state.give_back();
        let writer = state.room_made();
        drop(state);
        wake(writer);
        Poll::Ready(Ok(n))
    }

    /// Waits until there are bytes to read, or an end.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_readable() {
            return Poll::Ready(());
        }
        let mut state = self.state.lock();
        if state.is_readable() {
            return Poll::Ready(());
        }
        let old = register(&mut state.reader, cx);
        drop(state);
        drop(old);
        Poll::Pending
    }

    /// Returns whether there are bytes to read, or an end.
    pub fn is_readable(&self) -> bool {
        self.readable.load(Ordering::Acquire)
    }

    /// Takes up to `max` bytes, and wakes the writer if it waits for room.
    fn take(&self, mut state: MutexGuard<'_, State>, max: usize) -> Bytes {
        let data = state.buffer.pop(max);
        self.note_readable(&state);
        state.give_back();
        let writer = state.room_made();
        drop(state);
        wake(writer);
        data
    }

    /// Records whether there is something to read. Must follow every change of the buffer and of
    /// how either side ended.
    fn note_readable(&self, state: &State) {
        self.readable.store(state.is_readable(), Ordering::Release);
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
        self.note_readable(&state);
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
        self.note_readable(&state);
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
        self.note_readable(&state);
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
        state.finish(sent);
        self.note_readable(&state);
        let wakers = (state.reader.take(), state.writer.take());
        drop(state);
        wake(wakers.0);
        wake(wakers.1);
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
