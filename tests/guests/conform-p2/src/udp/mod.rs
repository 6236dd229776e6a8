//! `wasi:sockets/udp` and `udp-create-socket`.

pub mod bind;
pub mod connect;
pub mod options;
pub mod states;
pub mod streams;

use wasip2::sockets::{
    instance_network::instance_network,
    network::{ErrorCode, IpAddressFamily, IpSocketAddress},
    udp::{
        IncomingDatagram, IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream,
        UdpSocket,
    },
    udp_create_socket::create_udp_socket,
};

use crate::address::loopback;

pub fn socket(family: IpAddressFamily) -> UdpSocket {
    create_udp_socket(family).expect("a socket")
}

pub fn try_bind(socket: &UdpSocket, local: IpSocketAddress) -> Result<(), ErrorCode> {
    socket.start_bind(&instance_network(), local)?;
    let ready = socket.subscribe();
    loop {
        match socket.finish_bind() {
            Err(ErrorCode::WouldBlock) => ready.block(),
            result => return result,
        }
    }
}

/// A socket bound to any port of loopback.
pub fn bound(family: IpAddressFamily) -> UdpSocket {
    let socket = socket(family);
    try_bind(&socket, loopback(family, 0)).expect("a free port");
    socket
}

pub fn datagram(data: &[u8], to: Option<IpSocketAddress>) -> OutgoingDatagram {
    OutgoingDatagram {
        data: data.to_vec(),
        remote_address: to,
    }
}

/// Waits for permission, and sends one.
pub fn send(
    stream: &OutgoingDatagramStream,
    data: &[u8],
    to: Option<IpSocketAddress>,
) -> Result<u64, ErrorCode> {
    while stream.check_send()? == 0 {
        stream.subscribe().block();
    }
    stream.send(&[datagram(data, to)])
}

/// Waits for the next one.
pub fn receive(stream: &IncomingDatagramStream) -> Result<IncomingDatagram, ErrorCode> {
    loop {
        if let Some(next) = stream.receive(1)?.pop() {
            return Ok(next);
        }
        stream.subscribe().block();
    }
}
