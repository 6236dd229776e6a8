//! The largest heads and bodies that pass.

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

/// The largest head of a message, in bytes: names and values, and 32 for each field (RFC 9113,
/// section 6.5.2).
pub(crate) const MAX_HEAD: u32 = 64 << 10;
/// Fields of one head, a request's or a response's, of any version of HTTP.
pub(crate) const MAX_FIELDS: usize = 200;
/// More than [`MAX_FIELDS`]. A number other than hyper's own, 100, costs two
/// allocations for each message.
pub(crate) const MAX_PARSED_FIELDS: usize = 256;
/// What a connection reads of a head before it gives up, in bytes: enough for every head that
/// passes, with its first line.
pub(crate) const HEAD_BUFFER: usize = MAX_HEAD as usize + (8 << 10);
/// What a field counts beside its name and its value, in bytes (RFC 9113, section 6.5.2).
pub(crate) const FIELD_OVERHEAD: usize = 32;
/// The largest head that HTTP/2 decodes, in bytes. It is larger than [`MAX_HEAD`], so that
/// [`MAX_HEAD`] is the limit that applies. A head of four times this size ends its connection.
pub(crate) const MAX_HEAD_LIST: u32 = 4 * MAX_HEAD;
/// Requests at once on one HTTP/2 connection.
pub(crate) const MAX_STREAMS: u32 = 256;
/// Bytes of one request's or response's body that wait for a slow guest or client. All streams of a
/// connection have as much at once, so that none can hold up another.
pub(crate) const STREAM_WINDOW: u32 = 64 << 10;
/// The window of a connection between workers. Its streams need no more than `STREAM_WINDOW *
/// MAX_STREAMS`, but h2 also derives from it how much overhead of small, unread DATA frames it
/// accepts before it ends the connection: half of it. Many slow clients of event streams must not
/// reach that together.
pub(crate) const WORKER_WINDOW: u32 = 256 << 20;

/// A body that fails when it turns out to be larger than it may be; nothing of the frame that is
/// too much passes.
pub(crate) struct Limited<B> {
    body: B,
    /// Bytes that may still come. `None`: any number.
    left: Option<u64>,
    overrun: Overrun,
}

/// A response that breaks off when its body, or that of its request, turns out to be too large.
pub(crate) struct Bounded<F> {
    /// `None` once it has: what is behind it has ended.
    body: Option<Limited<ResponseBody>>,
    request: Overrun,
    /// Asked once, for what the connection is told.
    told: F,
}

/// Which body was too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooLarge {
    Request,
    Response,
}

/// Whether a body was too large: known to others than who reads it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrun(Arc<AtomicBool>);

/// Why a limited body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitError<E> {
    #[error("it is larger than it may be")]
    TooLarge,
    #[error("{0}")]
    Body(E),
}

/// Why a head does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadTooLarge {
    #[error("its head has {0} fields, and at most {MAX_FIELDS} fields are passed on")]
    Fields(usize),
    #[error("its head is {0} bytes large, and at most {MAX_HEAD} bytes are passed on")]
    Bytes(usize),
    /// No more of it was read than it takes to know.
    #[error(
        "its head is too large: at most {MAX_FIELDS} fields and {MAX_HEAD} bytes are passed on"
    )]
    Unread,
}

/// Whether a head, or the fields behind a body, are within [`MAX_FIELDS`] and [`MAX_HEAD`].
pub(crate) fn check_head(headers: &HeaderMap) -> Result<(), HeadTooLarge> {
    if headers.len() > MAX_FIELDS {
        return Err(HeadTooLarge::Fields(headers.len()));
    }
    match head_size(headers) {
        size if size > MAX_HEAD as usize => Err(HeadTooLarge::Bytes(size)),
        _ => Ok(()),
    }
}

/// In bytes, as RFC 9113 counts, section 6.5.2.
pub(crate) fn head_size(headers: &HeaderMap) -> usize {
    let sizes = headers.iter();
    sizes
        .map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD)
        .sum()
}

/// Whether a message says itself that its body is larger than `limit` bytes.
pub(crate) fn declares_more(headers: &HeaderMap, limit: Option<u64>) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    matches!((length, limit), (Some(length), Some(limit)) if length > limit)
}

/// Whether a response to this method says so. That to HEAD has the fields of a body without having
/// one.
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

    /// Learns of it when the body was too large.
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
    /// `limit` is the response's, in bytes; `request` knows of the request's.
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
            // Whatever it goes on to say was said of a part of the request.
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
    async fn a_body_passes_up_to_its_limit_and_fails_beyond_for_ever() {
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
    fn a_head_is_counted_as_http2_counts_it() {
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
    fn a_message_may_say_itself_that_it_is_too_large() {
        let mut headers = HeaderMap::new();
        assert!(!declares_more(&headers, Some(1)));
        headers.insert(header::CONTENT_LENGTH, 7.into());
        assert!(declares_more(&headers, Some(6)));
        assert!(!declares_more(&headers, Some(7)) && !declares_more(&headers, None));
        assert!(answers_more(&Method::GET, &headers, Some(6)));
        assert!(!answers_more(&Method::HEAD, &headers, Some(6)));
    }
}
