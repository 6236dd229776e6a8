use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// More than any datagram.
const BUFFER: usize = 66_000;

pub fn bind(address: &str) -> io::Result<SocketAddr> {
    UdpSocket::bind(address)?.local_addr()
}

/// Returns how many bytes were sent.
pub fn send(address: &str) -> io::Result<usize> {
    let address = parse(address);
    unbound(address)?.send_to(b"datagram", address)
}

/// Sends each datagram back to where it came from.
pub fn echo(address: &str) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    println!("bound to {}", socket.local_addr()?);
    let mut buffer = vec![0; BUFFER];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..length], from)?;
    }
}

/// Sends a datagram of this size and waits for it to come back, without and with a peer.
pub fn ping(address: &str, size: usize) -> io::Result<usize> {
    let address = parse(address);
    let socket = unbound(address)?;
    let message: Vec<u8> = (0..size).map(|i| i as u8).collect();
    let mut buffer = vec![0; BUFFER];
    socket.send_to(&message, address)?;
    let (length, from) = socket.recv_from(&mut buffer)?;
    assert_eq!((&buffer[..length], from), (&message[..], address));
    socket.connect(address)?;
    socket.send(&message)?;
    assert_eq!(socket.recv(&mut buffer)?, size);
    assert_eq!(socket.peer_addr()?, address);
    Ok(size)
}

fn parse(address: &str) -> SocketAddr {
    address.parse().expect("an address and port")
}

fn unbound(to: SocketAddr) -> io::Result<UdpSocket> {
    match to {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    }
}
