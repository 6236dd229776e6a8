//! The answer to a request as it is written to the client, whatever produced it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::{
    admit::InFlight,
    exchange::{Exchange, Rest},
    stall,
    turns::{Turn, Turns},
};
use crate::http::{
    Body, BoxError, Malformed,
    limit::{HeadTooLarge, check_head},
    plain_text,
    response::{self, Framing},
    tunnel::Tunnel,
};

/// The properties of a request that its answer depends on.
pub(super) struct Asked {
    pub method: Method,
    /// `None` if the request had no body.
    pub exchange: Option<Arc<Exchange>>,
    pub in_flight: InFlight,
}

/// A body that does what its head announces: it ends complete or with an error, and never before
/// its head was sent.
pub(super) struct AnswerBody {
    /// `None` if there is no body, or it was passed to [`Rest`].
    body: Option<Body>,
    /// The bytes that `content-length` announces and that have not been sent yet.
    left: Option<u64>,
    ended: bool,
    failing: Option<(BoxError, Turn)>,
    turns: Arc<Turns>,
    rest: Arc<Rest>,
    exchange: Option<Arc<Exchange>>,
    /// Keeps the connection in use until the answer has been sent. `None` once this is dropped.
    in_flight: Option<InFlight>,
}

/// The reason why a body broke off.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the answer is shorter than its content-length")]
    Short,
    #[error("the answer is longer than its content-length")]
    Long,
    #[error("the answer's trailers: {0}")]
    Trailers(HeadTooLarge),
}

/// Checks an answer, and replaces one that cannot be passed on.
pub(super) fn prepare(
    response: Response<Body>,
    asked: Asked,
    turns: &Arc<Turns>,
    rest: &Arc<Rest>,
) -> Response<AnswerBody> {
    let Asked {
        method,
        exchange,
        in_flight,
    } = asked;
    let cut = exchange.as_ref().is_some_and(|exchange| exchange.is_cut());
    // The client caused the failure, whatever the guest made of the part of the request that it
    // received.
    let mut response = match cut && !response.status().is_client_error() {
        true => plain_text(
            StatusCode::BAD_REQUEST,
            "the request ended before its body was complete",
        ),
        false => response,
    };
    let framing = match check(&method, &mut response) {
        Ok(framing) => framing,
        Err(malformed) => {
            tracing::debug!(%malformed, "replaced an invalid answer");
            let text = format!("the answer is not valid HTTP: {malformed}");
            response = plain_text(StatusCode::BAD_GATEWAY, text);
            match method {
                Method::HEAD => Framing::NoBody,
                _ => Framing::Open,
            }
        }
    };
    if method == Method::HEAD
        && !response.headers().contains_key(header::CONTENT_LENGTH)
        && let Some(length) = response.body().size_hint().exact()
    {
        // The answer to HEAD has the length that the answer to GET would have.
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    response.map(|body| {
        let (body, left) = match framing {
            Framing::NoBody => {
                if !body.is_end_stream() {
                    rest.finish(body);
                }
                (None, None)
            }
            Framing::Length(length) => (Some(body), Some(length)),
            Framing::Open => (Some(body), None),
        };
        AnswerBody {
            body,
            left,
            ended: false,
            failing: None,
            turns: Arc::clone(turns),
            rest: Arc::clone(rest),
            exchange,
            in_flight: Some(in_flight),
        }
    })
}

fn check(method: &Method, response: &mut Response<Body>) -> Result<Framing, Malformed> {
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS
        && response.extensions().get::<Tunnel>().is_some();
    match switches {
        true => Ok(Framing::NoBody),
        false => response::check(method, response),
    }
}

/// Returns whether the answer ends with the connection, for a client that does not know chunks.
pub(super) fn ends_with_connection(response: &Response<Body>) -> bool {
    let headers = response.headers();
    !headers.contains_key(header::CONTENT_LENGTH) && response.body().size_hint().exact().is_none()
}

// === impl AnswerBody ===

impl AnswerBody {
    fn finish(&mut self) {
        self.ended = true;
        self.body = None;
        if let Some(exchange) = &self.exchange {
            exchange.answered();
        }
    }

    /// Fails after everything written before has been sent: hyper drops what it has not written
    /// when a body fails.
    fn fail(&mut self, error: BoxError) {
        self.body = None;
        self.failing = Some((error, self.turns.current()));
    }

    /// Returns `None` if there is nothing to pass on.
    fn pass(&mut self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        if let Some(trailers) = frame.trailers_ref() {
            if let Err(error) = check_head(trailers) {
                self.fail(Broken::Trailers(error).into());
                return None;
            }
            if self.left.is_some_and(|left| left > 0) {
                self.fail(Broken::Short.into());
                return None;
            }
            return Some(frame);
        }
        let size = frame.data_ref().map_or(0, Bytes::len);
        if let Some(left) = &mut self.left {
            match left.checked_sub(size as u64) {
                Some(rest) => *left = rest,
                None => {
                    self.fail(Broken::Long.into());
                    return None;
                }
            }
        }
        // An empty frame carries nothing, and peers of HTTP/2 count them as an attack.
        (size > 0).then_some(frame)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        while let Some(body) = &mut self.body {
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Some(frame) = self.pass(frame) {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                Some(Err(error)) => self.fail(error),
                None if self.left.is_some_and(|left| left > 0) => self.fail(Broken::Short.into()),
                None => self.finish(),
            }
        }
        if let Some((_, since)) = &self.failing {
            ready!(self.turns.poll_flushed(*since, cx));
        }
        let failed = self.failing.take();
        self.finish();
        Poll::Ready(failed.map(|(error, _)| Err(error)))
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        stall::note(self.poll_next(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.failing.is_none()
            && self.left.is_none_or(|left| left == 0)
            && self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let none = || SizeHint::with_exact(0);
        self.body.as_ref().map_or_else(none, HttpBody::size_hint)
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Some(in_flight) = self.in_flight.take() {
            self.turns.keep_until_flushed(in_flight);
        }
        if self.ended {
            return;
        }
        if let Some(exchange) = &self.exchange {
            exchange.answered();
        }
        if self.left == Some(0)
            && let Some(body) = self.body.take()
            && !body.is_end_stream()
        {
            self.rest.finish(body);
        }
    }
}
