//! Request and response bodies between a client and a service. Frames pass as they arrive; none is
//! kept or copied here.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};
use warren_net::{End, Scope};

use crate::http::{
    BoxError, ClientBody,
    limit::{LimitError, Limited, Overrun},
};

/// The body of a client's request, as a service's connection reads it.
pub(super) struct RequestBody {
    /// `None` if it is empty.
    body: Option<Limited<ClientBody>>,
    sending: Option<Arc<Sending>>,
    /// While this is set, nothing is read, because the service was asked first
    /// (`Expect: 100-continue`).
    hold: Option<oneshot::Receiver<()>>,
    /// The scope of the connection that carries only this body. It is reset when the body breaks
    /// off.
    carrier: Option<Scope>,
}

/// The progress of a request's body.
pub(super) struct Sending {
    ended: AtomicBool,
    last: Mutex<Instant>,
}

// === impl RequestBody ===

impl RequestBody {
    pub(super) fn empty() -> Self {
        Self {
            body: None,
            sending: None,
            hold: None,
            carrier: None,
        }
    }

    /// Returns the body with a record of its progress, unless there is nothing to send. `limit` is
    /// in bytes.
    pub(super) fn new(body: ClientBody, limit: Option<u64>) -> (Self, Option<Arc<Sending>>) {
        if body.is_end_stream() {
            return (Self::empty(), None);
        }
        let sending = Arc::new(Sending {
            ended: AtomicBool::new(false),
            last: Mutex::new(Instant::now()),
        });
        let body = Self {
            body: Some(Limited::new(body, limit)),
            sending: Some(Arc::clone(&sending)),
            hold: None,
            carrier: None,
        };
        (body, Some(sending))
    }

    /// Returns a handle that shows whether the body was too large.
    pub(super) fn overrun(&self) -> Overrun {
        self.body.as_ref().map(Limited::overrun).unwrap_or_default()
    }

    /// Sets the connection to reset when the body breaks off. hyper would close an HTTP/1.1
    /// connection cleanly, and the service would mistake a part for the whole.
    pub(super) fn carried_by(&mut self, scope: &Scope) {
        if self.body.is_some() {
            self.carrier = Some(scope.clone());
        }
    }

    /// Makes the body read nothing until the returned sender is used or dropped.
    pub(super) fn hold(&mut self) -> oneshot::Sender<()> {
        let (release, hold) = oneshot::channel();
        self.hold = Some(hold);
        release
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = LimitError<hyper::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Some(hold) = &mut this.hold {
            // It makes no difference whether the sender was used or dropped.
            let _ = ready!(Pin::new(hold).poll(cx));
            this.hold = None;
        }
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        if let Some(sending) = &this.sending {
            *sending.last.lock() = Instant::now();
            let ended = frame.is_none() || body.is_end_stream();
            sending.ended.store(ended, Ordering::Release);
        }
        if let (Some(Err(_)), Some(carrier)) = (&frame, &this.carrier) {
            carrier.end(End::Aborted);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let empty = || SizeHint::with_exact(0);
        self.body.as_ref().map_or_else(empty, HttpBody::size_hint)
    }
}

// === impl Sending ===

impl Sending {
    /// Returns whether the service's connection has taken the whole body.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Returns when the service's connection last took some of it.
    pub(super) fn last(&self) -> Instant {
        *self.last.lock()
    }
}

/// The value that a response holds until its body has ended.
pub(super) trait Held: Send + Unpin + 'static {
    /// Called when the body has ended. If the value is dropped without this call, the response was
    /// given up.
    fn finish(self);
}

/// The body of a service's response, as the client's connection reads it.
pub(super) struct ResponseBody<H: Held> {
    body: Incoming,
    held: Option<H>,
    /// The error with which the body ends, returned on the next poll. A connection is closed at
    /// once on an error, and bytes that were returned just before it would be lost without time to
    /// send them.
    broken: Option<hyper::Error>,
}

// === impl ResponseBody ===

impl<H: Held> ResponseBody<H> {
    pub(super) fn new(body: Incoming, held: H) -> Self {
        let mut body = Self {
            body,
            held: Some(held),
            broken: None,
        };
        body.finish_if(body.body.is_end_stream());
        body
    }

    fn finish_if(&mut self, over: bool) {
        if over && let Some(held) = self.held.take() {
            held.finish();
        }
    }
}

impl<H: Held> HttpBody for ResponseBody<H> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error.into())));
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Err(error)) => {
                self.broken = Some(error);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            frame => frame,
        };
        // A body of known length is not polled again after its last byte.
        let over = frame.is_none() || self.body.is_end_stream();
        self.finish_if(over);
        Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
