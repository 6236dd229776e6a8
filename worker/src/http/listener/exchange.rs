//! One request and its answer, and what happens to the rest of either body when the other is
//! complete.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::http::Body;

/// The amount of a request that is read and discarded after its reader has dropped it, so that the
/// client can read the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unread {
    pub bytes: u64,
    /// The time after the answer was sent.
    pub time: Duration,
}

impl Unread {
    /// HTTP/1.1 can only stop a client by closing the connection, which may cost it the answer.
    pub const HTTP1: Self = Self {
        bytes: 256 << 20,
        time: Duration::from_secs(30),
    };
    /// In HTTP/2 the stream is then reset with NO_ERROR, which tells a client to stop and to keep
    /// the answer (RFC 9113, section 8.1).
    pub const HTTP2: Self = Self {
        bytes: 1 << 20,
        time: Duration::from_secs(5),
    };
    /// Another worker is known to understand that reset.
    pub const WORKER: Self = Self {
        bytes: 64 << 10,
        time: Duration::from_secs(1),
    };
}

/// The bounds on what follows the last byte of a complete answer: the end of its stream, or
/// trailers that cannot be sent.
const REST_TIME: Duration = Duration::from_secs(60);
const REST_BYTES: usize = 1 << 20;

/// The tasks that read the rest of bodies whose reader is gone, for all connections of a listener.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    tasks: TaskTracker,
    ended: CancellationToken,
    /// Cancelled when the listener begins to drain.
    draining: CancellationToken,
}

/// The part of [`Unread`] that remains.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: AtomicU64,
    time: Duration,
}

/// A request whose body is not empty.
#[derive(Debug)]
pub(super) struct Exchange {
    budget: Budget,
    /// True if the client waits for `100 Continue` before it sends its body.
    expects: bool,
    complete: AtomicBool,
    cut: AtomicBool,
    answered: CancellationToken,
    rest: Arc<Rest>,
}

/// The body of a client's request. If it is dropped early, what the client still sends is
/// discarded, within bounds. Closing the connection with unread bytes would reset it, and the
/// client would lose the answer.
#[derive(Debug)]
pub struct ClientBody {
    /// `None` if it is empty.
    incoming: Option<(Incoming, Arc<Exchange>)>,
    /// True if the client was asked to send it.
    begun: bool,
}

// === impl Rest ===

impl Rest {
    pub fn new(draining: CancellationToken) -> Self {
        Self {
            tasks: TaskTracker::new(),
            ended: CancellationToken::new(),
            draining,
        }
    }

    /// Reads what follows a complete answer. Dropping the body would reset its stream, or end its
    /// guest.
    pub fn finish(&self, mut body: Body) {
        let rest = async move {
            let mut size = 0;
            while let Some(Ok(frame)) = body.frame().await {
                size += frame.data_ref().map_or(0, Bytes::len);
                if size > REST_BYTES {
                    return;
                }
            }
        };
        self.spawn(timeout(REST_TIME, rest));
    }

    /// Ends the remaining tasks.
    pub async fn end(self) {
        self.ended.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn spawn<T>(&self, task: impl Future<Output = T> + Send + 'static) {
        let ended = self.ended.clone();
        self.tasks.spawn(async move {
            ended.run_until_cancelled_owned(task).await;
        });
    }
}

// === impl Budget ===

impl Budget {
    pub fn new(unread: Unread) -> Self {
        Self {
            bytes: AtomicU64::new(unread.bytes),
            time: unread.time,
        }
    }

    /// Returns `false` if the budget is exhausted.
    pub fn spend(&self, count: usize) -> bool {
        let spend = |left: u64| left.checked_sub(count as u64);
        let spent = self
            .bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, spend);
        if spent.is_err() {
            self.bytes.store(0, Ordering::Release);
        }
        spent.is_ok()
    }

    pub fn time(&self) -> Duration {
        self.time
    }
}

// === impl Exchange ===

impl Exchange {
    pub fn new(unread: Unread, expects: bool, rest: &Arc<Rest>) -> Arc<Self> {
        Arc::new(Self {
            budget: Budget::new(unread),
            expects,
            complete: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            answered: CancellationToken::new(),
            rest: Arc::clone(rest),
        })
    }

    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Records that the client has the complete answer, or will never have it.
    pub fn answered(&self) {
        self.answered.cancel();
    }

    /// Returns whether the whole body was read.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Returns whether the client, or its connection, ended before the body was complete.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    fn saw(&self, incoming: &Incoming, frame: Option<&hyper::Result<Frame<Bytes>>>) {
        match frame {
            Some(Err(_)) => self.cut.store(true, Ordering::Release),
            Some(Ok(_)) if !incoming.is_end_stream() => {}
            _ => self.complete.store(true, Ordering::Release),
        }
    }

    /// Continues to read without a reader while the answer is being written, and for a while after
    /// that.
    fn discard(self: Arc<Self>, mut incoming: Incoming) {
        let rest = Arc::clone(&self.rest);
        rest.spawn(async move {
            let reading = async {
                loop {
                    let frame = incoming.frame().await;
                    self.saw(&incoming, frame.as_ref());
                    match frame {
                        Some(Ok(frame)) => {
                            let size = frame.data_ref().map_or(0, Bytes::len);
                            if self.is_complete() || !self.budget.spend(size) {
                                return;
                            }
                        }
                        _ => return,
                    }
                }
            };
            tokio::pin!(reading);
            tokio::select! {
                () = &mut reading => return,
                () = self.answered.cancelled() => {}
            }
            let end = Instant::now() + self.budget.time();
            tokio::select! {
                _ = timeout_at(end, reading) => {}
                () = self.rest.draining.cancelled() => {}
            }
        });
    }
}

// === impl ClientBody ===

impl ClientBody {
    pub(super) fn new(incoming: Incoming, exchange: Arc<Exchange>) -> Self {
        Self {
            incoming: Some((incoming, exchange)),
            begun: false,
        }
    }

    pub(crate) fn empty() -> Self {
        Self {
            incoming: None,
            begun: false,
        }
    }
}

impl HttpBody for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.begun = true;
        let Some((incoming, exchange)) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
        exchange.saw(incoming, frame.as_ref());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let body = self.incoming.as_ref();
        body.is_none_or(|(incoming, _)| incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let empty = || SizeHint::with_exact(0);
        let body = self.incoming.as_ref();
        body.map_or_else(empty, |(incoming, _)| incoming.size_hint())
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        let Some((incoming, exchange)) = self.incoming.take() else {
            return;
        };
        // Reading would make hyper send `100 Continue`, and the client would send a body that is
        // not wanted.
        let waits = exchange.expects && !self.begun;
        if !waits && !exchange.is_complete() && !exchange.is_cut() {
            exchange.discard(incoming);
        }
    }
}
