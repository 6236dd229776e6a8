//! What a forwarded request says of itself, in fields that only the `--listen` address understands.
//! They give nobody more than that address gives: the route must be one of the host and path that
//! the request asks for, which whoever reaches the address could ask for as well, and what an
//! ingress is sent under these names is removed.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use warren_model::route::Route;

use crate::http::{Body, plain_text};

/// The route that the request was found to take: its host, if it has one, and its path.
const ROUTE: HeaderName = HeaderName::from_static("warren-route");
/// The client's address and port.
const CLIENT: HeaderName = HeaderName::from_static("warren-client");
/// In an answer: no guest has seen the request.
const UNSERVED: HeaderName = HeaderName::from_static("warren-unserved");

/// A request that another worker sent on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forwarded {
    pub route: Route,
    pub client: Option<SocketAddr>,
}

/// The fields of a forwarded request make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Removes what a client of the ingress sent under these names.
pub(in crate::ingress) fn strip(headers: &mut HeaderMap) {
    for name in [ROUTE, CLIENT, UNSERVED] {
        headers.remove(name);
    }
}

pub(super) fn mark(headers: &mut HeaderMap, route: &Route, client: SocketAddr) {
    let text = format!(
        "{}{}",
        route.host.as_deref().unwrap_or_default(),
        route.path
    );
    // Routes are of visible ASCII: the alternatives are never taken.
    if let Ok(route) = HeaderValue::try_from(text) {
        headers.insert(ROUTE, route);
    }
    if let Ok(client) = HeaderValue::try_from(client.to_string()) {
        headers.insert(CLIENT, client);
    }
}

/// What [`mark`] said, taken out; `None` for a request that nobody forwarded.
pub(super) fn take(headers: &mut HeaderMap) -> Option<Result<Forwarded, Malformed>> {
    let route = headers.remove(ROUTE)?;
    let client = headers.remove(CLIENT);
    let parsed = route.to_str().ok().and_then(|text| {
        let (host, path) = text.split_at(text.find('/')?);
        Route::parse(host, path).ok()
    });
    let forwarded = parsed.map(|route| Forwarded {
        route,
        client: client.and_then(|client| client.to_str().ok()?.parse().ok()),
    });
    Some(forwarded.ok_or(Malformed))
}

/// The answer to a request whose route has no ready replica here.
pub(super) fn unserved() -> Response<Body> {
    let text = "no replica of this worker serves the route at present";
    let mut response = plain_text(StatusCode::SERVICE_UNAVAILABLE, text);
    let headers = response.headers_mut();
    headers.insert(UNSERVED, HeaderValue::from_static("1"));
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

pub(super) fn is_unserved<B>(response: &Response<B>) -> bool {
    response.headers().contains_key(UNSERVED)
}

/// A guest does not speak for its worker.
pub(super) fn is_served(response: &mut Response<Body>) {
    response.headers_mut().remove(UNSERVED);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_is_taken_and_nothing_is_left() {
        for (host, path) in [("a.localhost", "/"), ("a.localhost", "/api/v1"), ("", "/x")] {
            let route = Route::parse(host, path).unwrap();
            let client = "[::1]:5000".parse().unwrap();
            let mut headers = HeaderMap::new();
            // What a client says of itself is replaced.
            headers.append(ROUTE, HeaderValue::from_static("other/"));
            headers.append(ROUTE, HeaderValue::from_static("another/"));
            mark(&mut headers, &route, client);
            let taken = take(&mut headers).unwrap().unwrap();
            let client = Some(client);
            assert_eq!(taken, Forwarded { route, client });
            assert!(headers.is_empty());
        }
        let mut headers = HeaderMap::new();
        assert_eq!(take(&mut headers), None);
        for nonsense in ["", "a.localhost", "a b/", "a/../b", "a/?"] {
            headers.insert(ROUTE, HeaderValue::try_from(nonsense).unwrap());
            assert_eq!(take(&mut headers), Some(Err(Malformed)), "{nonsense}");
        }
    }
}
