//! Resets HTTP/2 streams whose client takes nothing of its answer.
//!
//! A client that keeps the flow-control window of a stream closed holds the answer, its guest and
//! the connection's place, while TCP sees a healthy connection. Such a stream is reset, and the
//! others of its connection continue.

use std::{cell::Cell, future::poll_fn, pin::pin, task::Poll, time::Duration};

use hyper::rt::Executor;
use tokio::time::sleep;

thread_local! {
    /// The progress of the answer of the stream that this thread polls.
    static ANSWER: Cell<Answer> = const { Cell::new(Answer::Untouched) };
}

/// The progress of an answer in one poll of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Nothing happened: the client has not taken what was produced before.
    Untouched,
    /// More of it was produced.
    Came,
    /// Its guest has not produced more yet.
    Waits,
}

/// Records the result of polling an answer or its body, and returns it.
pub(super) fn note<T>(polled: Poll<T>) -> Poll<T> {
    ANSWER.set(match polled {
        Poll::Ready(_) => Answer::Came,
        Poll::Pending => Answer::Waits,
    });
    polled
}

/// Spawns the streams of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams {
    /// The time in which a client must take some of an answer that is ready.
    pub stall_timeout: Duration,
}

// === impl Streams ===

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let stall_timeout = self.stall_timeout;
        tokio::spawn(async move {
            let mut stream = pin!(stream);
            // This runs while the answer waits for the client.
            let mut stalled = None;
            poll_fn(|cx| {
                ANSWER.set(Answer::Untouched);
                if stream.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                match ANSWER.get() {
                    Answer::Waits => stalled = None,
                    Answer::Came => stalled = Some(Box::pin(sleep(stall_timeout))),
                    Answer::Untouched => {}
                }
                match &mut stalled {
                    // Dropping the stream resets it.
                    Some(stalled) => stalled.as_mut().poll(cx),
                    None => Poll::Pending,
                }
            })
            .await;
        });
    }
}
