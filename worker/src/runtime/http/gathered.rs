//! The part of an answer that its guest wrote without having to wait.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    http::{Body, BoxError},
    runtime::cpu::SLICE,
};

/// The most bytes that are gathered before the client gets the first of them.
const MOST: usize = 64 << 10;

type Piece = Result<Frame<Bytes>, BoxError>;

/// A body whose first pieces are ready.
struct Gathered {
    ready: VecDeque<Piece>,
    /// The data bytes in `ready`.
    size: usize,
    /// True if the next poll lets the connection send what it has: an error that followed at once
    /// would close it before that.
    pauses: bool,
    rest: Body,
}

/// Reads the body while its guest can write more. `run` polls the guest, and returns true while it
/// must be polled. Takes about a slice at most.
pub(super) fn gather(
    body: &mut Body,
    cx: &mut Context<'_>,
    mut run: impl FnMut(&mut Context<'_>) -> bool,
) {
    let begun = Instant::now();
    let (mut ready, mut size) = (VecDeque::new(), 0);
    loop {
        let mut waits = true;
        if !body.is_end_stream()
            && let Poll::Ready(piece) = Pin::new(&mut *body).poll_frame(cx)
        {
            waits = matches!(piece, Some(Err(_)));
            if let Some(Ok(frame)) = &piece {
                size += frame.data_ref().map_or(0, Bytes::len);
            }
            ready.extend(piece);
        }
        if !run(cx) || waits || size >= MOST || begun.elapsed() >= SLICE {
            break;
        }
    }
    if !ready.is_empty() {
        let rest = std::mem::take(body);
        *body = Gathered {
            ready,
            size,
            pauses: false,
            rest,
        }
        .boxed_unsync();
    }
}

impl HttpBody for Gathered {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(piece) = self.ready.pop_front() {
            if let Ok(frame) = &piece {
                self.size -= frame.data_ref().map_or(0, Bytes::len);
            }
            self.pauses = self.ready.is_empty() && !self.rest.is_end_stream();
            return Poll::Ready(Some(piece));
        }
        if std::mem::take(&mut self.pauses) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest.size_hint().exact() {
            Some(left) => SizeHint::with_exact(left + self.size as u64),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::{FutureExt as _, channel::mpsc, future::poll_fn, poll};
    use http_body_util::StreamBody;

    use super::*;

    fn piece(size: usize) -> Piece {
        Ok(Frame::data(Bytes::from(vec![b'x'; size])))
    }

    /// Gathers from a guest that writes the next of these pieces whenever it is polled.
    async fn gathered(mut body: Body, mut write: impl FnMut() -> bool) -> Body {
        poll_fn(|cx| {
            gather(&mut body, cx, |_| write());
            Poll::Ready(())
        })
        .await;
        body
    }

    #[tokio::test]
    async fn what_the_guest_writes_without_waiting_comes_at_once() {
        let (sender, receiver) = mpsc::unbounded();
        let body = StreamBody::new(receiver).boxed_unsync();
        let mut sizes = 2..=3;
        sender.unbounded_send(piece(1)).unwrap();
        let mut body = gathered(body, || {
            let size = sizes.next();
            size.is_some_and(|size| sender.unbounded_send(piece(size)).is_ok())
        })
        .await;
        for size in 1..=3 {
            let frame = body.frame().now_or_never().flatten().unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap().len(), size);
        }
        // An error must not overtake them.
        sender.unbounded_send(Err("broken".into())).unwrap();
        let mut next = body.frame();
        assert!(poll!(&mut next).is_pending());
        assert!(next.now_or_never().flatten().unwrap().is_err());
    }

    #[tokio::test]
    async fn a_guest_that_writes_much_does_not_delay_the_first_bytes() {
        let (sender, receiver) = mpsc::unbounded();
        let body = StreamBody::new(receiver).boxed_unsync();
        let mut written = 0;
        let mut body = gathered(body, || {
            written += 1;
            sender.unbounded_send(piece(MOST / 2)).is_ok()
        })
        .await;
        assert!(written <= 3, "{written}");
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap().len(), MOST / 2);
    }
}
