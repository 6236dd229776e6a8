//! Forwards one request to another worker: decides which worker gets it, and when it is sent again.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, Version, request, uri::Authority};
use http_body_util::BodyExt as _;

use super::{
    body::{Held, Source},
    peer::{Failure, Peer},
    table::Remote,
    upgrade, wire,
};
use crate::http::{
    Body, ClientBody, RequestMeta,
    head::{self, Asked},
    plain_text,
};
use crate::ingress::front::{later, not_ready};

/// The number of times that one request is offered. An offer to a worker that cannot be reached, or
/// no longer has a ready replica, does the request no harm.
const OFFERS: usize = 6;

/// Answers a request through another worker's replica. `client` is the address of the client.
/// Dropping the future, or the response's body, gives up the request.
pub(in crate::ingress) async fn forward(
    remote: Arc<Remote>,
    mut request: Request<ClientBody>,
    meta: RequestMeta,
    client: HeaderValue,
) -> Response<Body> {
    let asked = head::take_hop_by_hop(request.headers_mut());
    wire::mark(request.headers_mut(), remote.mark.clone(), client);
    if asked.upgrade.is_some() && request.version() == Version::HTTP_11 {
        return upgrade::forward(&remote, request, &asked, &meta).await;
    }
    let (mut parts, body) = request.into_parts();
    // The extensions belong to the client's connection.
    parts.extensions.clear();
    head::to_http2(&mut parts, &asked, meta.authority.as_ref());
    let mut response = offer(&remote, &parts, &Source::new(body)).await;
    head::to_client(&mut response);
    response
}

async fn offer(remote: &Remote, parts: &request::Parts, source: &Source) -> Response<Body> {
    let mut offers = Offers::default();
    while let Some(peer) = offers.next(remote)
        && let Some(body) = source.lend().await
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
        if let Some(failure) = &failure {
            tracing::debug!(route = %remote.route, %failure, "a forwarded request failed");
        }
        let idempotent = parts.method.is_idempotent();
        if let Some(response) = offers.failed(peer, failure.as_ref(), idempotent) {
            return response;
        }
    }
    offers.end(remote)
}

/// The workers that one request was offered to, and the result so far.
#[derive(Default)]
struct Offers {
    count: usize,
    /// The workers that must not be tried again.
    past: Vec<Arc<Peer>>,
    /// The workers that may be tried again if there is no other.
    later: Vec<Arc<Peer>>,
    /// Whether a guest may have seen the request.
    seen: bool,
    busy: bool,
}

// === impl Offers ===

impl Offers {
    fn next(&mut self, remote: &Remote) -> Option<Arc<Peer>> {
        self.count += 1;
        if self.count > OFFERS {
            return None;
        }
        let others = [self.past.as_slice(), &self.later].concat();
        remote.next(&others).or_else(|| {
            self.later.clear();
            remote.next(&self.past)
        })
    }

    /// Records a failed attempt; `None` means that the worker has no ready replica. Returns the
    /// answer if no other worker may be tried.
    fn failed(
        &mut self,
        peer: Arc<Peer>,
        failure: Option<&Failure>,
        idempotent: bool,
    ) -> Option<Response<Body>> {
        match failure {
            None | Some(Failure::Unreachable(_)) => self.past.push(peer),
            Some(Failure::Busy) => {
                self.busy = true;
                self.past.push(peer);
            }
            Some(Failure::NotBegun) => self.later.push(peer),
            // A guest may have seen the request. It is offered once more if repeating it does no
            // harm (RFC 9110, section 9.2.2).
            Some(Failure::Lost(_)) if !self.seen && idempotent => {
                self.seen = true;
                self.later.push(peer);
            }
            Some(Failure::Lost(_)) => return Some(broken()),
            // The worker is reachable, but the guest has seen the request and would fail again.
            Some(Failure::Reset(_)) => {
                let text = "the answer broke off before its head was complete";
                return Some(plain_text(StatusCode::BAD_GATEWAY, text));
            }
            Some(Failure::Request(_)) => {
                let text = "the request ended before its body was complete";
                return Some(plain_text(StatusCode::BAD_REQUEST, text));
            }
        }
        None
    }

    fn end(self, remote: &Remote) -> Response<Body> {
        match self {
            Self { seen: true, .. } => broken(),
            Self { busy: true, .. } => {
                let route = &remote.route;
                later(format!(
                    "too many requests are on their way to {route}; try again"
                ))
            }
            _ => not_ready(&remote.route),
        }
    }
}

/// Returns the answer if the worker disappeared with the request.
pub(super) fn broken() -> Response<Body> {
    let text = "the worker that had the request disappeared before it answered";
    plain_text(StatusCode::BAD_GATEWAY, text)
}

/// Adds the fields for a request on a connection of its own.
pub(super) fn to_http1(parts: &mut request::Parts, asked: &Asked, authority: Option<&Authority>) {
    head::to_http1(parts, asked, authority, false);
}
