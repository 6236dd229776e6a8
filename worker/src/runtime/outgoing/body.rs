//! Bodies of outgoing requests and their responses, which keep the exact reason of a failure.

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

/// The body of a guest's request, or `None` if it has none.
///
/// The HTTP/1.1 client drops a body unread if it sends none, as with a GET without a length or with
/// a length of 0. A guest that has not yet ended its body, empty as it may be, must not find it
/// broken. The body is therefore read to its end, which comes with the end of the guest at the
/// latest.
pub(super) struct RequestBody {
    body: Option<WasiBody>,
    broken: Broken,
    is_read: bool,
    tasks: Option<Tasks>,
}

/// The reason why a guest's body broke off, for the code that waits for the response: the client
/// below would only report that it did.
#[derive(Clone, Default)]
pub(super) struct Broken(Arc<Mutex<Option<Error>>>);

/// The guest's body broke off. [`Broken`] has the reason.
#[derive(Debug, thiserror::Error)]
#[error("the guest's body broke off")]
pub(super) struct BrokeOff;

/// The body of a response, each piece of which must arrive in time.
pub(super) struct ResponseBody {
    body: Incoming,
    patience: Duration,
    /// This runs only while the guest waits: the time between its reads is its own.
    timer: Pin<Box<Sleep>>,
    is_waiting: bool,
    _flight: Flight,
    /// The charge for the head, which may not have reached the guest yet.
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
