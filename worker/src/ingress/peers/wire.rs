//! The header fields of a forwarded request, which only the `--listen` address understands. They
//! give a sender no more than that address does anyway: the route must match the host and path of
//! the request, which anyone who reaches the address could request directly. An ingress removes
//! these fields from the requests of its clients.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use warren_model::route::Route;

use crate::http::{Body, plain_text};

/// The route that was chosen for the request: its host, if it has one, and its path.
const ROUTE: HeaderName = HeaderName::from_static("warren-route");
/// The client's address and port.
const CLIENT: HeaderName = HeaderName::from_static("warren-client");
/// In an answer, it says that no guest has seen the request.
const UNSERVED: HeaderName = HeaderName::from_static("warren-unserved");

/// The properties of a request that another worker forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forwarded {
    pub route: Route,
    pub client: Option<SocketAddr>,
}

/// The fields of a forwarded request are invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Removes these fields from a request of a client of the ingress.
pub(in crate::ingress) fn strip(headers: &mut HeaderMap) {
    for name in [ROUTE, CLIENT, UNSERVED] {
        headers.remove(name);
    }
}

/// Returns the text that names a route to another worker.
pub(super) fn name(route: &Route) -> HeaderValue {
    let host = route.host.as_deref().unwrap_or_default();
    let text = format!("{host}{}", route.path);
    // Routes consist of visible ASCII, so the conversion never fails.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// Adds the fields of a forwarded request: its route, and the address and port of its client.
pub(super) fn mark(headers: &mut HeaderMap, route: HeaderValue, client: HeaderValue) {
    headers.insert(ROUTE, route);
    headers.insert(CLIENT, client);
}

/// Removes and returns what [`mark`] added. Returns `None` for a request that was not forwarded.
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

/// Returns the answer to a request whose route has no ready replica here.
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

/// Removes the field from a guest's answer: a guest must not speak for its worker.
pub(super) fn is_served(response: &mut Response<Body>) {
    response.headers_mut().remove(UNSERVED);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_taken_and_nothing_is_left() {
        for (host, path) in [("a.localhost", "/"), ("a.localhost", "/api/v1"), ("", "/x")] {
            let route = Route::parse(host, path).unwrap();
            let client: SocketAddr = "[::1]:5000".parse().unwrap();
            let mut headers = HeaderMap::new();
            // The client's own fields are replaced.
            headers.append(ROUTE, HeaderValue::from_static("other/"));
            headers.append(ROUTE, HeaderValue::from_static("another/"));
            mark(
                &mut headers,
                name(&route),
                client.to_string().parse().unwrap(),
            );
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
