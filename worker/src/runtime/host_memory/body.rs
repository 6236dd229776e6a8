//! Bodies with charges for their pieces, both those received for a guest and those written by it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::Error;

use super::{Charge, Held, HostBudget};

/// A body that fails when reading it makes the worker hold more for the guest than its budget
/// allows.
pub struct MeteredBody<B> {
    body: B,
    budget: Arc<HostBudget>,
}

/// A body of 0.3 with a charge for one piece, which may wait until it is taken.
pub struct HeldBody<B> {
    body: B,
    _piece: Charge,
}

// === impl MeteredBody ===

impl<B> MeteredBody<B> {
    pub fn new(body: B, budget: &Arc<HostBudget>) -> Self {
        Self {
            body,
            budget: Arc::clone(budget),
        }
    }
}

impl<B> Body for MeteredBody<B>
where
    B: Body<Data = Bytes, Error = Error> + Unpin,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let Some(Ok(frame)) = frame else {
            return Poll::Ready(frame);
        };
        let held = match frame.into_data() {
            Ok(data) => self.budget.hold(Held::Bodies, data).map(Frame::data),
            Err(trailers) => Ok(trailers),
        };
        let told = |error: super::Exceeded| Error::InternalError(Some(error.to_string()));
        Poll::Ready(Some(held.map_err(told)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl HeldBody ===

impl<B> HeldBody<B> {
    pub fn new(body: B, piece: Charge) -> Self {
        Self {
            body,
            _piece: piece,
        }
    }
}

impl<B: Body + Unpin> Body for HeldBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
