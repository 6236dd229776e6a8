//! The `--listen` address: requests that other workers send on, and the worker's own interface.

use std::net::SocketAddr;

use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, uri::Scheme};
use http_body_util::BodyExt as _;
use tonic::service::Routes;
use tower::Service as _;
use warren_model::route;

use super::wire;
use crate::{
    health::Health,
    ingress::{
        Body, BoxError, ClientBody, RequestMeta, Router, front::authority, plain_text,
        server::Front,
    },
};

/// Answers what comes to `--listen`. Forwarded requests are answered by replicas of this worker alone: what comes from
/// another worker goes to no third one, whatever either of them believes.
#[derive(Clone)]
pub struct ClusterFront {
    router: Router,
    health: Health,
    own: Routes,
}

// === impl ClusterFront ===

impl ClusterFront {
    pub fn new(router: Router, health: Health) -> Self {
        Self {
            router,
            own: health.routes().prepare(),
            health,
        }
    }

    /// The worker's answers about itself over plain HTTP.
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
        if !route::matches(&forwarded.route, &authority, request.uri().path()) {
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

    async fn own(mut self, request: Request<ClientBody>) -> Response<Body> {
        if let Some(response) = self.probe(&request) {
            return response;
        }
        let request = request.map(tonic::body::Body::new);
        // Never fails.
        let Ok(response) = self.own.call(request).await;
        response.map(|body| body.map_err(BoxError::from).boxed_unsync())
    }
}

impl Front for ClusterFront {
    const WORKERS: bool = true;

    fn answer(
        &self,
        mut request: Request<ClientBody>,
        peer: SocketAddr,
    ) -> BoxFuture<'static, Response<Body>> {
        let front = self.clone();
        match wire::take(request.headers_mut()) {
            None => Box::pin(front.own(request)),
            Some(Ok(forwarded)) => Box::pin(front.forwarded(request, forwarded, peer)),
            Some(Err(wire::Malformed)) => Box::pin(async {
                let text = "the request names a route that is none";
                plain_text(StatusCode::BAD_REQUEST, text)
            }),
        }
    }
}
