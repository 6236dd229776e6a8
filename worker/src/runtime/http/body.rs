//! The body of an answer while its guest writes it, the same for both generations of the interface.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Response, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use wasmtime_wasi_http::{Error as ErrorCode, WasiBody};

use crate::{
    http::{
        Body, BoxError, Malformed,
        head::is_grpc,
        limit::check_head,
        response::{self, Framing},
    },
    runtime::{ComponentRuntime, failure::Failure},
};

/// The guest behind an answer. Dropping it gives the request up, and ends a guest that serves no
/// other.
pub(in crate::runtime) trait Answering: Send + Unpin + 'static {
    /// The client has all that it will get: the guest may finish its work, until its timeout.
    fn release(self);

    /// Whether the guest has failed. A failed one leaves its body as if it had finished it.
    fn has_failed(&self) -> bool;

    /// Ready once the time for the answer is over, for a guest that nothing else ends then.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<Failure>;
}

/// Ends as an error when the guest fails, takes too long or writes other than its head says, so
/// that no client takes a part for the whole. Dropped early, it gives the request up.
struct GuestBody<A> {
    /// `None` once nothing more comes.
    body: Option<WasiBody>,
    component: Arc<ComponentRuntime>,
    length: Option<Length>,
    /// `None` once the answer is whole or has failed.
    guest: Option<A>,
    /// Why it breaks off, on the next occasion: a connection gives up at once, and what came before
    /// the error would be lost if there were no time to send it.
    broken: Option<BoxError>,
}

/// What `content-length` promises, in bytes.
struct Length {
    all: u64,
    left: u64,
    /// The last byte is followed by trailers, maybe: otherwise it ends the body, whatever its guest
    /// still does.
    has_trailers: bool,
}

/// The answer of a guest, checked, with the guest behind it. The guest's log has the reason for
/// every failure.
pub(in crate::runtime) fn answer<A: Answering>(
    component: &Arc<ComponentRuntime>,
    method: &Method,
    mut response: Response<WasiBody>,
    guest: A,
) -> Result<Response<Body>, Failure> {
    let is_empty = response.body().is_end_stream();
    let framing = match response::check(method, &mut response) {
        Ok(Framing::Length(all)) if all > 0 && is_empty => Err(Malformed::NoBody(all)),
        checked => checked,
    };
    let framing = match framing {
        Ok(framing) => framing,
        Err(malformed) => {
            guest.release();
            return Err(component.logged(Failure::Malformed(malformed)));
        }
    };
    if framing == Framing::NoBody || is_empty {
        guest.release();
        return Ok(response.map(|body| {
            discard(body);
            Empty::new().map_err(|never| match never {}).boxed_unsync()
        }));
    }
    let headers = response.headers();
    let has_trailers = headers.contains_key(header::TRAILER) || is_grpc(headers);
    let length = match framing {
        Framing::Length(all) => Some(Length {
            all,
            left: all,
            has_trailers,
        }),
        _ => None,
    };
    Ok(response.map(|body| {
        let mut body = GuestBody {
            body: Some(body),
            component: Arc::clone(component),
            length,
            guest: Some(guest),
            broken: None,
        };
        if body.is_complete() {
            body.release();
        }
        body.boxed_unsync()
    }))
}

/// Reads what no client gets: a guest that answers HEAD as it answers GET must not fail for it. It
/// ends with the guest.
fn discard(mut body: WasiBody) {
    if !body.is_end_stream() {
        tokio::spawn(async move { while let Some(Ok(_)) = body.frame().await {} });
    }
}

// === impl GuestBody ===

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

impl<A: Answering> GuestBody<A> {
    fn release(&mut self) {
        if let Some(guest) = self.guest.take() {
            guest.release();
        }
    }

    /// Whether as many bytes have come as were promised.
    fn is_complete(&self) -> bool {
        self.length.as_ref().is_some_and(|length| length.left == 0)
    }

