//! Decides which target answers a request to the ingress.

use std::{fmt, future, net::SocketAddr};

use futures::future::BoxFuture;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Version, header,
    uri::{Authority, Scheme},
};

use super::{Router, peers, router::Choice};
use crate::http::{
    Body, ClientBody, RequestMeta,
    forwarded::{self, TrustedProxies},
    listener::{Client, Front},
    plain_text,
};

/// The listener for all routes of the fleet, wherever their replicas are.
#[derive(Clone)]
pub struct Ingress {
    pub router: Router,
    pub proxies: TrustedProxies,
}

impl Front for Ingress {
    fn is_proxy(&self, peer: SocketAddr) -> bool {
        self.proxies.contain(peer)
    }

    fn answer(
        &self,
        request: Request<ClientBody>,
        client: &Client,
    ) -> BoxFuture<'static, Response<Body>> {
        answer(&self.router, request, client)
    }
}

/// This trusts no proxy.
impl Front for Router {
    fn answer(
        &self,
        request: Request<ClientBody>,
        client: &Client,
    ) -> BoxFuture<'static, Response<Body>> {
        answer(self, request, client)
    }
}

fn answer(
    router: &Router,
    request: Request<ClientBody>,
    client: &Client,
) -> BoxFuture<'static, Response<Body>> {
    let authority = match authority(&request) {
        Ok(authority) => authority,
        Err(response) => return Box::pin(future::ready(*response)),
    };
    let requested = authority.as_ref().map_or("", Authority::as_str);
    let path = request.uri().path();
    let response = match router.choose(host(requested), path) {
        Choice::Own(target) => {
            let (request, meta) = introduce(request, authority, client);
            return target.call(request, meta);
        }
        Choice::Other(remote) => {
            let (request, meta) = introduce(request, authority, client);
            let address = client.host_and_port().clone();
            return Box::pin(peers::forward(remote, request, meta, address));
        }
        Choice::NotReady => not_ready(format_args!("{requested}{path}")),
        Choice::NoRoute => {
            let host = host(requested);
            let text = format!("no workload has a route for host `{host}` and path `{path}`");
            plain_text(StatusCode::NOT_FOUND, text)
        }
    };
    Box::pin(future::ready(response))
}

/// Sets what the target learns about the client.
fn introduce(
    mut request: Request<ClientBody>,
    authority: Option<Authority>,
    client: &Client,
) -> (Request<ClientBody>, RequestMeta) {
    let headers = request.headers_mut();
    peers::strip(headers);
    forwarded::set(
        headers,
        client,
        authority.as_ref().map_or("", Authority::as_str),
    );
    let meta = RequestMeta {
        scheme: Scheme::HTTP,
        authority,
        peer: client.address,
    };
    (request, meta)
}

/// Returns the answer if no replica behind a route, or what a request named, is ready.
pub(super) fn not_ready(target: impl fmt::Display) -> Response<Body> {
    later(format!("no replica behind {target} is ready; try again"))
}

pub(super) fn later(text: String) -> Response<Body> {
    let mut response = plain_text(StatusCode::SERVICE_UNAVAILABLE, text);
    let soon = HeaderValue::from_static("1");
    response.headers_mut().insert(header::RETRY_AFTER, soon);
    response
}

/// Returns the authority that the client requested, if any: that of the request's target, or else
/// the `Host` header (RFC 9112, section 3.2).
pub(super) fn authority<B>(request: &Request<B>) -> Result<Option<Authority>, Box<Response<Body>>> {
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
        return Ok(Some(authority.clone()));
    }
    let mut hosts = hosts.iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if host.is_empty() => Ok(None),
        (Some(host), None) => match Authority::try_from(host.as_bytes()) {
            Ok(authority) => Ok(Some(authority)),
            Err(_) => bad("the Host header is not a host"),
        },
        (Some(_), Some(_)) => bad("the request has more than one Host header"),
        (None, _) if request.version() < Version::HTTP_11 => Ok(None),
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
                found
                    .as_ref()
                    .map(|found| found.as_ref().map(Authority::as_str)),
                expected.as_ref().map(|expected| Some(*expected)),
                "{uri} {host:?}"
            );
        }
    }
}
