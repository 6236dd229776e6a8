//! Requests that are streams, with bounded memory for messages that have arrived in part.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Status, body::Body};
use warren_model::admission::{Peer, Share, Shares};

use super::limits::exhausted;
use crate::listen::ClientLimits;

/// The body of a streaming request. The bytes of a message that has arrived in part are counted,
/// because they are held in memory until it is complete.
pub(super) struct Metered {
    body: Body,
    share: Share,
    framing: Framing,
}

/// The position in a sequence of gRPC messages: each has a flag, its length in four bytes, and as
/// many bytes.
#[derive(Debug, Default)]
struct Framing {
    prefix: [u8; PREFIX],
    /// Bytes that have arrived of the present message, prefix included.
    held: usize,
}

const PREFIX: usize = 5;

// === impl Metered ===

impl Metered {
    pub fn new(body: Body, bytes: &Shares, peer: Option<Peer>) -> Self {
        Self {
            body,
            share: bytes.none(peer),
            framing: Framing::default(),
        }
    }
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let held = this.framing.pass(data.clone());
            let counted = held.saturating_sub(ClientLimits::SMALL);
            if let Err(full) = this.share.resize(counted) {
                return Poll::Ready(Some(Err(exhausted("bytes of requests", full))));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl Framing ===

impl Framing {
    /// Returns how many bytes of an incomplete message are held after this data.
    fn pass(&mut self, mut data: Bytes) -> usize {
        while data.has_remaining() {
            if self.held < PREFIX {
                let count = data.len().min(PREFIX - self.held);
                data.copy_to_slice(&mut self.prefix[self.held..self.held + count]);
                self.held += count;
            } else {
                let count = data.len().min(self.size() - self.held);
                data.advance(count);
                self.held += count;
            }
            if self.held >= PREFIX && self.held == self.size() {
                self.held = 0;
            }
        }
        self.held
    }

    /// The bytes of the whole message.
    fn size(&self) -> usize {
        let [_, length @ ..] = self.prefix;
        PREFIX.saturating_add(usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use tonic::Code;
    use warren_model::admission::Bounds;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let prefix = u32::try_from(length).unwrap().to_be_bytes();
        let body = std::iter::repeat_n(7, length);
        std::iter::once(0).chain(prefix).chain(body).collect()
    }

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let lengths = [0, 1, 300, 0, 70_000, 4];
        let all: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
        let mut ends = Vec::new();
        lengths.iter().fold(0, |end, length| {
            ends.push(end + PREFIX + length);
            end + PREFIX + length
        });
        for piece in [1, 2, 3, 7, 4096, all.len()] {
            let (mut framing, mut passed) = (Framing::default(), 0);
            for data in all.chunks(piece) {
                passed += data.len();
                let begun = ends.iter().rev().find(|end| **end <= passed);
                let held = framing.pass(Bytes::copy_from_slice(data));
                assert_eq!(held, passed - begun.unwrap_or(&0), "{piece} {passed}");
            }
            assert_eq!(framing.held, 0);
        }
    }

    #[tokio::test]
    async fn an_incomplete_message_counts_until_it_is_complete() {
        let shares = Shares::new(Bounds::of(400 << 10));
        let large = message(150 << 10);
        let (first, second) = large.split_at(110 << 10);
        let body = |pieces: &[&[u8]]| {
            let pieces: Vec<_> = pieces.iter().map(|it| Bytes::copy_from_slice(it)).collect();
            let frames = pieces
                .into_iter()
                .map(|it| Ok::<_, Status>(Frame::data(it)));
            let body = Body::new(StreamBody::new(futures::stream::iter(frames)));
            Metered::new(
                body,
                &shares,
                Some(std::net::IpAddr::from([10, 0, 0, 1]).into()),
            )
        };
        // Together they are more than the peer may have, but each is complete before the next.
        let mut many = body(&[first, second, first, second, first, second]);
        while let Some(frame) = many.frame().await {
            frame.unwrap();
        }
        let mut half = body(&[first]);
        half.frame().await.unwrap().unwrap();
        let mut other = body(&[first]);
        let refused = other.frame().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        drop(half);
        body(&[first]).frame().await.unwrap().unwrap();
    }
}
