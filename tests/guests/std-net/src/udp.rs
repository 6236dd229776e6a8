use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

pub fn bind(address: &str) -> io::Result<SocketAddr> {
    UdpSocket::bind(address)?.local_addr()
}

/// Returns how many bytes were sent.
pub fn send(address: &str) -> io::Result<usize> {
    let address: SocketAddr = address.parse().expect("an address and port");
    let socket = match address {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    }?;
    socket.send_to(b"datagram", address)
}
