//! The `--listen` address: requests that other workers forward, and the worker's own interface.

use std::{net::SocketAddr, time::Duration};

use futures::future::BoxFuture;
use http::{
    Method, Request, Response, StatusCode,
    uri::{Authority, Scheme},
};
use http_body_util::BodyExt as _;
use tokio::time::timeout;
use tonic::service::Routes;
use tower::Service as _;
use warren_model::{
    admission::{Bounds, Peer, Shares},
    route,
};

use super::wire;
use crate::{
    health::Health,
    http::{
        Body, BoxError, ClientBody, RequestMeta,
        listener::{Client, Front},
        plain_text,
    },
    ingress::{Router, front::authority},
};

/// Answers requests to `--listen`. Forwarded requests are answered only by replicas of this worker:
/// a request from another worker is never forwarded to a third one, whatever either of them
/// believes.
#[derive(Clone)]
pub struct ClusterFront {
    router: Router,
    health: Health,
    own: Routes,
    asked: Shares,
    answer_within: Duration,
}

/// The bounds on simultaneous requests about the worker itself, including watches of its health.
const ASKED: Bounds = Bounds::of(1024);
/// The time for such a request to arrive and to be answered, or for its stream to begin.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

// === impl ClusterFront ===

impl ClusterFront {
    pub fn new(router: Router, health: Health) -> Self {
        Self {
            router,
            own: health.routes().prepare(),
            health,
            asked: Shares::new(ASKED),
            answer_within: ANSWER_WITHIN,
        }
    }

    /// Returns the worker's answers about itself over plain HTTP.
    fn probe(&self, request: &Request<ClientBody>) -> Option<Response<Body>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        let ready = match request.uri().path() {
            "/healthz" => Ok(()),
            "/readyz" => self.health.ready(),
            _ => return None,
        };
        Some(match ready {
            Ok(()) => plain_text(StatusCode::OK, "ok"),
            Err(why) => plain_text(StatusCode::SERVICE_UNAVAILABLE, why),
        })
    }

    async fn forwarded(
        self,
        request: Request<ClientBody>,
        forwarded: wire::Forwarded,
        peer: SocketAddr,
    ) -> Response<Body> {
        let authority = match authority(&request) {
            Ok(authority) => authority,
            Err(response) => return *response,
        };
        let host = authority.as_ref().map_or("", Authority::as_str);
        if !route::matches(&forwarded.route, host, request.uri().path()) {
            let text = "the request is not for the host and path of the route that it names";
            return plain_text(StatusCode::BAD_REQUEST, text);
        }
        let Some(target) = self.router.exact(&forwarded.route) else {
            return wire::unserved();
        };
        let meta = RequestMeta {
            scheme: Scheme::HTTP,
            authority,
            peer: forwarded.client.unwrap_or(peer),
        };
        let mut response = target.call(request, meta).await;
        wire::is_served(&mut response);
        response
    }

    async fn own(self, request: Request<ClientBody>, peer: SocketAddr) -> Response<Body> {
        match self.probe(&request) {
            Some(response) => response,
            None => self.tonic(request.map(tonic::body::Body::new), peer).await,
        }
    }

    async fn tonic(
        mut self,
        request: Request<tonic::body::Body>,
        peer: SocketAddr,
    ) -> Response<Body> {
        let Ok(share) = self.asked.take(Some(Peer::from(peer.ip())), 1) else {
            let text = format!(
                "too many requests about this worker at once: it takes {}, and {} from one address",
                ASKED.total, ASKED.per_peer
            );
            return plain_text(StatusCode::SERVICE_UNAVAILABLE, text);
        };
        match timeout(self.answer_within, self.own.call(request)).await {
            Ok(Ok(response)) => response.map(|body| {
                let held = body.map_err(BoxError::from).map_frame(move |frame| {
                    let _held = &share;
                    frame
                });
                held.boxed_unsync()
            }),
            Err(_) => {
                let text = format!("the request did not arrive within {:?}", self.answer_within);
                plain_text(StatusCode::REQUEST_TIMEOUT, text)
            }
        }
    }
}

impl Front for ClusterFront {
    const WORKERS: bool = true;

    fn answer(
        &self,
        mut request: Request<ClientBody>,
        client: &Client,
    ) -> BoxFuture<'static, Response<Body>> {
        let (front, peer) = (self.clone(), client.address);
        match wire::take(request.headers_mut()) {
            None => Box::pin(front.own(request, peer)),
            Some(Ok(forwarded)) => Box::pin(front.forwarded(request, forwarded, peer)),
            Some(Err(wire::Malformed)) => Box::pin(async {
                let text = "the request names an invalid route";
                plain_text(StatusCode::BAD_REQUEST, text)
            }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// Sends a request for a stream of the worker's health, from a client with this address.
    fn watch(front: &ClusterFront, last: u8) -> impl Future<Output = Response<Body>> {
        let message = Bytes::from_static(&[0; 5]);
        let body = tonic::body::Body::new(http_body_util::Full::new(message));
        let request = Request::post("http://w/grpc.health.v1.Health/Watch")
            .header("content-type", "application/grpc")
            .body(body)
            .unwrap();
        front.clone().tonic(request, ([10, 0, 0, last], 1).into())
    }

    #[tokio::test]
    async fn watches_of_its_health_are_bounded_by_address() {
        let front = ClusterFront::new(Router::new(), Health::new().await);
        let mut watches = Vec::new();
        for _ in 0..ASKED.per_peer {
            let response = watch(&front, 1).await;
            assert_eq!(response.status(), StatusCode::OK);
            watches.push(response);
        }
        let refused = watch(&front, 1).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        let other = watch(&front, 2).await;
        assert_eq!(other.status(), StatusCode::OK);
        watches.pop();
        assert_eq!(watch(&front, 1).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_request_about_the_worker_must_arrive_in_time() {
        let front = ClusterFront {
            answer_within: Duration::from_millis(10),
            ..ClusterFront::new(Router::new(), Health::new().await)
        };
        let never = futures::stream::pending::<Result<hyper::body::Frame<Bytes>, BoxError>>();
        let body = tonic::body::Body::new(http_body_util::StreamBody::new(never));
        let request = Request::post("http://w/grpc.health.v1.Health/Watch")
            .header("content-type", "application/grpc")
            .body(body)
            .unwrap();
        let answer = front.tonic(request, ([10, 0, 0, 1], 1).into()).await;
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    }
}
