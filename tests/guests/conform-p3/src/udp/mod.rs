//! The `udp-socket` of `wasi:sockets/types`.

pub mod bind;
pub mod connect;
pub mod datagrams;
pub mod options;
pub mod states;

use wasip3::sockets::types::{IpAddressFamily, UdpSocket};

use crate::address::loopback;

pub fn socket(family: IpAddressFamily) -> UdpSocket {
    UdpSocket::create(family).expect("a socket")
}

/// A socket bound to any port of loopback.
pub fn bound(family: IpAddressFamily) -> UdpSocket {
    let socket = socket(family);
    socket.bind(loopback(family, 0)).expect("a free port");
    socket
}
