//! Guests that take all they can: what they are told, and that they can go on.

use wasip2::{
    clocks::monotonic_clock::subscribe_duration,
    sockets::{
        network::{ErrorCode, IpAddressFamily},
        tcp::TcpSocket,
        tcp_create_socket::create_tcp_socket,
        udp_create_socket::create_udp_socket,
    },
};

use super::{Connection, bound, connect_to, listener, try_accept, try_listen};
use crate::check::{equal, holds, works};

const V4: IpAddressFamily = IpAddressFamily::Ipv4;
/// More than any limit allows.
const FOR_EVER: usize = 100_000;

pub fn run(kind: &str) {
    match kind {
        "tcp" => sockets(|| create_tcp_socket(V4)),
        "udp" => sockets(|| create_udp_socket(V4)),
        "closed" => closed(),
        "listeners" => listeners(),
        "connections" => connections(),
        "buffers" => buffers(),
        "options" => options(),
        "hoard" => hoard(),
        _ => panic!("unknown limit: {kind}"),
    }
}

/// Takes all there is of everything, and keeps it until it is ended.
fn hoard() {
    let listener = listener(V4);
    let mut pairs = Vec::new();
    for _ in 0..100 {
        let client = connect_to(&listener);
        let server = try_accept(&listener).expect("the client");
        largest(&server.socket);
        while let permit @ 1.. = client.output.check_write().expect("open") {
            client
                .output
                .write(&vec![0; permit as usize])
                .expect("permitted");
        }
        pairs.push((client, server));
    }
    let mut rest = Vec::new();
    while let Ok(socket) = create_tcp_socket(V4) {
        rest.push(socket);
    }
    println!("holding");
    subscribe_duration(u64::MAX).block();
}

/// Until there is an error; and again, once there is room.
fn sockets<S>(create: impl Fn() -> Result<S, ErrorCode>) {
    let mut all = Vec::new();
    let error = (0..FOR_EVER).find_map(|_| create().map(|socket| all.push(socket)).err());
    equal(
        "new-socket-limit: a socket more than allowed",
        error,
        Some(ErrorCode::NewSocketLimit),
    );
    println!("had {}", all.len());
    all.pop();
    works("one closed is one free", create());
}

/// A socket that failed to connect is a socket until it is dropped.
fn closed() {
    let nobody = bound(V4).local_address().expect("bound");
    let mut all = Vec::new();
    let error = (0..FOR_EVER).find_map(|_| {
        let socket = match create_tcp_socket(V4) {
            Ok(socket) => socket,
            Err(error) => return Some(error),
        };
        let refused = super::try_connect(&socket, nobody).err();
        assert_eq!(refused, Some(ErrorCode::ConnectionRefused));
        all.push(socket);
        None
    });
    equal(
        "new-socket-limit: closed sockets count",
        error,
        Some(ErrorCode::NewSocketLimit),
    );
    println!("had {}", all.len());
}

fn listeners() {
    let mut all = Vec::new();
    let error = (0..FOR_EVER).find_map(|_| {
        let socket = bound(V4);
        let error = try_listen(&socket).err();
        all.push(socket);
        error
    });
    equal(
        "out-of-memory (ENOBUFS): a listener more than allowed",
        error,
        Some(ErrorCode::OutOfMemory),
    );
    let last = all.pop().expect("the last");
    works("the socket is bound as before", last.local_address());
    all.pop();
    works("one closed is one free", try_listen(&last));
    println!("had {}", all.len());
}

fn connections() {
    let listener = listener(V4);
    let mut all: Vec<(Connection, Connection)> = Vec::new();
    let remote = listener.local_address().expect("bound");
    let error = (0..FOR_EVER).find_map(|_| {
        let socket = match create_tcp_socket(V4) {
            Ok(socket) => socket,
            Err(error) => return Some(error),
        };
        let (input, output) = match super::try_connect(&socket, remote) {
            Ok(streams) => streams,
            Err(error) => return Some(error),
        };
        let client = Connection {
            input,
            output,
            socket,
        };
        all.push((client, try_accept(&listener).expect("the client")));
        None
    });
    equal(
        "new-socket-limit: a connection is two sockets",
        error,
        Some(ErrorCode::NewSocketLimit),
    );
    println!("had {}", all.len());
    all.pop();
    let client = connect_to(&listener);
    works("one closed is one free", client.socket.remote_address());
}

/// Never reads, with the largest buffers that it gets: what is buffered in all is bounded.
fn buffers() {
    let listener = listener(V4);
    let pairs: Vec<_> = (0..200)
        .map(|_| {
            let client = connect_to(&listener);
            let server = try_accept(&listener).expect("the client");
            for socket in [&client.socket, &server.socket] {
                largest(socket);
            }
            (client, server)
        })
        .collect();
    let mut written = 0;
    for (client, server) in &pairs {
        for output in [&client.output, &server.output] {
            while let permit @ 1.. = output.check_write().expect("open") {
                output.write(&vec![0; permit as usize]).expect("permitted");
                written += permit;
            }
        }
    }
    println!("wrote {written}");
    let (_, server) = &pairs[0];
    let read = server.input.blocking_read(1 << 20).expect("bytes").len();
    holds("what was written is there", read > 0);
    drop(pairs);
    let (client, server) = {
        let client = connect_to(&listener);
        (client, try_accept(&listener).expect("the client"))
    };
    let message = vec![9; 60_000];
    assert!(client.output.check_write().expect("open") >= 60_000);
    client.output.write(&message).expect("permitted");
    let mut back = Vec::new();
    while back.len() < message.len() {
        back.extend(server.input.blocking_read(60_000).expect("bytes"));
    }
    equal("and room again, once it is closed", back, message);
}

fn largest(socket: &TcpSocket) {
    socket.set_receive_buffer_size(u64::MAX).expect("clamped");
    socket.set_send_buffer_size(u64::MAX).expect("clamped");
    socket.set_keep_alive_idle_time(u64::MAX).expect("clamped");
    socket.set_keep_alive_interval(u64::MAX).expect("clamped");
    socket.set_keep_alive_count(u32::MAX).expect("clamped");
    socket.set_keep_alive_enabled(true).expect("a choice");
    socket.set_hop_limit(u8::MAX).expect("a number");
}

fn smallest(socket: &TcpSocket) {
    socket.set_receive_buffer_size(1).expect("clamped");
    socket.set_send_buffer_size(1).expect("clamped");
    socket.set_keep_alive_idle_time(1).expect("clamped");
    socket.set_keep_alive_interval(1).expect("clamped");
    socket.set_keep_alive_count(1).expect("clamped");
    socket.set_keep_alive_enabled(true).expect("a choice");
    socket.set_hop_limit(1).expect("a number");
}

/// Bytes pass whatever the options are.
fn options() {
    for set in [smallest, largest] {
        let listener = bound(V4);
        listener.set_listen_backlog_size(u64::MAX).expect("clamped");
        set(&listener);
        try_listen(&listener).expect("to listen");
        let client = connect_to(&listener);
        set(&client.socket);
        let server = try_accept(&listener).expect("the client");
        let message: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let mut back = Vec::new();
        let mut rest = &message[..];
        while back.len() < message.len() {
            let permit = client.output.check_write().expect("open") as usize;
            let chunk = permit.min(rest.len());
            client.output.write(&rest[..chunk]).expect("permitted");
            rest = &rest[chunk..];
            back.extend(server.input.read(1 << 20).expect("open"));
        }
        equal("bytes pass whatever the options are", back, message);
    }
}
