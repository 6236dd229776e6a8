//! `wasi:sockets/tcp` and `tcp-create-socket`.

pub mod bind;
pub mod connect;
pub mod limit;
pub mod listen;
pub mod options;
pub mod sample;
pub mod states;
pub mod streams;

use wasip2::{
    io::streams::{InputStream, OutputStream},
    sockets::{
        instance_network::instance_network,
        network::{ErrorCode, IpAddressFamily, IpSocketAddress},
        tcp::TcpSocket,
        tcp_create_socket::create_tcp_socket,
    },
};

use crate::address::loopback;

/// A connected socket and its streams. They drop first: they are the socket's children.
pub struct Connection {
    pub input: InputStream,
    pub output: OutputStream,
    pub socket: TcpSocket,
}

pub fn socket(family: IpAddressFamily) -> TcpSocket {
    create_tcp_socket(family).expect("a socket")
}

pub fn try_bind(socket: &TcpSocket, local: IpSocketAddress) -> Result<(), ErrorCode> {
    socket.start_bind(&instance_network(), local)?;
    finish(socket, || socket.finish_bind())
}

pub fn try_listen(socket: &TcpSocket) -> Result<(), ErrorCode> {
    socket.start_listen()?;
    finish(socket, || socket.finish_listen())
}

pub fn try_connect(
    socket: &TcpSocket,
    remote: IpSocketAddress,
) -> Result<(InputStream, OutputStream), ErrorCode> {
    socket.start_connect(&instance_network(), remote)?;
    finish(socket, || socket.finish_connect())
}

pub fn try_accept(socket: &TcpSocket) -> Result<Connection, ErrorCode> {
    let (socket, input, output) = finish(socket, || socket.accept())?;
    Ok(Connection {
        input,
        output,
        socket,
    })
}

/// As the document says: "this pollable can be used to wait for their success or failure".
fn finish<T>(
    socket: &TcpSocket,
    operation: impl Fn() -> Result<T, ErrorCode>,
) -> Result<T, ErrorCode> {
    let ready = socket.subscribe();
    loop {
        match operation() {
            Err(ErrorCode::WouldBlock) => ready.block(),
            result => return result,
        }
    }
}

/// A socket bound to any port of loopback.
pub fn bound(family: IpAddressFamily) -> TcpSocket {
    let socket = socket(family);
    try_bind(&socket, loopback(family, 0)).expect("a free port");
    socket
}

pub fn listener(family: IpAddressFamily) -> TcpSocket {
    let socket = bound(family);
    try_listen(&socket).expect("to listen");
    socket
}

pub fn connect_to(listener: &TcpSocket) -> Connection {
    let socket = socket(listener.address_family());
    let remote = listener.local_address().expect("a bound listener");
    let (input, output) = try_connect(&socket, remote).expect("a listener");
    Connection {
        input,
        output,
        socket,
    }
}

/// Both ends of a connection: who connected, and who accepted.
pub fn pair(family: IpAddressFamily) -> (Connection, Connection) {
    let listener = listener(family);
    let client = connect_to(&listener);
    let server = try_accept(&listener).expect("the client");
    (client, server)
}
