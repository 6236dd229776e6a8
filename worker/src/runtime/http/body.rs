//! The body of an answer while its guest writes it, for both generations of the interface.

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

/// The error of a body whose guest has failed. The reason is in the guest's log.
const FAILED: &str = "the component failed before its answer was complete";

/// The guest behind an answer. Dropping it gives up the request, and ends a guest that serves no
/// other.
pub(in crate::runtime) trait Answering: Send + Unpin + 'static {
    /// Records that the client has all that it will get. The guest may finish its work until its
    /// timeout.
    fn release(self);

    /// Returns whether the guest has failed. The body of a failed guest ends as if it were
    /// complete.
    fn has_failed(&self) -> bool;

    /// Returns `Ready` once the guest has failed or the time for the answer is over. A body that
    /// the guest only passes on does not end with it. `None` means that the reason is in the
    /// guest's log.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<Failure>>;
}

/// The body of an answer. It ends with an error if the guest fails, takes too long or does not
/// write what its head announced, so that no client mistakes a part for the whole. Dropping it
/// early gives up the request.
struct GuestBody<A> {
    /// `None` once nothing more follows.
    body: Option<WasiBody>,
    component: Arc<ComponentRuntime>,
    length: Option<Length>,
    /// `None` once the answer is complete or has failed.
    guest: Option<A>,
    /// The error with which the body ends, returned on the next poll. A connection is closed at
    /// once on an error, and bytes that were returned just before it would be lost without time to
    /// send them.
    broken: Option<BoxError>,
}

/// The bytes that `content-length` announces.
struct Length {
    all: u64,
    left: u64,
    /// Whether trailers may follow the last byte. Otherwise that byte ends the body, whatever its
    /// guest still does.
    has_trailers: bool,
}

/// Checks the answer of a guest and returns it with the guest behind its body. The reason for every
/// failure is in the guest's log.
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

/// Reads a body that no client gets, until it or its guest ends. A guest that answers HEAD as it
/// answers GET must not fail for it.
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

    /// Returns whether all the announced bytes have been written.
    fn is_complete(&self) -> bool {
        self.length.as_ref().is_some_and(|length| length.left == 0)
    }

    fn end(&mut self) -> Polled {
        self.release();
        self.body = None;
        Poll::Ready(None)
    }

    /// Ends an invalid answer. The guest may continue, but nothing more of its answer is used.
    fn break_off(&mut self, failure: Failure, cx: &mut Context<'_>) -> Polled {
        let failure = self.component.logged(failure);
        self.release();
        // A client that has all that was announced is not affected.
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
                // A connection may stop polling once the announced length was written.
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
                // Nothing follows trailers, and a connection does not poll for more.
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
                return match guest.poll_ended(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(None) => this.give_up(FAILED, cx),
                    Poll::Ready(Some(failure)) => {
                        let failure = this.component.logged(failure);
                        this.give_up(failure.to_string(), cx)
                    }
                };
            }
        };
        match frame {
            Some(Ok(frame)) => this.on_frame(frame, cx),
            // The reason is in the guest's log.
            _ if this.guest.as_ref().is_some_and(Answering::has_failed) => this.give_up(FAILED, cx),
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
