//! Waits until a request has arrived completely before anything is done for it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::poll;
use http_body_util::{BodyExt as _, Full};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};
use warren_model::admission::{Peer, Places, Share, Shares};

use super::{limits::exhausted, metered::Metered};
use crate::{grpc::error, listen::ClientLimits};

/// The largest request of a call that has one: tonic's own bound of a message, and its prefix.
const LARGEST: usize = 4 * 1024 * 1024 + 5;

/// Calls whose request is arriving, bounded in number, time and memory.
pub(super) struct Arrivals {
    waiting: Places<CancellationToken>,
    bytes: Shares,
    within: Duration,
}

/// The part of one request that has arrived.
struct Arriving {
    pieces: Pieces,
    share: Share,
}

/// The pieces of a request. Most requests are one piece, which is not copied.
enum Pieces {
    None,
    One(Bytes),
    Many(BytesMut),
}

// === impl Arrivals ===

impl Arrivals {
    pub fn new(limits: &ClientLimits) -> Self {
        Self {
            waiting: Places::new(limits.arriving),
            bytes: Shares::new(limits.arriving_bytes),
            within: limits.arrival,
        }
    }

    /// Returns the request once its body is complete.
    pub async fn whole(
        &self,
        request: http::Request<Body>,
        peer: Option<Peer>,
    ) -> Result<http::Request<Body>, Status> {
        let (parts, body) = request.into_parts();
        let mut arriving = Box::pin(self.receive(body, peer));
        // Most clients send head and body together: they never wait.
        let arrived = match poll!(&mut arriving) {
            std::task::Poll::Ready(arrived) => arrived,
            std::task::Poll::Pending => self.wait(arriving, peer).await,
        };
        let body = Body::new(Full::new(arrived?));
        Ok(http::Request::from_parts(parts, body))
    }

    /// Counts the bytes of a request of many messages in the same way.
    pub fn metered(&self, request: http::Request<Body>, peer: Option<Peer>) -> http::Request<Body> {
        request.map(|body| Body::new(Metered::new(body, &self.bytes, peer)))
    }

    async fn wait(
        &self,
        arriving: impl Future<Output = Result<Bytes, Status>>,
        peer: Option<Peer>,
    ) -> Result<Bytes, Status> {
        let give_way = CancellationToken::new();
        let entered = self.waiting.enter(peer, give_way.clone());
        let entered = entered.map_err(|full| exhausted("calls without their request", full))?;
        if let Some(evicted) = entered.evicted {
            evicted.cancel();
        }
        // Held until the request is here.
        let _place = entered.place;
        tokio::select! {
            arrived = arriving => arrived,
            () = give_way.cancelled() => {
                let message = "too many calls wait for their request, and this one did for \
                               longest: send the request with its head";
                Err(error::exhausted("calls without their request", message))
            }
            () = tokio::time::sleep(self.within) => {
                let message = format!("the request did not arrive within {:?}", self.within);
                Err(error::late(message))
            }
        }
    }

    async fn receive(&self, mut body: Body, peer: Option<Peer>) -> Result<Bytes, Status> {
        let mut arriving = Arriving {
            pieces: Pieces::None,
            share: self.bytes.none(peer),
        };
        while let Some(frame) = body.frame().await {
            if let Ok(piece) = frame?.into_data() {
                arriving.take(piece)?;
            }
            // The service refuses a message that is too large by its length prefix.
            if arriving.pieces.len() > LARGEST {
                break;
            }
        }
        Ok(arriving.pieces.join())
    }
}

// === impl Arriving ===

impl Arriving {
    fn take(&mut self, piece: Bytes) -> Result<(), Status> {
        let held = self.pieces.len() + piece.len();
        let resized = self.share.resize(held.saturating_sub(ClientLimits::SMALL));
        resized.map_err(|full| exhausted("bytes of requests", full))?;
        self.pieces.push(piece);
        Ok(())
    }
}

// === impl Pieces ===

impl Pieces {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(piece) => piece.len(),
            Self::Many(pieces) => pieces.len(),
        }
    }

    fn push(&mut self, piece: Bytes) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(piece),
            Self::One(first) => {
                let mut pieces = BytesMut::with_capacity(2 * (first.len() + piece.len()));
                pieces.extend_from_slice(&first);
                pieces.extend_from_slice(&piece);
                Self::Many(pieces)
            }
            Self::Many(mut pieces) => {
                pieces.extend_from_slice(&piece);
                Self::Many(pieces)
            }
        };
    }

    fn join(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::One(piece) => piece,
            Self::Many(pieces) => pieces.freeze(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::IpAddr;

    use http_body::Frame;
    use http_body_util::StreamBody;
    use tonic::Code;
    use warren_model::admission::Bounds;

    use super::*;

    fn body(pieces: Vec<Vec<u8>>, ends: bool) -> http::Request<Body> {
        use futures::StreamExt as _;
        let frames = pieces
            .into_iter()
            .map(|it| Ok::<_, Status>(Frame::data(it.into())));
        let frames = futures::stream::iter(frames);
        let rest = futures::stream::pending().take(usize::from(!ends));
        http::Request::new(Body::new(StreamBody::new(frames.chain(rest))))
    }

    #[tokio::test]
    async fn pieces_arrive_as_they_were_sent() {
        let arrivals = Arrivals::new(&ClientLimits::default());
        for pieces in [vec![], vec![&b"abc"[..]], vec![b"ab", b"", b"cde", b"f"]] {
            let sent = pieces.iter().map(|piece| piece.to_vec()).collect();
            let arrived = arrivals.whole(body(sent, true), None).await.unwrap();
            let arrived = arrived.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(arrived, pieces.concat());
        }
        // No more is read of a request that is too large than is needed to know that.
        let endless = body(vec![vec![0; 1 << 20]; 64], false);
        let arrived = arrivals.whole(endless, None).await.unwrap();
        let size = arrived
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .len();
        assert!(
            (LARGEST + 1..LARGEST + (1 << 20) + 1).contains(&size),
            "{size}"
        );
    }

    #[tokio::test]
    async fn what_arrives_in_part_takes_bounded_memory_and_small_requests_pass() {
        let arrivals = Arrivals::new(&ClientLimits {
            arriving_bytes: Bounds {
                total: 2 << 20,
                per_peer: 1 << 20,
            },
            ..ClientLimits::default()
        });
        let peer = |last| Some(Peer::from(IpAddr::from([10, 0, 0, last])));
        let large = || body(vec![vec![0; 900 << 10]], false);
        let mut first = Box::pin(arrivals.whole(large(), peer(1)));
        assert!(poll!(&mut first).is_pending());
        let refused = arrivals.whole(large(), peer(1)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let mut other = Box::pin(arrivals.whole(large(), peer(2)));
        assert!(poll!(&mut other).is_pending());
        let small = body(vec![vec![0; ClientLimits::SMALL]], true);
        arrivals.whole(small, peer(1)).await.unwrap();
        drop(first);
        let large = body(vec![vec![0; 900 << 10]], true);
        arrivals.whole(large, peer(1)).await.unwrap();
    }
}
