//! The answer to a request, as it is written to the client, whatever produced it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::{
    exchange::{Exchange, Rest},
    turns::{Turn, Turns},
};
use crate::ingress::{
    Body, BoxError,
    head_limit::{self, HeadTooLarge},
    plain_text,
    tunnel::Tunnel,
};

/// What the answer needs to know of its request.
pub(super) struct Asked {
    pub method: Method,
    /// `None`: it had no body.
    pub exchange: Option<Arc<Exchange>>,
}

/// A body that keeps what its head promises: it ends whole, or as an error, and never before its
/// head is out.
pub(super) struct AnswerBody {
    /// `None`: none, or handed to [`Rest`].
    body: Option<Body>,
    /// What `content-length` promises beyond what was sent.
    left: Option<u64>,
    ended: bool,
    failing: Option<(BoxError, Turn)>,
    turns: Arc<Turns>,
    rest: Rest,
    exchange: Option<Arc<Exchange>>,
}

/// Why an answer cannot be passed on.
#[derive(Debug, thiserror::Error)]
enum Invalid {
    #[error("its status {0} is informational, and cannot be the last")]
    Informational(StatusCode),
    #[error("{0}")]
    Head(HeadTooLarge),
    #[error("its content-length is not one number")]
    Length,
}

/// Why a body broke off.
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
    rest: &Rest,
) -> Response<AnswerBody> {
    let Asked { method, exchange } = asked;
    let cut = exchange.as_ref().is_some_and(|exchange| exchange.is_cut());
    // Whatever the guest made of the part that it got: the failure is the client's.
    let mut response = match cut && !response.status().is_client_error() {
        true => plain_text(
            StatusCode::BAD_REQUEST,
            "the request ended before its body was whole",
        ),
        false => response,
    };
    let length = match check(&response) {
        Ok(length) => length,
        Err(invalid) => {
            tracing::debug!(%invalid, "an answer was replaced");
            let text = format!("the answer is not valid HTTP: {invalid}");
            response = plain_text(StatusCode::BAD_GATEWAY, text);
            None
        }
    };
    let status = response.status();
    if status == StatusCode::NO_CONTENT {
        // RFC 9110, section 8.6.
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    let bodiless = method == Method::HEAD
        || matches!(
            status,
            StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    if method == Method::HEAD
        && length.is_none()
        && let Some(length) = response.body().size_hint().exact()
    {
        // As the answer to GET would have it.
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    response.map(|body| {
        let body = match bodiless {
            true => {
                if !body.is_end_stream() {
                    rest.finish(body);
                }
                None
            }
            false => Some(body),
        };
        AnswerBody {
            left: length.filter(|_| body.is_some()),
            body,
            ended: false,
            failing: None,
            turns: Arc::clone(turns),
            rest: rest.clone(),
            exchange,
        }
    })
}

/// Returns what `content-length` says.
fn check(response: &Response<Body>) -> Result<Option<u64>, Invalid> {
    let status = response.status();
    let switches = status == StatusCode::SWITCHING_PROTOCOLS
        && response.extensions().get::<Tunnel>().is_some();
    if status.is_informational() && !switches {
        return Err(Invalid::Informational(status));
    }
    head_limit::response(response).map_err(Invalid::Head)?;
    length(response.headers())
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, Invalid> {
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let text = value.to_str().ok();
        let digits = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let value = digits.and_then(|text| text.parse().ok());
        match value {
            Some(value) if length.is_none_or(|before| before == value) => length = Some(value),
            _ => return Err(Invalid::Length),
        }
    }
    Ok(length)
}

/// Whether the end of the connection ends the answer, for a client that knows no chunks.
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

    /// The client gets what came before first: hyper drops what it has not written when a body
    /// fails.
    fn fail(&mut self, error: BoxError) {
        self.body = None;
        self.failing = Some((error, self.turns.current()));
    }

    /// Returns `None` when there is nothing to pass on.
    fn pass(&mut self, frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        if let Some(trailers) = frame.trailers_ref() {
            if let Err(error) = head_limit::trailers(trailers) {
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
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        while let Some(body) = &mut this.body {
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Some(frame) = this.pass(frame) {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                Some(Err(error)) => this.fail(error),
                None if this.left.is_some_and(|left| left > 0) => this.fail(Broken::Short.into()),
                None => this.finish(),
            }
        }
        if let Some((_, since)) = &this.failing {
            ready!(this.turns.poll_flushed(*since, cx));
        }
        let failed = this.failing.take();
        this.finish();
        Poll::Ready(failed.map(|(error, _)| Err(error)))
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
