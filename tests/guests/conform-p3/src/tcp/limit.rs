//! Guests that take all they can: what they are told, and that they can go on.

use wasip3::sockets::types::{ErrorCode, IpAddressFamily, TcpSocket, UdpSocket};

use super::{bound, listener, socket};
use crate::{
    address::loopback,
    check::{holds, works},
};

const V4: IpAddressFamily = IpAddressFamily::Ipv4;
/// More than any limit allows.
const FOR_EVER: usize = 100_000;

pub async fn run(kind: &str) {
    match kind {
        "tcp" => sockets(|| TcpSocket::create(V4)),
        "udp" => sockets(|| UdpSocket::create(V4)),
        "closed" => closed().await,
        "listeners" => listeners(),
        "connections" => connections().await,
        _ => panic!("unknown limit: {kind}"),
    }
}

/// 0.3 has no code for EMFILE: `out-of-memory` is what stands for limits.
fn is_limit(error: Option<ErrorCode>) -> bool {
    matches!(error, Some(ErrorCode::OutOfMemory))
}

/// Until there is an error; and again, once there is room.
fn sockets<S>(create: impl Fn() -> Result<S, ErrorCode>) {
    let mut all = Vec::new();
    let error = (0..FOR_EVER).find_map(|_| create().map(|socket| all.push(socket)).err());
    holds("out-of-memory: a socket more than allowed", is_limit(error));
    println!("had {}", all.len());
    all.pop();
    works("one closed is one free", create());
}

/// A socket that failed to connect is a socket until it is dropped.
async fn closed() {
    let mut all = Vec::new();
    let mut error = None;
    for _ in 0..FOR_EVER {
        match TcpSocket::create(V4) {
            Ok(socket) => {
                assert!(socket.connect(loopback(V4, 47)).await.is_err());
                all.push(socket);
            }
            Err(limit) => {
                error = Some(limit);
                break;
            }
        }
    }
    holds("out-of-memory: closed sockets count", is_limit(error));
    println!("had {}", all.len());
}

fn listeners() {
    let mut all = Vec::new();
    let mut error = None;
    for _ in 0..FOR_EVER {
        let socket = bound(V4);
        match socket.listen() {
            Ok(accept) => all.push((socket, accept)),
            Err(limit) => {
                error = Some(limit);
                works("the socket is bound as before", socket.get_local_address());
                break;
            }
        }
    }
    holds(
        "out-of-memory (ENOBUFS): a listener more than allowed",
        is_limit(error),
    );
    println!("had {}", all.len());
    all.pop();
    works("one closed is one free", bound(V4).listen());
}

async fn connections() {
    let mut listener = listener(V4);
    let mut all = Vec::new();
    let mut error = None;
    for _ in 0..FOR_EVER {
        let client = match TcpSocket::create(V4) {
            Ok(client) => client,
            Err(limit) => {
                error = Some(limit);
                break;
            }
        };
        if let Err(limit) = client.connect(listener.address()).await {
            error = Some(limit);
            break;
        }
        all.push((client, listener.next().await));
    }
    holds(
        "out-of-memory: a connection is two sockets",
        is_limit(error),
    );
    println!("had {}", all.len());
    all.pop();
    works(
        "one closed is one free",
        socket(V4).connect(listener.address()).await,
    );
}
