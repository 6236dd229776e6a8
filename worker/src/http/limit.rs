//! The limits of heads and bodies.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use hyper::body::{Body, Frame, SizeHint};

use super::{Body as ResponseBody, BoxError};

/// The largest head of a message, in bytes. Names and values count, and 32 more for each field (RFC
/// 9113, section 6.5.2).
pub(crate) const MAX_HEAD: u32 = 64 << 10;
/// The most fields of one request or response head, in any version of HTTP.
pub(crate) const MAX_FIELDS: usize = 200;
/// The number of fields that are parsed, which is larger than [`MAX_FIELDS`]. Any number other than
/// hyper's own, which is 100, costs two allocations for each message.
pub(crate) const MAX_PARSED_FIELDS: usize = 256;
/// The bytes of a head that a connection reads before it gives up. They are enough for every head
/// that is within the limits, with its first line.
pub(crate) const HEAD_BUFFER: usize = MAX_HEAD as usize + (8 << 10);
/// The bytes that a field counts in addition to its name and its value (RFC 9113, section 6.5.2).
pub(crate) const FIELD_OVERHEAD: usize = 32;
/// The largest head that HTTP/2 decodes, in bytes. It is larger than [`MAX_HEAD`], so that
/// [`MAX_HEAD`] is the limit that applies. A head of four times this size ends its connection.
pub(crate) const MAX_HEAD_LIST: u32 = 4 * MAX_HEAD;
/// The most simultaneous requests on one HTTP/2 connection.
pub(crate) const MAX_STREAMS: u32 = 256;
/// The bytes of one request's or response's body that may wait for a slow guest or client. The
/// window of a connection is large enough for all of its streams, so that no stream can block
/// another.
pub(crate) const STREAM_WINDOW: u32 = 64 << 10;
/// The window of a connection between workers. Its streams need no more than `STREAM_WINDOW *
/// MAX_STREAMS`, but h2 also derives from it how much overhead of small, unread DATA frames it
/// accepts before it ends the connection: half of it. Many slow clients of event streams must not
/// reach that together.
pub(crate) const WORKER_WINDOW: u32 = 256 << 20;

/// A body that fails if it is larger than its limit. Nothing of the frame that exceeds the limit is
/// passed on.
pub(crate) struct Limited<B> {
    body: B,
    /// The bytes that may still arrive, or `None` if they are not limited.
    left: Option<u64>,
    overrun: Overrun,
}

/// A response that breaks off if its body, or that of its request, exceeds its limit.
pub(crate) struct Bounded<F> {
    /// `None` once it has broken off. Whatever produced the body has then ended.
    body: Option<Limited<ResponseBody>>,
    request: Overrun,
    /// Called once, for the error that the connection gets.
    told: F,
}

/// The body that was too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooLarge {
    Request,
    Response,
}

/// Whether a body was too large, for code that does not read the body itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrun(Arc<AtomicBool>);

/// The reason why a limited body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitError<E> {
    #[error("it is larger than its limit")]
    TooLarge,
    #[error("{0}")]
    Body(E),
}

/// The reason why a head is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadTooLarge {
    #[error("its head has {0} fields, and at most {MAX_FIELDS} fields are passed on")]
    Fields(usize),
    #[error("its head is {0} bytes large, and at most {MAX_HEAD} bytes are passed on")]
    Bytes(usize),
    /// Its size is not known, because no more of it was read than necessary.
    #[error(
        "its head is too large: at most {MAX_FIELDS} fields and {MAX_HEAD} bytes are passed on"
    )]
    Unread,
}

/// Checks that a head, or the trailers of a body, is within [`MAX_FIELDS`] and [`MAX_HEAD`].
pub(crate) fn check_head(headers: &HeaderMap) -> Result<(), HeadTooLarge> {
    if headers.len() > MAX_FIELDS {
        return Err(HeadTooLarge::Fields(headers.len()));
    }
    match head_size(headers) {
        size if size > MAX_HEAD as usize => Err(HeadTooLarge::Bytes(size)),
        _ => Ok(()),
    }
}

/// Returns the size in bytes as RFC 9113 defines it (section 6.5.2).
pub(crate) fn head_size(headers: &HeaderMap) -> usize {
    let sizes = headers.iter();
    sizes
        .map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD)
        .sum()
}

/// Returns whether a message announces a body that is larger than `limit` bytes.
pub(crate) fn declares_more(headers: &HeaderMap, limit: Option<u64>) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    matches!((length, limit), (Some(length), Some(limit)) if length > limit)
}

