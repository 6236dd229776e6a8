//! The `tcp-socket` of `wasi:sockets/types`.

pub mod bind;
pub mod connect;
pub mod limit;
pub mod listen;
pub mod options;
pub mod states;
pub mod streams;

use wasip3::{
    sockets::types::{ErrorCode, IpAddressFamily, IpSocketAddress, TcpSocket},
    wit_bindgen::{FutureReader, StreamReader, StreamWriter},
    wit_stream,
};

use crate::address::loopback;

/// A listening socket, and those who come to it.
pub struct Listener {
    pub socket: TcpSocket,
    pub accept: StreamReader<TcpSocket>,
}

/// A connected socket with both directions taken.
pub struct Connection {
    pub socket: TcpSocket,
    pub send: StreamWriter<u8>,
    pub sent: FutureReader<Result<(), ErrorCode>>,
    pub receive: StreamReader<u8>,
    pub received: FutureReader<Result<(), ErrorCode>>,
}

impl Connection {
    pub fn new(socket: TcpSocket) -> Self {
        let (send, data) = wit_stream::new();
        let sent = socket.send(data);
        let (receive, received) = socket.receive();
        Self {
            socket,
            send,
            sent,
            receive,
            received,
        }
    }

    /// Sends all of it.
    pub async fn write(&mut self, bytes: &[u8]) {
        let rest = self.send.write_all(bytes.to_vec()).await;
        assert!(rest.is_empty(), "the peer takes no more");
    }

    /// What there is, up to so many bytes; empty at the end.
    pub async fn read(&mut self, most: usize) -> Vec<u8> {
        self.receive.read(Vec::with_capacity(most)).await.1
    }
}

pub fn socket(family: IpAddressFamily) -> TcpSocket {
    TcpSocket::create(family).expect("a socket")
}

/// A socket bound to any port of loopback.
pub fn bound(family: IpAddressFamily) -> TcpSocket {
    let socket = socket(family);
    socket.bind(loopback(family, 0)).expect("a free port");
    socket
}

pub fn listener(family: IpAddressFamily) -> Listener {
    let socket = bound(family);
    let accept = socket.listen().expect("to listen");
    Listener { socket, accept }
}

impl Listener {
    pub fn address(&self) -> IpSocketAddress {
        self.socket.get_local_address().expect("bound")
    }

    pub async fn next(&mut self) -> TcpSocket {
        self.accept.next().await.expect("a connection")
    }
}

/// A socket that connects: it stands before it is accepted.
pub async fn connect_to(remote: IpSocketAddress) -> TcpSocket {
    let family = match remote {
        IpSocketAddress::Ipv4(_) => IpAddressFamily::Ipv4,
        IpSocketAddress::Ipv6(_) => IpAddressFamily::Ipv6,
    };
    let socket = socket(family);
    socket.connect(remote).await.expect("a listener");
    socket
}

/// Both ends of a connection: who connected, and who accepted.
pub async fn pair(family: IpAddressFamily) -> (Connection, Connection) {
    let mut listener = listener(family);
    let client = connect_to(listener.address()).await;
    let server = listener.next().await;
    (Connection::new(client), Connection::new(server))
}

/// Drives both to their ends.
pub async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(move |cx| {
        use std::task::Poll;
        if first.is_none()
            && let Poll::Ready(value) = a.as_mut().poll(cx)
        {
            first = Some(value);
        }
        if second.is_none()
            && let Poll::Ready(value) = b.as_mut().poll(cx)
        {
            second = Some(value);
        }
        match (first.take(), second.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (first, second) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}
