//! The header fields by which a guest learns about its client: `X-Forwarded-*` and `Forwarded` (RFC
//! 7239). This is pure logic.
//!
//! Anyone who connects can send these fields, and guests believe them. Fields that a client sends
//! about itself are therefore replaced, and only a proxy that the operator trusts may add to what
//! guests receive. A worker that forwards a request has already done this, so requests to
//! `--listen` are left as they are.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use warren_model::cidr::Cidr;

use super::listener::Client;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// The scheme that clients use with this ingress.
const SCHEME: &str = "http";
const DEFAULT_PORT: u16 = 80;

/// The proxies whose information about their clients is trusted, as given by `--trusted-proxy`.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<[Cidr]>);

/// The fields that the client sent about itself and that are replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Replaced {
    port: bool,
    forwarded: bool,
}

// === impl TrustedProxies ===

impl TrustedProxies {
    pub fn new(networks: impl IntoIterator<Item = Cidr>) -> Self {
        Self(networks.into_iter().collect())
    }

    pub(crate) fn contain(&self, peer: SocketAddr) -> bool {
        self.0.iter().any(|network| network.contains(peer.ip()))
    }
}

/// Sets the fields of a request from `client` to `authority`.
///
/// For a trusted proxy, the lists are extended, and the scheme, host and port that it sent are
/// kept, because only the first proxy knows them. For any other client, the lists start here.
pub(crate) fn set(headers: &mut HeaderMap, client: &Client, authority: &str) {
    let replaced = take_claims(headers, client.is_proxy);
    append(headers, &X_FORWARDED_FOR, client.host());
    headers
        .entry(X_FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static(SCHEME));
    let named = headers.get(header::HOST);
    let host = match named.filter(|named| named.as_bytes() == authority.as_bytes()) {
        Some(named) => Ok(named.clone()),
        None => HeaderValue::from_str(authority),
    };
    if let Ok(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    if replaced.port {
        headers.insert(X_FORWARDED_PORT, HeaderValue::from(port(authority)));
    }
    if replaced.forwarded || headers.contains_key(header::FORWARDED) {
        let client = client.address.ip().to_canonical();
        if let Ok(element) = HeaderValue::try_from(element(client, authority)) {
            append(headers, &header::FORWARDED, &element);
        }
    }
}

/// Removes the fields that a proxy would send. For a trusted proxy, it only removes names with `_`,
/// which the proxy passes on from any client, and which many servers treat like those with `-` (RFC
/// 3875, section 4.1.18).
fn take_claims(headers: &mut HeaderMap, is_trusted: bool) -> Replaced {
    let claims = headers.keys().filter(|name| is_claim(name.as_str()));
    let claims = claims.filter(|name| !is_trusted || name.as_str().contains('_'));
    let claims: Vec<HeaderName> = claims.cloned().collect();
    let mut replaced = Replaced::default();
    for name in claims {
        replaced.port |= name == X_FORWARDED_PORT;
        replaced.forwarded |= name == header::FORWARDED;
        headers.remove(name);
    }
    replaced
}

/// Returns whether this is `X-Forwarded-*`, `Forwarded` or `X-Real-IP`, or a name that servers
/// mistake for one of them.
pub(super) fn is_claim(name: &str) -> bool {
    let begins_with = |prefix: &str| {
        let start = name.as_bytes().get(..prefix.len());
        start.is_some_and(|start| {
            let pairs = start.iter().zip(prefix.as_bytes());
            let mut same =
                pairs.map(|(byte, wanted)| byte == wanted || (*byte, *wanted) == (b'_', b'-'));
            same.all(|same| same)
        })
    };
    let is = |wanted: &str| name.len() == wanted.len() && begins_with(wanted);
    begins_with("x-forwarded") || is("forwarded") || is("x-real-ip")
}

/// Appends to a list, whose values may be on several lines.
fn append(headers: &mut HeaderMap, name: &HeaderName, last: &HeaderValue) {
    if !headers.contains_key(name) {
        headers.insert(name, last.clone());
        return;
    }
    let before = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let mut list: Vec<&[u8]> = before.filter(|value| !value.is_empty()).collect();
    list.push(last.as_bytes());
    // Valid values remain valid when they are joined, so this never fails.
    if let Ok(list) = HeaderValue::from_bytes(&list.join(b", ".as_slice())) {
        headers.insert(name, list);
    }
}

/// Returns the element that this ingress adds to `Forwarded`.
fn element(peer: IpAddr, authority: &str) -> String {
    let mut element = match peer {
        IpAddr::V4(peer) => format!("for={peer}"),
        IpAddr::V6(peer) => format!("for=\"[{peer}]\""),
    };
    if !authority.is_empty() && !authority.contains(['"', '\\']) {
        // Writing to a string never fails.
        let _ = write!(element, ";host=\"{authority}\"");
    }
    let _ = write!(element, ";proto={SCHEME}");
    element
}

fn port(authority: &str) -> u16 {
    let port = authority.rsplit_once(':').map(|(_, port)| port.parse());
    port.and_then(Result::ok).unwrap_or(DEFAULT_PORT)
}

#[cfg(test)]
mod tests;
