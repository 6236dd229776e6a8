//! The body of an answer while its instance writes it.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};
use wasmtime_wasi_http::WasiBody;

use crate::{
    ingress::{Body, BoxError},
    runtime::{ComponentRuntime, failure::Failure, slots::Slot},
};

use super::{Answer, Lease};

/// Ends as an error when the instance fails or takes too long, so that no client takes a part for the whole. Dropped early,
/// it gives the request up.
struct GuestBody {
    body: WasiBody,
    /// What `content-length` has promised beyond what was sent: whoever writes it to a connection asks no further.
    remaining: Option<u64>,
    deadline: Pin<Box<Sleep>>,
    timeout: Duration,
    /// `None` once the answer is whole or has failed.
    open: Option<Open>,
}

/// What an answer holds until it is whole.
struct Open {
    lease: Lease,
    _done: oneshot::Sender<()>,
    _slot: Slot,
}

/// The answer with its place in the instance.
pub(super) fn response(
    answer: Answer,
    lease: Lease,
    slot: Slot,
    deadline: Instant,
    component: &Arc<ComponentRuntime>,
) -> Response<Body> {
    let Answer { response, done } = answer;
    let remaining = response
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    response.map(|body| {
        if body.is_end_stream() || remaining == Some(0) {
            lease.finish();
            return body.map_err(|e| e.to_string().into()).boxed_unsync();
        }
        let open = Open {
            lease,
            _done: done,
            _slot: slot,
        };
        GuestBody {
            body,
            remaining,
            deadline: Box::pin(sleep_until(deadline)),
            timeout: component.timeout(),
            open: Some(open),
        }
        .boxed_unsync()
    })
}

// === impl GuestBody ===

impl GuestBody {
    fn finish(&mut self) {
        if let Some(open) = self.open.take() {
            open.lease.finish();
        }
    }

    /// Gives the request up.
    fn fail(&mut self, why: impl Into<BoxError>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.open = None;
        Poll::Ready(Some(Err(why.into())))
    }
}

impl HttpBody for GuestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(remaining), Some(data)) = (&mut self.remaining, frame.data_ref()) {
                    *remaining = remaining.saturating_sub(data.len() as u64);
                    if *remaining == 0 {
                        self.finish();
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.fail(error.to_string()),
            Poll::Ready(None) => {
                if self
                    .open
                    .as_ref()
                    .is_some_and(|open| open.lease.has_failed())
                {
                    return self.fail("the component failed before its answer was whole");
                }
                self.finish();
                Poll::Ready(None)
            }
            Poll::Pending if self.open.is_some() && self.deadline.as_mut().poll(cx).is_ready() => {
                let failure = Failure::Timeout(self.timeout);
                self.fail(failure.to_string())
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
