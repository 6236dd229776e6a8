//! Addresses between the standard library's form and WASI's.

use std::net::SocketAddr;

use wasip3::sockets::types::{
    IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};

pub fn parse(text: &str) -> (IpAddressFamily, IpSocketAddress) {
    match text.parse().expect("an address and port") {
        SocketAddr::V4(v4) => (
            IpAddressFamily::Ipv4,
            IpSocketAddress::Ipv4(Ipv4SocketAddress {
                port: v4.port(),
                address: v4.ip().octets().into(),
            }),
        ),
        SocketAddr::V6(v6) => (
            IpAddressFamily::Ipv6,
            IpSocketAddress::Ipv6(Ipv6SocketAddress {
                port: v6.port(),
                flow_info: v6.flowinfo(),
                address: v6.ip().segments().into(),
                scope_id: v6.scope_id(),
            }),
        ),
    }
}

pub fn show(address: &IpSocketAddress) -> String {
    let address: SocketAddr = match address {
        IpSocketAddress::Ipv4(v4) => {
            let (a, b, c, d) = v4.address;
            ([a, b, c, d], v4.port).into()
        }
        IpSocketAddress::Ipv6(v6) => {
            let (a, b, c, d, e, f, g, h) = v6.address;
            ([a, b, c, d, e, f, g, h], v6.port).into()
        }
    };
    address.to_string()
}
