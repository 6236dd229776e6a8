//! What each call says in each state of a socket.

use std::task::{Context, Poll, Waker};

use wasip3::{
    sockets::types::{ErrorCode, IpAddressFamily, TcpSocket},
    wit_stream,
};

use super::{bound, connect_to, listener, socket};
use crate::{
    address::loopback,
    check::{equal, fails, holds, works},
};

pub async fn run(family: IpAddressFamily) {
    unbound(family).await;
    bound_state(family).await;
    listening(family).await;
    connecting(family).await;
    connected(family).await;
    closed(family).await;
}

async fn unbound(family: IpAddressFamily) {
    let socket = socket(family);
    fails(
        "unbound: get-local-address: invalid-state",
        socket.get_local_address(),
        ErrorCode::InvalidState,
    );
    no_connection("unbound", &socket).await;
    holds(
        "unbound: get-is-listening is false",
        !socket.get_is_listening(),
    );
    works(
        "unbound: set-listen-backlog-size",
        socket.set_listen_backlog_size(32),
    );
    every_option("unbound", family, &socket);
}

async fn bound_state(family: IpAddressFamily) {
    let socket = bound(family);
    fails(
        "bound: bind: invalid-state: already bound",
        socket.bind(loopback(family, 0)),
        ErrorCode::InvalidState,
    );
    works("bound: get-local-address", socket.get_local_address());
    no_connection("bound", &socket).await;
    holds(
        "bound: get-is-listening is false",
        !socket.get_is_listening(),
    );
    works(
        "bound: set-listen-backlog-size",
        socket.set_listen_backlog_size(32),
    );
    every_option("bound", family, &socket);
}

async fn listening(family: IpAddressFamily) {
    let listener = listener(family);
    let socket = &listener.socket;
    fails(
        "listening: bind: invalid-state",
        socket.bind(loopback(family, 0)),
        ErrorCode::InvalidState,
    );
    fails(
        "listening: connect: invalid-state",
        socket.connect(loopback(family, 1)).await,
        ErrorCode::InvalidState,
    );
    fails(
        "listening: listen: at most once per socket",
        socket.listen(),
        ErrorCode::InvalidState,
    );
    works("listening: get-local-address", socket.get_local_address());
    no_connection("listening", socket).await;
    holds("listening: get-is-listening", socket.get_is_listening());
    works(
        "listening: set-listen-backlog-size",
        socket.set_listen_backlog_size(32),
    );
    every_option("listening", family, socket);
}

/// With a backlog of one that is full, a connection is not there at once.
async fn connecting(family: IpAddressFamily) {
    let busy = bound(family);
    busy.set_listen_backlog_size(1).expect("a hint");
    let mut accept = busy.listen().expect("to listen");
    let remote = busy.get_local_address().expect("bound");
    let first = connect_to(remote).await;
    // The stream of connections may hold one back for its reader: then the next fills the queue.
    let second = socket(family);
    let third = socket(family);
    let mut waiting = Vec::new();
    for socket in [&second, &third] {
        let mut connect = Box::pin(socket.connect(remote));
        let mut cx = Context::from_waker(Waker::noop());
        if connect.as_mut().poll(&mut cx).is_pending() {
            waiting.push((socket, connect));
        }
    }
    let (socket, connect) = waiting.pop().expect("a full backlog");
    fails(
        "connecting: bind: invalid-state",
        socket.bind(loopback(family, 0)),
        ErrorCode::InvalidState,
    );
    fails(
        "connecting: connect: invalid-state",
        socket.connect(remote).await,
        ErrorCode::InvalidState,
    );
    fails(
        "connecting: listen: invalid-state",
        socket.listen(),
        ErrorCode::InvalidState,
    );
    fails(
        "connecting: set-listen-backlog-size: invalid-state",
        socket.set_listen_backlog_size(32),
        ErrorCode::InvalidState,
    );
    works(
        "connecting: get-local-address: bound or higher",
        socket.get_local_address(),
    );
    no_connection("connecting", socket).await;
    holds(
        "connecting: get-is-listening is false",
        !socket.get_is_listening(),
    );
    every_option("connecting", family, socket);

    let accepts = async {
        for _ in 0..3 {
            drop(accept.next().await);
        }
    };
    let waiting_first = async {
        for (_, connect) in waiting {
            connect.await.expect("a place");
        }
    };
    let ((connected, ()), ()) = super::both(super::both(connect, waiting_first), accepts).await;
    works("connecting: then connected", connected);
    works("and get-remote-address", socket.get_remote_address());
    drop(first);

    let busy = bound(family);
    busy.set_listen_backlog_size(1).expect("a hint");
    let _accept = busy.listen().expect("to listen");
    let remote = busy.get_local_address().expect("bound");
    let sockets: Vec<_> = (0..4).map(|_| super::socket(family)).collect();
    let mut cancelled = None;
    for socket in &sockets {
        let mut connect = Box::pin(socket.connect(remote));
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Pending = connect.as_mut().poll(&mut cx) {
            drop(connect);
            cancelled = Some(socket);
            break;
        }
    }
    let cancelled = cancelled.expect("a full backlog");
    fails(
        "closed: a connect that was cancelled",
        cancelled.get_remote_address(),
        ErrorCode::InvalidState,
    );
    fails(
        "closed: used once",
        cancelled.connect(remote).await,
        ErrorCode::InvalidState,
    );
}

