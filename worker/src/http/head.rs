//! The changes that a reverse proxy makes to the head of a message (RFC 9110, section 7.6), as pure
//! functions.

use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, Version, header, request,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::forwarded;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// The authority of a request of HTTP/1.0 that names none.
const NOBODY: &str = "localhost";

/// The requests that the removed hop-by-hop fields made.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The protocol to switch to. HTTP/2 over HTTP/1.1, which may be ignored, is left out.
    pub upgrade: Option<HeaderValue>,
    /// Whether there was `TE: trailers`.
    pub trailers: bool,
}

/// Removes the fields that are about one connection and not about the message (RFC 9110, section
/// 7.6.1), and a length that the framing overrides (RFC 9112, section 6.3).
pub(crate) fn take_hop_by_hop(headers: &mut HeaderMap) -> Asked {
    let mut asked = Asked {
        upgrade: None,
        trailers: has_token(headers, &header::TE, "trailers"),
    };
    if headers.contains_key(header::CONNECTION) {
        if has_token(headers, &header::CONNECTION, "upgrade") {
            let upgrade = headers.get(header::UPGRADE);
            asked.upgrade = upgrade.filter(|to| !is_h2c(to)).cloned();
        }
        for name in nominated(headers) {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    if headers.remove(header::TRANSFER_ENCODING).is_some() {
        headers.remove(header::CONTENT_LENGTH);
    }
    for name in [
        header::TE,
        header::UPGRADE,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        HTTP2_SETTINGS,
    ] {
        headers.remove(name);
    }
    asked
}

/// Returns the fields that `Connection` names, except those that are end-to-end by definition. A
/// client that could remove them would hide from the service what this ingress reports about it.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter();
    let tokens = values.filter_map(|v| v.to_str().ok()).flat_map(tokens);
    tokens
        .filter(|token| !token.eq_ignore_ascii_case("close"))
        .filter_map(|token| HeaderName::try_from(token).ok())
        .filter(|name| {
            *name != header::HOST
                && *name != header::CONTENT_LENGTH
                && !forwarded::is_claim(name.as_str())
        })
        .collect()
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter();
    let mut tokens = values.filter_map(|v| v.to_str().ok()).flat_map(tokens);
    tokens.any(|token| {
        let name = token.split(';').next().unwrap_or_default();
        name.trim_end().eq_ignore_ascii_case(wanted)
    })
}

fn tokens(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|t| !t.is_empty())
}

fn is_h2c(upgrade: &HeaderValue) -> bool {
    upgrade.as_bytes().eq_ignore_ascii_case(b"h2c")
}

/// Returns whether a request is gRPC, which needs HTTP/2.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| {
        let prefix = value.as_bytes().get(..GRPC.len());
        prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(GRPC))
    })
}

const GRPC: &[u8] = b"application/grpc";

/// Turns a request into one of HTTP/1.1. `authority` is the host that the client asked for;
/// `chunked` says that there is a body of unknown length.
pub(crate) fn to_http1(
    head: &mut request::Parts,
    asked: &Asked,
    authority: Option<&Authority>,
    chunked: bool,
) {
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
    }
    head.version = Version::HTTP_11;
    // An absolute target overrides the field (RFC 9112, section 3.2.2).
    if head.uri.authority().is_some() || !head.headers.contains_key(header::HOST) {
        if let Ok(host) = HeaderValue::from_str(authority.map_or(NOBODY, Authority::as_str)) {
            head.headers.insert(header::HOST, host);
        }
        head.uri = Uri::from(path(&head.uri));
    }
    if chunked {
        // hyper assumes that a GET has no body unless a field says otherwise.
        let chunked = HeaderValue::from_static("chunked");
        head.headers.insert(header::TRANSFER_ENCODING, chunked);
    }
    if asked.trailers {
        let trailers = HeaderValue::from_static("trailers");
        head.headers.insert(header::TE, trailers);
        let te = HeaderValue::from_static("te");
        head.headers.insert(header::CONNECTION, te);
    }
    if let Some(protocol) = &asked.upgrade {
        head.headers.insert(header::UPGRADE, protocol.clone());
        let upgrade = HeaderValue::from_static("upgrade");
        head.headers.append(header::CONNECTION, upgrade);
    }
}

/// Turns a request into one of HTTP/2 (RFC 9113, section 8.3.1). `authority` is the host that the
/// client asked for.
pub(crate) fn to_http2(head: &mut request::Parts, asked: &Asked, authority: Option<&Authority>) {
    head.version = Version::HTTP_2;
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    let nobody = || Authority::from_static(NOBODY);
    parts.authority = Some(authority.cloned().unwrap_or_else(nobody));
    parts.path_and_query = Some(path(&head.uri));
    // All three parts are present and valid, so the default is never used.
    head.uri = Uri::from_parts(parts).unwrap_or_default();
    head.headers.remove(header::HOST);
    // This ingress itself sends the client 100 Continue.
    head.headers.remove(header::EXPECT);
    if asked.trailers {
        let trailers = HeaderValue::from_static("trailers");
        head.headers.insert(header::TE, trailers);
    }
}

/// Turns a service's response into one of this ingress, whose connection to the client has its own
/// fields.
pub(crate) fn to_client<B>(response: &mut Response<B>) {
    let protocol = match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => response.headers().get(header::UPGRADE).cloned(),
        _ => None,
    };
    // This holds for every version that the service speaks: hyper writes the client's version.
    *response.version_mut() = Version::HTTP_11;
    let headers = response.headers_mut();
    take_hop_by_hop(headers);
    if let Some(protocol) = protocol {
        let upgrade = HeaderValue::from_static("upgrade");
        headers.insert(header::CONNECTION, upgrade);
        headers.insert(header::UPGRADE, protocol);
    }
}

fn path(uri: &Uri) -> PathAndQuery {
    let root = || PathAndQuery::from_static("/");
    uri.path_and_query().cloned().unwrap_or_else(root)
}

/// Joins cookies, which HTTP/2 may split and HTTP/1.1 may not (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
    if cookies.len() < 2 {
        return;
    }
    let cookies: Vec<_> = cookies.into_iter().map(HeaderValue::as_bytes).collect();
    // The parts are valid, so the joined value is valid, too.
    if let Ok(joined) = HeaderValue::from_bytes(&cookies.join(b"; ".as_slice())) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests;