    fn end(&mut self) -> Polled {
        self.release();
        self.body = None;
        Poll::Ready(None)
    }

    /// The guest has spoiled its answer, and may go on: nobody hears any more of it.
    fn break_off(&mut self, failure: Failure, cx: &mut Context<'_>) -> Polled {
        let failure = self.component.logged(failure);
        self.release();
        // A client that has all that was promised is not concerned.
        if self.is_complete() {
            return self.end();
        }
        self.give_up(failure.to_string(), cx)
    }

    /// Ends the guest, unless it was released.
    fn give_up(&mut self, why: impl Into<BoxError>, cx: &mut Context<'_>) -> Polled {
        self.guest = None;
        self.body = None;
        self.broken = Some(why.into());
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn on_frame(&mut self, frame: Frame<Bytes>, cx: &mut Context<'_>) -> Polled {
        if let Some(data) = frame.data_ref() {
            if let Some(length) = &mut self.length {
                match length.left.checked_sub(data.len() as u64) {
                    Some(left) => length.left = left,
                    None => {
                        let failure = length.exceeded();
                        return self.break_off(failure, cx);
                    }
                }
                // A connection may poll no further once the promised length was written.
                if self.is_complete() {
                    self.release();
                }
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            if let Err(too_large) = check_head(trailers) {
                let text = format!("its trailers are too large: {too_large}");
                return self.break_off(Failure::BrokeOff(text), cx);
            }
            match &self.length {
                Some(length) if length.left > 0 => {
                    let failure = length.missed();
                    return self.break_off(failure, cx);
                }
                // Nothing follows trailers, and nobody asks for it.
                _ => self.release(),
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn on_error(&mut self, code: ErrorCode, cx: &mut Context<'_>) -> Polled {
        let failure = match (&self.length, code) {
            (Some(length), ErrorCode::HttpResponseBodySize(Some(size))) if size > length.all => {
                length.exceeded()
            }
            (Some(length), ErrorCode::HttpResponseBodySize(_) | ErrorCode::HttpProtocolError)
                if length.left > 0 =>
            {
                length.missed()
            }
            (_, ErrorCode::HttpProtocolError) => {
                Failure::BrokeOff("its body was dropped before it was finished".into())
            }
            (_, code) => Failure::broke_off(code),
        };
        self.break_off(failure, cx)
    }
}

impl<A: Answering> HttpBody for GuestBody<A> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(this.broken.take().map(Err));
        };
        let frame = match Pin::new(body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let Some(guest) = &mut this.guest else {
                    return Poll::Pending;
                };
                return match guest.poll_expired(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(failure) => {
                        let failure = this.component.logged(failure);
                        this.give_up(failure.to_string(), cx)
                    }
                };
            }
        };
        match frame {
            Some(Ok(frame)) => this.on_frame(frame, cx),
            // Its log has the reason.
            _ if this.guest.as_ref().is_some_and(Answering::has_failed) => {
                this.give_up("the component failed before its answer was whole", cx)
            }
            Some(Err(code)) => this.on_error(code, cx),
            None => match &this.length {
                Some(length) if length.left > 0 => {
                    let failure = length.missed();
                    this.break_off(failure, cx)
                }
                _ => this.end(),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        let has_all = |length: &Length| length.left == 0 && !length.has_trailers;
        self.body.is_none() && self.broken.is_none() || self.length.as_ref().is_some_and(has_all)
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.length.as_ref().map(|length| length.left);
        length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

// === impl Length ===

impl Length {
    fn exceeded(&self) -> Failure {
        let all = self.all;
        Failure::BrokeOff(format!(
            "its body is longer than its content-length of {all} bytes"
        ))
    }

    fn missed(&self) -> Failure {
        let (all, came) = (self.all, self.all - self.left);
        Failure::BrokeOff(format!(
            "its body ended after {came} of the {all} bytes of its content-length"
        ))
    }
}
