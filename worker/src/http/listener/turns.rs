//! Lets the task of a body wait until everything written before has been sent to the client.

use std::{
    mem,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    task::{Context, Poll, Waker},
};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use super::admit::InFlight;

/// The polls of one connection. In every version of HTTP, each of them passes all that may be sent
/// to the socket.
#[derive(Debug, Default)]
pub(super) struct Turns {
    begun: AtomicU64,
    ended: AtomicU64,
    /// Whether the socket did not take everything that it was last given.
    blocked: AtomicBool,
    task: AtomicWaker,
    waiting: Mutex<Vec<Waker>>,
    /// The requests whose answers were written, but may not have been sent to the client.
    unsent: Mutex<Vec<InFlight>>,
}

/// The last turn that had begun when a wait began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn(u64);

// === impl Turns ===

impl Turns {
    /// Runs one poll of the connection.
    pub fn take<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.task.register(cx.waker());
        let turn = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let polled = poll(cx);
        self.ended.store(turn, Ordering::Release);
        // The list is locked after the store, so a task that is not in the list yet will find that
        // the turn has ended.
        for waker in mem::take(&mut *self.waiting.lock()) {
            waker.wake();
        }
        if !self.blocked.load(Ordering::Acquire) {
            let sent = mem::take(&mut *self.unsent.lock());
            // These are dropped without the lock, because each takes the lock of the listener's
            // places.
            drop(sent);
        }
        polled
    }

    /// Records whether the socket took a write or a flush.
    pub fn wrote<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.blocked.store(polled.is_pending(), Ordering::Release);
        polled
    }

    /// Drops `in_flight` once the socket has taken everything that was written so far.
    pub fn keep_until_flushed(&self, in_flight: InFlight) {
        self.unsent.lock().push(in_flight);
        let ended = self.ended.load(Ordering::Acquire);
        // A turn that is in progress drops it at its end.
        if ended == self.begun.load(Ordering::Acquire) {
            self.task.wake();
        }
    }

    pub fn current(&self) -> Turn {
        Turn(self.begun.load(Ordering::Acquire))
    }

    /// Returns `Ready` when a turn that began after `since` has ended and the socket has taken
    /// everything.
    pub fn poll_flushed(&self, since: Turn, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.waiting.lock();
        let ended = self.ended.load(Ordering::Acquire) > since.0;
        if ended && !self.blocked.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        waiting.push(cx.waker().clone());
        drop(waiting);
        if !ended {
            self.task.wake();
        }
        Poll::Pending
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{future::poll_fn, pin::pin, task};

    use futures::poll;
    use tokio_util::sync::CancellationToken;
    use warren_model::admission::{Bounds, Places};

    use super::*;

    fn turn(turns: &Turns, write: Poll<()>) {
        let mut cx = Context::from_waker(Waker::noop());
        let polled = turns.take(&mut cx, |_| turns.wrote(write));
        assert_eq!(polled, write);
    }

    #[tokio::test]
    async fn a_wait_ends_with_a_whole_turn_that_the_socket_took() {
        let turns = Turns::default();
        turn(&turns, Poll::Ready(()));
        let since = turns.current();
        let mut flushed = pin!(poll_fn(|cx| turns.poll_flushed(since, cx)));
        assert!(poll!(&mut flushed).is_pending(), "the turn was before");
        turn(&turns, Poll::Pending);
        assert!(poll!(&mut flushed).is_pending(), "the socket is full");
        turn(&turns, Poll::Ready(()));
        assert!(poll!(&mut flushed).is_ready());
    }

    #[tokio::test]
    async fn a_turn_that_had_begun_does_not_count() {
        let turns = Turns::default();
        let mut cx = Context::from_waker(Waker::noop());
        let since = turns.take(&mut cx, |_| Poll::Ready(turns.current()));
        let Poll::Ready(since) = since else { return };
        let mut flushed = pin!(poll_fn(|cx| turns.poll_flushed(since, cx)));
        assert!(poll!(&mut flushed).is_pending());
        turn(&turns, Poll::Ready(()));
        assert!(poll!(&mut flushed).is_ready());
    }

    #[tokio::test]
    async fn an_idle_connection_is_woken_for_a_wait() {
        let turns = Turns::default();
        let (woken, count) = futures_counter();
        let mut cx = Context::from_waker(&woken);
        let _ = turns.take(&mut cx, |_| Poll::<()>::Pending);
        let since = turns.current();
        let mut flushed = pin!(poll_fn(|cx| turns.poll_flushed(since, cx)));
        assert!(poll!(&mut flushed).is_pending());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_request_is_in_flight_until_its_answer_was_sent() {
        let places = Places::new(Bounds::of(1));
        let entered = places.enter(None, CancellationToken::new()).unwrap();
        let turns = Turns::default();
        turn(&turns, Poll::Pending);
        turns.keep_until_flushed(entered.place.begin().unwrap());
        turn(&turns, Poll::Pending);
        assert_eq!(entered.place.idle_since(), None);
        turn(&turns, Poll::Ready(()));
        assert!(entered.place.idle_since().is_some());

        // It ends within a turn, or requests one.
        let (woken, count) = futures_counter();
        let mut cx = Context::from_waker(&woken);
        let _ = turns.take(&mut cx, |_| {
            turns.keep_until_flushed(entered.place.begin().unwrap());
            turns.wrote(Poll::Ready(()))
        });
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        assert!(entered.place.idle_since().is_some());
        turns.keep_until_flushed(entered.place.begin().unwrap());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(entered.place.idle_since(), None);
    }

    #[derive(Default)]
    struct Count(AtomicU64);

    impl task::Wake for Count {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn futures_counter() -> (Waker, std::sync::Arc<Count>) {
        let count = std::sync::Arc::new(Count::default());
        (Waker::from(std::sync::Arc::clone(&count)), count)
    }
}