async fn connected(family: IpAddressFamily) {
    let mut listener = listener(family);
    let client = connect_to(listener.address()).await;
    let server = listener.next().await;
    for (name, socket) in [("connected", &client), ("accepted", &server)] {
        let named = |what: &str| format!("{name}: {what}");
        fails(
            &named("bind: invalid-state"),
            socket.bind(loopback(family, 0)),
            ErrorCode::InvalidState,
        );
        fails(
            &named("connect: invalid-state"),
            socket.connect(listener.address()).await,
            ErrorCode::InvalidState,
        );
        fails(
            &named("listen: invalid-state"),
            socket.listen(),
            ErrorCode::InvalidState,
        );
        works(&named("get-local-address"), socket.get_local_address());
        works(&named("get-remote-address"), socket.get_remote_address());
        holds(
            &named("get-is-listening is false"),
            !socket.get_is_listening(),
        );
        fails(
            &named("set-listen-backlog-size: invalid-state"),
            socket.set_listen_backlog_size(32),
            ErrorCode::InvalidState,
        );
        every_option(name, family, socket);
    }
}

async fn closed(family: IpAddressFamily) {
    let nobody = bound(family).get_local_address().expect("bound");
    let socket = bound(family);
    let held = socket.get_local_address().expect("bound");
    fails(
        "connection-refused where nobody listens",
        socket.connect(nobody).await,
        ErrorCode::ConnectionRefused,
    );
    fails(
        "closed: connect: used once",
        socket.connect(nobody).await,
        ErrorCode::InvalidState,
    );
    fails(
        "closed: bind: invalid-state",
        socket.bind(loopback(family, 0)),
        ErrorCode::InvalidState,
    );
    fails(
        "closed: listen: invalid-state",
        socket.listen(),
        ErrorCode::InvalidState,
    );
    fails(
        "closed: get-local-address: invalid-state",
        socket.get_local_address(),
        ErrorCode::InvalidState,
    );
    no_connection("closed", &socket).await;
    holds(
        "closed: get-is-listening is false",
        !socket.get_is_listening(),
    );
    works(
        "a failed connect leaves no port behind",
        super::socket(family).bind(held),
    );
}

async fn no_connection(state: &str, socket: &TcpSocket) {
    let named = |what: &str| format!("{state}: {what}: invalid-state: not connected");
    fails(
        &named("get-remote-address"),
        socket.get_remote_address(),
        ErrorCode::InvalidState,
    );
    let (stream, received) = socket.receive();
    holds(
        &format!("{state}: receive: a closed stream"),
        stream.collect().await.is_empty(),
    );
    fails(&named("receive"), received.await, ErrorCode::InvalidState);
    let (mut writer, data) = wit_stream::new();
    let sent = socket.send(data);
    equal(
        &format!("{state}: send: takes nothing"),
        writer.write_all(vec![1, 2]).await,
        vec![1, 2],
    );
    fails(&named("send"), sent.await, ErrorCode::InvalidState);
}

/// Options are there in every state but `closed`.
fn every_option(state: &str, family: IpAddressFamily, socket: &TcpSocket) {
    let named = |what: &str| format!("{state}: {what}");
    equal(
        &named("get-address-family"),
        socket.get_address_family(),
        family,
    );
    works(
        &named("get-keep-alive-enabled"),
        socket.get_keep_alive_enabled(),
    );
    works(
        &named("set-keep-alive-enabled"),
        socket.set_keep_alive_enabled(false),
    );
    works(
        &named("get-keep-alive-idle-time"),
        socket.get_keep_alive_idle_time(),
    );
    works(
        &named("set-keep-alive-idle-time"),
        socket.set_keep_alive_idle_time(1),
    );
    works(
        &named("get-keep-alive-interval"),
        socket.get_keep_alive_interval(),
    );
    works(
        &named("set-keep-alive-interval"),
        socket.set_keep_alive_interval(1),
    );
    works(
        &named("get-keep-alive-count"),
        socket.get_keep_alive_count(),
    );
    works(
        &named("set-keep-alive-count"),
        socket.set_keep_alive_count(1),
    );
    works(&named("get-hop-limit"), socket.get_hop_limit());
    works(&named("set-hop-limit"), socket.set_hop_limit(255));
    works(
        &named("get-receive-buffer-size"),
        socket.get_receive_buffer_size(),
    );
    works(
        &named("set-receive-buffer-size"),
        socket.set_receive_buffer_size(16_000),
    );
    works(
        &named("get-send-buffer-size"),
        socket.get_send_buffer_size(),
    );
    works(
        &named("set-send-buffer-size"),
        socket.set_send_buffer_size(16_000),
    );
}
