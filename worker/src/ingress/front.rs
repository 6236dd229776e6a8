//! Which target answers a request that came to the ingress.

use std::{future, net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header,
    uri::{Authority, Scheme},
};
use warren_model::route::Route;

use super::{
    Admitted, Body, ClientBody, RequestMeta, Router,
    fleet::{self, FleetRoutes, Remote},
    plain_text,
    router::Choice,
    server::Front,
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The listener of routes: any of the fleet's, wherever its replicas are.
#[derive(Clone)]
pub struct Ingress {
    pub router: Router,
    pub fleet: Arc<FleetRoutes>,
}

/// Who answers a request.
enum Answerer {
    Own(Admitted),
    Other(Arc<Remote>),
}

// === impl Ingress ===

impl Ingress {
    /// The best route of all decides, wherever it is known from; of its replicas this worker's own
    /// come first.
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

/// A host of its own before any host, then the longest path.
fn rank(route: &Route) -> (bool, usize) {
    (route.host.is_some(), route.path.len())
}

impl Front for Ingress {
    fn answer(
        &self,
        request: Request<ClientBody>,
        peer: SocketAddr,
    ) -> BoxFuture<'static, Response<Body>> {
        let choose = |host: &str, path: &str| self.choose(host, path);
        match route(choose, request, peer) {
            Ok((Answerer::Own(target), request, meta)) => target.call(request, meta),
            Ok((Answerer::Other(remote), request, meta)) => {
                Box::pin(fleet::forward(remote, request, meta))
            }
            Err(response) => Box::pin(future::ready(*response)),
        }
    }
}

/// The replicas of one worker alone.
impl Front for Router {
    fn answer(
        &self,
        request: Request<ClientBody>,
        peer: SocketAddr,
    ) -> BoxFuture<'static, Response<Body>> {
        match route(|host, path| self.choose(host, path), request, peer) {
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
) -> Result<Routed<T>, Box<Response<Body>>> {
    let authority = authority(&request)?;
    let path = request.uri().path();
    match choose(host(&authority), path) {
        Choice::Target(target) => {
            forwarded(request.headers_mut(), peer, &authority);
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

/// Whom the client asked for: the request's target where it names one, else the `Host` header (RFC
/// 9112, section 3.2).
pub(super) fn authority<B>(request: &Request<B>) -> Result<String, Box<Response<Body>>> {
    let bad = |text| Err(Box::new(plain_text(StatusCode::BAD_REQUEST, text)));
    if request.method() == Method::CONNECT {
        let text = "this is not a forward proxy";
        return Err(Box::new(plain_text(StatusCode::NOT_IMPLEMENTED, text)));
    }
    if let Some(authority) = request.uri().authority() {
        return Ok(without_credentials(authority));
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if host.is_empty() => Ok(String::new()),
        (Some(host), None) => match Authority::try_from(host.as_bytes()) {
            Ok(authority) => Ok(without_credentials(&authority)),
            Err(_) => bad("the Host header is not a host"),
        },
        (Some(_), Some(_)) => bad("the request has more than one Host header"),
        (None, _) if request.version() < Version::HTTP_11 => Ok(String::new()),
        (None, _) => bad("the request has no Host header"),
    }
}

/// Credentials in a target are its client's mistake, and no server's to see (RFC 9110, section
/// 4.2.4).
fn without_credentials(authority: &Authority) -> String {
    let authority = authority.as_str();
    let host = authority.rsplit_once('@').map(|(_, host)| host);
    host.unwrap_or(authority).to_owned()
}

/// Without port.
fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    }
}

/// What guests cannot see themselves. The client's address is added to those that proxies before us
/// have added; what they said of scheme and host stays, because only the first of them knows.
fn forwarded(headers: &mut HeaderMap, peer: SocketAddr, authority: &str) {
    let before = headers.get_all(X_FORWARDED_FOR).iter();
    let mut chain: Vec<&[u8]> = before.map(HeaderValue::as_bytes).collect();
    let address = peer.ip().to_canonical().to_string();
    chain.push(address.as_bytes());
    // Joined of valid values, which stay valid: the alternative is never taken.
    if let Ok(chain) = HeaderValue::from_bytes(&chain.join(b", ".as_slice())) {
        headers.insert(X_FORWARDED_FOR, chain);
    }
    headers
        .entry(X_FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static("http"));
    if let Ok(host) = HeaderValue::from_str(authority) {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
}

#[cfg(test)]
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
}
