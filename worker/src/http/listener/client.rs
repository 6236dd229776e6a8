//! The client of a connection, as its requests see it.

use std::{net::SocketAddr, sync::OnceLock};

use http::HeaderValue;

/// The client of one connection. The texts of its address are made when they are first used.
#[derive(Debug)]
pub struct Client {
    pub address: SocketAddr,
    /// Whether this is a proxy that is trusted to report for whom it sends requests.
    pub is_proxy: bool,
    host: OnceLock<HeaderValue>,
    host_and_port: OnceLock<HeaderValue>,
}

// === impl Client ===

impl Client {
    pub fn new(address: SocketAddr, is_proxy: bool) -> Self {
        Self {
            address,
            is_proxy,
            host: OnceLock::new(),
            host_and_port: OnceLock::new(),
        }
    }

    /// Returns the IP address. One of IPv4 within IPv6 is written as IPv4.
    pub(crate) fn host(&self) -> &HeaderValue {
        let text = || text(self.address.ip().to_canonical().to_string());
        self.host.get_or_init(text)
    }

    /// Returns the IP address and port.
    pub(crate) fn host_and_port(&self) -> &HeaderValue {
        let text = || text(self.address.to_string());
        self.host_and_port.get_or_init(text)
    }
}

fn text(address: String) -> HeaderValue {
    // Addresses consist of visible ASCII, so the conversion never fails.
    HeaderValue::try_from(address).unwrap_or(HeaderValue::from_static("unknown"))
}