/// Returns whether a response to this method announces a larger body. A response to HEAD has the
/// fields of a body, but no body.
pub(crate) fn answers_more(method: &Method, headers: &HeaderMap, limit: Option<u64>) -> bool {
    *method != Method::HEAD && declares_more(headers, limit)
}

// === impl Limited ===

impl<B> Limited<B> {
    pub fn new(body: B, limit: Option<u64>) -> Self {
        Self {
            body,
            left: limit,
            overrun: Overrun::default(),
        }
    }

    /// Returns a handle that shows whether the body was too large.
    pub fn overrun(&self) -> Overrun {
        self.overrun.clone()
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Limited<B> {
    type Data = Bytes;
    type Error = LimitError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.overrun.happened() {
            return Poll::Ready(Some(Err(LimitError::TooLarge)));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let (Some(left), Some(Ok(frame))) = (&mut self.left, &frame) {
            let size = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(size) {
                Some(rest) => *left = rest,
                None => {
                    self.overrun.0.store(true, Ordering::Release);
                    return Poll::Ready(Some(Err(LimitError::TooLarge)));
                }
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(LimitError::Body)))
    }

    fn is_end_stream(&self) -> bool {
        !self.overrun.happened() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl Bounded ===

impl<F: Fn(TooLarge) -> BoxError> Bounded<F> {
    /// `limit` is that of the response, in bytes. `request` shows whether the request was too
    /// large.
    pub fn new(body: ResponseBody, limit: Option<u64>, request: Overrun, told: F) -> Self {
        Self {
            body: Some(Limited::new(body, limit)),
            request,
            told,
        }
    }
}

impl<F: Fn(TooLarge) -> BoxError + Unpin> Body for Bounded<F> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        let what = match &frame {
            Some(Err(LimitError::TooLarge)) => TooLarge::Response,
            // The response was made from only a part of the request.
            _ if self.request.happened() => TooLarge::Request,
            _ => return Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from))),
        };
        self.body = None;
        Poll::Ready(Some(Err((self.told)(what))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::default, Body::size_hint)
    }
}

// === impl Overrun ===

impl Overrun {
    pub fn happened(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::stream;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    fn body(pieces: &[&'static str]) -> impl Body<Data = Bytes, Error = String> + Unpin {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|p| Bytes::from_static(p.as_bytes()))
            .collect();
        StreamBody::new(stream::iter(
            pieces.into_iter().map(|piece| Ok(Frame::data(piece))),
        ))
    }

    #[tokio::test]
    async fn a_body_passes_up_to_its_limit_and_keeps_failing_beyond_it() {
        let whole = Limited::new(body(&["abc", "", "de"]), Some(5));
        assert_eq!(whole.collect().await.unwrap().to_bytes(), "abcde");
        let endless = Limited::new(body(&["abc", "de"]), None);
        assert_eq!(endless.collect().await.unwrap().to_bytes(), "abcde");

        let mut large = Limited::new(body(&["abc", "de", "f"]), Some(4));
        let overrun = large.overrun();
        assert_eq!(
            large.frame().await.unwrap().unwrap().into_data().unwrap(),
            "abc"
        );
        assert!(!overrun.happened());
        for _ in 0..2 {
            let failed = large.frame().await.unwrap();
            assert!(matches!(failed, Err(LimitError::TooLarge)));
        }
        assert!(overrun.happened());
    }

    #[test]
    fn a_head_is_measured_as_in_http2() {
        let mut headers = HeaderMap::new();
        let value = "v".repeat(MAX_HEAD as usize - "x-large".len() - FIELD_OVERHEAD);
        headers.insert("x-large", value.parse().unwrap());
        assert_eq!(head_size(&headers), MAX_HEAD as usize);
        assert_eq!(check_head(&headers), Ok(()));
        headers.insert("x-large", format!("{value}v").parse().unwrap());
        let size = MAX_HEAD as usize + 1;
        assert_eq!(check_head(&headers), Err(HeadTooLarge::Bytes(size)));
    }

    #[test]
    fn a_message_may_announce_that_it_is_too_large() {
        let mut headers = HeaderMap::new();
        assert!(!declares_more(&headers, Some(1)));
        headers.insert(header::CONTENT_LENGTH, 7.into());
        assert!(declares_more(&headers, Some(6)));
        assert!(!declares_more(&headers, Some(7)) && !declares_more(&headers, None));
        assert!(answers_more(&Method::GET, &headers, Some(6)));
        assert!(!answers_more(&Method::HEAD, &headers, Some(6)));
    }
}
