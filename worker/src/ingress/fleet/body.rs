//! Bodies on their way between two workers. Frames pass as they come; none is kept or copied here.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;

use crate::ingress::BoxError;

/// A client's body, which is lent to one attempt after the other until something of it was sent.
pub(super) struct Source(Arc<Shared>);

struct Shared {
    /// There while nobody has it.
    body: Mutex<Option<Incoming>>,
    /// Whether the request has none.
    empty: bool,
    begun: AtomicBool,
}

/// The body in one attempt. Dropped before anything of it was read, it goes back.
pub(super) struct Lent {
    body: Option<Incoming>,
    shared: Arc<Shared>,
}

/// A response's body and what it holds until it is over.
pub(super) struct Held<T> {
    body: Incoming,
    _held: T,
}

// === impl Source ===

impl Source {
    pub fn new(body: Incoming) -> Self {
        Self(Arc::new(Shared {
            empty: body.is_end_stream(),
            body: Mutex::new(Some(body)),
            begun: AtomicBool::new(false),
        }))
    }

    pub fn is_begun(&self) -> bool {
        self.0.begun.load(Ordering::Acquire)
    }

    /// `None` when it was begun, or the attempt before has not let go of it.
    pub fn lend(&self) -> Option<Lent> {
        let shared = Arc::clone(&self.0);
        let body = match shared.empty {
            true => None,
            false if shared.begun.load(Ordering::Acquire) => return None,
            false => Some(shared.body.lock().take()?),
        };
        Some(Lent { body, shared })
    }
}

// === impl Lent ===

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(cx);
        if frame.is_ready() {
            self.shared.begun.store(true, Ordering::Release);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let empty = || SizeHint::with_exact(0);
        self.body.as_ref().map_or_else(empty, Body::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.shared.begun.load(Ordering::Acquire) {
            *self.shared.body.lock() = self.body.take();
        }
    }
}

// === impl Held ===

impl<T> Held<T> {
    pub fn new(body: Incoming, held: T) -> Self {
        Self { body, _held: held }
    }
}

impl<T: Unpin> Body for Held<T> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        frame.map(|frame| frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
