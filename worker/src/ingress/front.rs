//! Decides which target answers a request to the ingress.

use std::{future, net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Version, header,
    uri::{Authority, Scheme},
};
use warren_model::route::Route;

use super::{
    Router,
    peers::{self, FleetRoutes, Remote},
    router::Choice,
};
use crate::http::{
    Admitted, Body, ClientBody, RequestMeta,
    forwarded::{self, TrustedProxies},
    listener::Front,
    plain_text,
};

/// The listener for all routes of the fleet, wherever their replicas are.
#[derive(Clone)]
pub struct Ingress {
    pub router: Router,
    pub fleet: Arc<FleetRoutes>,
    pub proxies: TrustedProxies,
}

/// The target that answers a request.
enum Answerer {
    Own(Admitted),
    Other(Arc<Remote>),
}

// === impl Ingress ===

impl Ingress {
    /// Chooses the best route, whether it is known from this worker or from others. Of its
    /// replicas, this worker's own take precedence.
    fn choose(&self, host: &str, path: &str) -> Choice<Answerer> {
        let own = self.router.best(host, path);
        let other = self.fleet.lookup(host, path);
        let other = match (&own, other) {
            (Some(own), Some(other)) => {
                let is_better = rank(&other.route) > rank(&own.route);
                let is_same = other.route == own.route;
                (is_better || is_same && own.target.is_none()).then_some(other)
            }
            (_, other) => other,
        };
        match (other, own) {
            (Some(other), _) => Choice::Target(Answerer::Other(other)),
            (None, Some(own)) => own
                .target
                .map_or(Choice::NotReady, |own| Choice::Target(Answerer::Own(own))),
            (None, None) => Choice::NoRoute,
        }
    }
}

/// Ranks routes: those with a host before those without, then by the length of the path.
fn rank(route: &Route) -> (bool, usize) {
    (route.host.is_some(), route.path.len())
}

impl Front for Ingress {
    fn is_proxy(&self, peer: SocketAddr) -> bool {
        self.proxies.contain(peer)
    }

    fn answer(
        &self,
        request: Request<ClientBody>,
        peer: SocketAddr,
    ) -> BoxFuture<'static, Response<Body>> {
        let choose = |host: &str, path: &str| self.choose(host, path);
        match route(choose, request, peer, &self.proxies) {
            Ok((Answerer::Own(target), request, meta)) => target.call(request, meta),
            Ok((Answerer::Other(remote), request, meta)) => {
                Box::pin(peers::forward(remote, request, meta))
            }
            Err(response) => Box::pin(future::ready(*response)),
        }
    }
}

/// This serves the replicas of one worker only.
impl Front for Router {
    fn answer(
        &self,
        request: Request<ClientBody>,
        peer: SocketAddr,
    ) -> BoxFuture<'static, Response<Body>> {
        let choose = |host: &str, path: &str| self.choose(host, path);
        match route(choose, request, peer, &TrustedProxies::default()) {
            Ok((target, request, meta)) => target.call(request, meta),
            Err(response) => Box::pin(future::ready(*response)),
        }
    }
}

type Routed<T> = (T, Request<ClientBody>, RequestMeta);

fn route<T>(
    choose: impl FnOnce(&str, &str) -> Choice<T>,
    mut request: Request<ClientBody>,
    peer: SocketAddr,
    proxies: &TrustedProxies,
) -> Result<Routed<T>, Box<Response<Body>>> {
    let authority = authority(&request)?;
    let path = request.uri().path();
    match choose(host(&authority), path) {
        Choice::Target(target) => {
            let headers = request.headers_mut();
            peers::strip(headers);
            forwarded::set(headers, peer, &authority, proxies);
            Ok((
                target,
                request,
                RequestMeta {
                    scheme: Scheme::HTTP,
                    authority,
                    peer,
                },
            ))
        }
        Choice::NotReady => {
            let text = format!("no replica behind {authority}{path} is ready; try again");
            let mut response = plain_text(StatusCode::SERVICE_UNAVAILABLE, text);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            Err(Box::new(response))
        }
        Choice::NoRoute => {
            let text = format!(
                "no workload has a route for host `{}` and path `{path}`",
                host(&authority)
            );
            Err(Box::new(plain_text(StatusCode::NOT_FOUND, text)))
        }
    }
}

/// Returns the authority that the client requested: that of the request's target, or else the
/// `Host` header (RFC 9112, section 3.2).
pub(super) fn authority<B>(request: &Request<B>) -> Result<String, Box<Response<Body>>> {
    let bad = |text| Err(Box::new(plain_text(StatusCode::BAD_REQUEST, text)));
    if request.method() == Method::CONNECT {
        let text = "this is not a forward proxy";
        return Err(Box::new(plain_text(StatusCode::NOT_IMPLEMENTED, text)));
    }
    let target = request.uri().authority();
    let hosts = request.headers().get_all(header::HOST);
    // `http` URIs have no user information (RFC 9110, section 4.2.4). Software behind this ingress
    // may take either side of the `@` for the host.
    let mut named = target.iter().map(|target| target.as_str().as_bytes());
    if named.any(has_user) || hosts.iter().map(HeaderValue::as_bytes).any(has_user) {
        return bad("the request names a user before its host: leave out what is before the `@`");
    }
    if let Some(authority) = target {
        return Ok(authority.to_string());
    }
    let mut hosts = hosts.iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if host.is_empty() => Ok(String::new()),
        (Some(host), None) => match Authority::try_from(host.as_bytes()) {
            Ok(authority) => Ok(authority.to_string()),
            Err(_) => bad("the Host header is not a host"),
        },
        (Some(_), Some(_)) => bad("the request has more than one Host header"),
        (None, _) if request.version() < Version::HTTP_11 => Ok(String::new()),
        (None, _) => bad("the request has no Host header"),
    }
}

fn has_user(authority: &[u8]) -> bool {
    authority.contains(&b'@')
}

/// Returns the host without the port.
fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_without_port() {
        for (authority, wanted) in [
            ("a.localhost", "a.localhost"),
            ("a.localhost:80", "a.localhost"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(host(authority), wanted);
        }
    }

    #[test]
    fn a_user_before_the_host_is_refused_in_target_and_field() {
        let request = |uri: &str, host: Option<&str>| {
            let mut request = Request::get(uri);
            if let Some(host) = host {
                request = request.header(header::HOST, host);
            }
            authority(&request.body(()).unwrap()).map_err(|response| response.status())
        };
        let refused = Err(StatusCode::BAD_REQUEST);
        for (uri, host, expected) in [
            ("/", Some("a.localhost:80"), Ok("a.localhost:80")),
            ("/", Some("user@a.localhost"), refused),
            ("/", Some("user:pass@a.localhost:80"), refused),
            ("/", Some("@a.localhost"), refused),
            ("http://a.localhost/", None, Ok("a.localhost")),
            ("http://user@a.localhost/", None, refused),
            (
                "http://user:pass@a.localhost:80/x",
                Some("a.localhost"),
                refused,
            ),
            ("http://a.localhost/", Some("user@b.localhost"), refused),
            (
                "http://a.localhost/@x?y=@z",
                Some("b.localhost"),
                Ok("a.localhost"),
            ),
            ("/@x", Some("b.localhost"), Ok("b.localhost")),
        ] {
            let found = request(uri, host);
            assert_eq!(
                found.as_deref(),
                expected.as_ref().copied(),
                "{uri} {host:?}"
            );
        }
    }
}
