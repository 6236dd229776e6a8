//! One request on its way to another worker: whom it is sent to, and when it is sent again.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, Version, header, request};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::{
    body::{Held, Source},
    peer::{Failure, Peer},
    table::Remote,
    upgrade, wire,
};
use crate::ingress::{
    Body, RequestMeta, plain_text,
    service::head::{self, Asked},
};

/// Workers that one request is offered to: those that cannot be reached, or have no ready replica any more, cost it nothing.
const OFFERS: usize = 4;

/// Answers a request from another worker's replica. Dropping the future, or the response's body, gives the request up.
pub(in crate::ingress) async fn forward(
    remote: Arc<Remote>,
    mut request: Request<Incoming>,
    meta: RequestMeta,
) -> Response<Body> {
    let asked = head::take_hop_by_hop(request.headers_mut());
    wire::mark(request.headers_mut(), &remote.route, meta.peer);
    if asked.upgrade.is_some() && request.version() == Version::HTTP_11 {
        return upgrade::forward(&remote, request, &asked, &meta).await;
    }
    let (mut parts, body) = request.into_parts();
    // What they say is about the client's connection.
    parts.extensions.clear();
    head::to_http2(&mut parts, &asked, &meta.authority);
    let mut response = offer(&remote, &parts, &Source::new(body)).await;
    head::to_client(&mut response);
    response
}

async fn offer(remote: &Remote, parts: &request::Parts, source: &Source) -> Response<Body> {
    let mut tried: Vec<Arc<Peer>> = Vec::new();
    let mut repeated = false;
    while tried.len() < OFFERS
        && let Some(peer) = remote.next(&tried)
        && let Some(body) = source.lend()
    {
        let sent = async {
            let place = peer.place().await?;
            let request = Request::from_parts(parts.clone(), body);
            let response = place.send(request).await?;
            Ok::<_, Failure>((place, response))
        };
        let failure = match sent.await {
            Ok((_, response)) if wire::is_unserved(&response) => None,
            Ok((place, response)) => {
                return response.map(|body| Held::new(body, place).boxed_unsync());
            }
            Err(failure) => Some(failure),
        };
        if let Some(failure) = failure {
            tracing::debug!(route = %remote.route, %failure, "a forwarded request failed");
            // It may have been seen: whoever can tell that twice does no harm is offered once more.
            if let Failure::Dropped(_) = failure {
                if repeated || !parts.method.is_idempotent() || source.is_begun() {
                    return broken();
                }
                repeated = true;
            }
        }
        tried.push(peer);
    }
    not_ready(remote)
}

/// No worker has a ready replica, as far as is known here.
pub(in crate::ingress) fn not_ready(remote: &Remote) -> Response<Body> {
    let text = format!("no replica behind {} is ready; try again", remote.route);
    let mut response = plain_text(StatusCode::SERVICE_UNAVAILABLE, text);
    let soon = HeaderValue::from_static("1");
    response.headers_mut().insert(header::RETRY_AFTER, soon);
    response
}

/// The worker went away with the request.
pub(super) fn broken() -> Response<Body> {
    let text = "the worker that had the request went away before it answered";
    plain_text(StatusCode::BAD_GATEWAY, text)
}

/// The fields that a connection of its own needs.
pub(super) fn to_http1(parts: &mut request::Parts, asked: &Asked, authority: &str) {
    head::to_http1(parts, asked, authority, false);
}
