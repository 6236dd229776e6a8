//! Bodies on their way: what fails in one is told as what it was.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::{Error, WasiBody};

use super::{
    super::host_memory::Charge,
    client::{Flight, Tasks},
    failure,
};

/// The body of a guest's request, `None` where there is none.
///
/// HTTP/1.1 drops one unread where it sends none: with a GET that does not say how long it is, or a
/// length of 0. A guest that has yet to end its body, as empty as that may be, must not find it
/// broken: it is read to its end, which comes with the guest's at the latest.
pub(super) struct RequestBody {
    body: Option<WasiBody>,
    broken: Broken,
    is_read: bool,
    tasks: Option<Tasks>,
}

/// Why a guest's body broke off, for whoever waits for the response: the client below would only
/// say that it did.
#[derive(Clone, Default)]
pub(super) struct Broken(Arc<Mutex<Option<Error>>>);

/// The guest's body broke off; [`Broken`] says why.
#[derive(Debug, thiserror::Error)]
#[error("the guest's body broke off")]
pub(super) struct BrokeOff;

/// The body of a response, each piece of which comes within a time.
pub(super) struct ResponseBody {
    body: Incoming,
    patience: Duration,
    /// Runs while the guest waits: what it does between pieces is its own time.
    timer: Pin<Box<Sleep>>,
    is_waiting: bool,
    _flight: Flight,
    /// Of the head, while it may not have reached the guest.
    _head: Charge,
}

// === impl RequestBody ===

impl RequestBody {
    pub(super) fn new(body: WasiBody, tasks: Tasks) -> (Self, Broken) {
        let broken = Broken::default();
        let body = Self {
            body: Some(body),
            broken: broken.clone(),
            is_read: false,
            tasks: Some(tasks),
        };
        (body, broken)
    }

    pub(super) fn empty() -> Self {
        Self {
            body: None,
            broken: Broken::default(),
            is_read: false,
            tasks: None,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        self.is_read = true;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        Pin::new(body).poll_frame(cx).map_err(|error| {
            *self.broken.0.lock() = Some(error);
            BrokeOff
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let (false, Some(mut body), Some(tasks)) =
            (self.is_read, self.body.take(), self.tasks.take())
            && !body.is_end_stream()
        {
            tasks.run(async move { while let Some(Ok(_)) = body.frame().await {} });
        }
    }
}

// === impl Broken ===

impl Broken {
    pub(super) fn take(&self) -> Option<Error> {
        self.0.lock().take()
    }
}

// === impl ResponseBody ===

impl ResponseBody {
    pub(super) fn new(body: Incoming, patience: Duration, flight: Flight, head: Charge) -> Self {
        Self {
            body,
            patience,
            timer: Box::pin(sleep(patience)),
            is_waiting: false,
            _flight: flight,
            _head: head,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.is_waiting = false;
            return Poll::Ready(frame.map(|f| f.map_err(|error| failure::of_body(&error))));
        }
        if !self.is_waiting {
            self.is_waiting = true;
            let until = Instant::now() + self.patience;
            self.timer.as_mut().reset(until);
        }
        match self.timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Error::ConnectionReadTimeout))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
