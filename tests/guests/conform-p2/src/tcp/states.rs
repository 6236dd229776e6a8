//! What each call says in each state of a socket.

use wasip2::sockets::{
    instance_network::instance_network,
    network::{ErrorCode, IpAddressFamily},
    tcp::{ShutdownType, TcpSocket},
};

use super::{bound, connect_to, listener, socket, try_bind, try_connect};
use crate::{
    address::loopback,
    check::{equal, fails, holds, works},
};

pub fn run(family: IpAddressFamily) {
    unbound(family);
    bind_in_progress(family);
    bound_state(family);
    listen_in_progress(family);
    listening(family);
    connect_in_progress(family);
    connected(family);
    closed(family);
}

fn unbound(family: IpAddressFamily) {
    let socket = socket(family);
    nothing_in_progress("unbound", &socket);
    fails(
        "unbound: start-listen: invalid-state: the socket is not bound",
        socket.start_listen(),
        ErrorCode::InvalidState,
    );
    no_connection("unbound", &socket);
    fails(
        "unbound: accept: invalid-state",
        socket.accept(),
        ErrorCode::InvalidState,
    );
    fails(
        "unbound: local-address: invalid-state",
        socket.local_address(),
        ErrorCode::InvalidState,
    );
    holds("unbound: is-listening is false", !socket.is_listening());
    works(
        "unbound: set-listen-backlog-size",
        socket.set_listen_backlog_size(32),
    );
    every_option("unbound", family, &socket);
}

fn bind_in_progress(family: IpAddressFamily) {
    let network = instance_network();
    let socket = socket(family);
    works(
        "start-bind begins a bind",
        socket.start_bind(&network, loopback(family, 0)),
    );
    busy("bind-in-progress", family, &socket);
    fails(
        "bind-in-progress: finish-listen: not-in-progress",
        socket.finish_listen(),
        ErrorCode::NotInProgress,
    );
    fails(
        "bind-in-progress: finish-connect: not-in-progress",
        socket.finish_connect(),
        ErrorCode::NotInProgress,
    );
    fails(
        "bind-in-progress: accept: invalid-state",
        socket.accept(),
        ErrorCode::InvalidState,
    );
    fails(
        "bind-in-progress: local-address: not bound yet",
        socket.local_address(),
        ErrorCode::InvalidState,
    );
    no_connection("bind-in-progress", &socket);
    every_option("bind-in-progress", family, &socket);
    works("finish-bind ends it", socket.finish_bind());
    works("and the socket is bound", socket.local_address());
}

fn bound_state(family: IpAddressFamily) {
    let socket = bound(family);
    nothing_in_progress("bound", &socket);
    fails(
        "bound: start-bind: invalid-state: already bound",
        socket.start_bind(&instance_network(), loopback(family, 0)),
        ErrorCode::InvalidState,
    );
    fails(
        "bound: accept: invalid-state",
        socket.accept(),
        ErrorCode::InvalidState,
    );
    no_connection("bound", &socket);
    works("bound: local-address", socket.local_address());
    holds("bound: is-listening is false", !socket.is_listening());
    works(
        "bound: set-listen-backlog-size",
        socket.set_listen_backlog_size(32),
    );
    every_option("bound", family, &socket);
}

fn listen_in_progress(family: IpAddressFamily) {
    let socket = bound(family);
    works("start-listen begins to listen", socket.start_listen());
    busy("listen-in-progress", family, &socket);
    fails(
        "listen-in-progress: finish-bind: not-in-progress",
        socket.finish_bind(),
        ErrorCode::NotInProgress,
    );
    fails(
        "listen-in-progress: finish-connect: not-in-progress",
        socket.finish_connect(),
        ErrorCode::NotInProgress,
    );
    fails(
        "listen-in-progress: accept: invalid-state",
        socket.accept(),
        ErrorCode::InvalidState,
    );
    holds(
        "listen-in-progress: is-listening: not in that state yet",
        !socket.is_listening(),
    );
    works(
        "listen-in-progress: local-address: bound or higher",
        socket.local_address(),
    );
    no_connection("listen-in-progress", &socket);
    every_option("listen-in-progress", family, &socket);
    works("finish-listen ends it", socket.finish_listen());
    holds("and the socket listens", socket.is_listening());
}

fn listening(family: IpAddressFamily) {
    let network = instance_network();
    let socket = listener(family);
    nothing_in_progress("listening", &socket);
    fails(
        "listening: start-bind: invalid-state",
        socket.start_bind(&network, loopback(family, 0)),
        ErrorCode::InvalidState,
    );
    fails(
        "listening: start-connect: invalid-state",
        socket.start_connect(&network, loopback(family, 1)),
        ErrorCode::InvalidState,
    );
    fails(
        "listening: start-listen: invalid-state",
        socket.start_listen(),
        ErrorCode::InvalidState,
    );
    fails(
        "listening: accept: would-block: nobody has come",
        socket.accept(),
        ErrorCode::WouldBlock,
    );
    no_connection("listening", &socket);
    works("listening: local-address", socket.local_address());
    holds("listening: is-listening", socket.is_listening());
    works(
        "listening: set-listen-backlog-size",
        socket.set_listen_backlog_size(32),
    );
    every_option("listening", family, &socket);
}

/// With a backlog of one that is full, a connection stays in progress.
fn connect_in_progress(family: IpAddressFamily) {
    let busy_listener = bound(family);
    busy_listener.set_listen_backlog_size(1).expect("a hint");
    busy_listener.start_listen().expect("to listen");
    busy_listener.finish_listen().expect("to listen");
    let remote = busy_listener.local_address().expect("bound");
    let first = connect_to(&busy_listener);

    let socket = socket(family);
    works(
        "start-connect begins to connect",
        socket.start_connect(&instance_network(), remote),
    );
    fails(
        "connect-in-progress: finish-connect: would-block",
        socket.finish_connect(),
        ErrorCode::WouldBlock,
    );
    busy("connect-in-progress", family, &socket);
    fails(
        "connect-in-progress: finish-bind: not-in-progress",
        socket.finish_bind(),
        ErrorCode::NotInProgress,
    );
    fails(
        "connect-in-progress: finish-listen: not-in-progress",
        socket.finish_listen(),
        ErrorCode::NotInProgress,
    );
    fails(
        "connect-in-progress: accept: invalid-state",
        socket.accept(),
        ErrorCode::InvalidState,
    );
    works(
        "connect-in-progress: local-address: bound or higher",
        socket.local_address(),
    );
    holds(
        "connect-in-progress: is-listening is false",
        !socket.is_listening(),
    );
    fails(
        "connect-in-progress: set-listen-backlog-size: invalid-state",
        socket.set_listen_backlog_size(32),
        ErrorCode::InvalidState,
    );
    no_connection("connect-in-progress", &socket);
    every_option("connect-in-progress", family, &socket);

    // Room again: the connection stands, and is still in progress until it is finished.
    drop(super::try_accept(&busy_listener).expect("the first"));
    socket.subscribe().block();
    no_connection("connect-in-progress, ready", &socket);
    let streams = works("finish-connect ends it", socket.finish_connect());
    works("and the socket is connected", socket.remote_address());
    drop((streams, first));
}

fn connected(family: IpAddressFamily) {
    let network = instance_network();
    let listener = listener(family);
    let client = connect_to(&listener);
    let server = super::try_accept(&listener).expect("the client");
    for (name, socket) in [("connected", &client.socket), ("accepted", &server.socket)] {
        let named = |what: &str| format!("{name}: {what}");
        nothing_in_progress(name, socket);
        fails(
            &named("start-bind: invalid-state"),
            socket.start_bind(&network, loopback(family, 0)),
            ErrorCode::InvalidState,
        );
        let remote = listener.local_address().expect("bound");
        fails(
            &named("start-connect: invalid-state"),
            socket.start_connect(&network, remote),
            ErrorCode::InvalidState,
        );
        fails(
            &named("start-listen: invalid-state"),
            socket.start_listen(),
            ErrorCode::InvalidState,
        );
        fails(
            &named("accept: invalid-state"),
            socket.accept(),
            ErrorCode::InvalidState,
        );
        works(&named("local-address"), socket.local_address());
        works(&named("remote-address"), socket.remote_address());
        holds(&named("is-listening is false"), !socket.is_listening());
        fails(
            &named("set-listen-backlog-size: invalid-state"),
            socket.set_listen_backlog_size(32),
            ErrorCode::InvalidState,
        );
        every_option(name, family, socket);
    }
}

fn closed(family: IpAddressFamily) {
    let network = instance_network();
    let nobody = bound(family).local_address().expect("bound");
    let socket = socket(family);
    try_bind(&socket, loopback(family, 0)).expect("a free port");
    let held = socket.local_address().expect("bound");
    fails(
        "connection-refused where nobody listens",
        try_connect(&socket, nobody),
        ErrorCode::ConnectionRefused,
    );
    fails(
        "closed: start-connect: used once",
        socket.start_connect(&network, nobody),
        ErrorCode::InvalidState,
    );
    fails(
        "closed: start-bind: invalid-state",
        socket.start_bind(&network, loopback(family, 0)),
        ErrorCode::InvalidState,
    );
    fails(
        "closed: start-listen: invalid-state",
        socket.start_listen(),
        ErrorCode::InvalidState,
    );
    fails(
        "closed: accept: invalid-state",
        socket.accept(),
        ErrorCode::InvalidState,
    );
    fails(
        "closed: local-address: invalid-state",
        socket.local_address(),
        ErrorCode::InvalidState,
    );
    nothing_in_progress("closed", &socket);
    no_connection("closed", &socket);
    holds("closed: is-listening is false", !socket.is_listening());
    let next = super::socket(family);
    works(
        "a failed connect leaves no port behind",
        try_bind(&next, held),
    );
}

/// No `finish-*` without its `start-*`.
fn nothing_in_progress(state: &str, socket: &TcpSocket) {
    let named = |what: &str| format!("{state}: {what}: not-in-progress");
    fails(
        &named("finish-bind"),
        socket.finish_bind(),
        ErrorCode::NotInProgress,
    );
    fails(
        &named("finish-listen"),
        socket.finish_listen(),
        ErrorCode::NotInProgress,
    );
    fails(
        &named("finish-connect"),
        socket.finish_connect(),
        ErrorCode::NotInProgress,
    );
}

/// No `start-*` while another operation is in progress.
fn busy(state: &str, family: IpAddressFamily, socket: &TcpSocket) {
    let network = instance_network();
    let named = |what: &str| format!("{state}: {what}: concurrency-conflict");
    let conflict = ErrorCode::ConcurrencyConflict;
    fails(
        &named("start-bind"),
        socket.start_bind(&network, loopback(family, 0)),
        conflict,
    );
    fails(
        &named("start-connect"),
        socket.start_connect(&network, loopback(family, 1)),
        conflict,
    );
    fails(&named("start-listen"), socket.start_listen(), conflict);
}

fn no_connection(state: &str, socket: &TcpSocket) {
    let named = |what: &str| format!("{state}: {what}: invalid-state: not connected");
    let invalid = ErrorCode::InvalidState;
    fails(&named("remote-address"), socket.remote_address(), invalid);
    fails(
        &named("shutdown(receive)"),
        socket.shutdown(ShutdownType::Receive),
        invalid,
    );
    fails(
        &named("shutdown(send)"),
        socket.shutdown(ShutdownType::Send),
        invalid,
    );
    fails(
        &named("shutdown(both)"),
        socket.shutdown(ShutdownType::Both),
        invalid,
    );
}

/// Options are there in every state but `closed`.
fn every_option(state: &str, family: IpAddressFamily, socket: &TcpSocket) {
    let named = |what: &str| format!("{state}: {what}");
    equal(&named("address-family"), socket.address_family(), family);
    works(&named("keep-alive-enabled"), socket.keep_alive_enabled());
    works(
        &named("set-keep-alive-enabled"),
        socket.set_keep_alive_enabled(false),
    );
    works(
        &named("keep-alive-idle-time"),
        socket.keep_alive_idle_time(),
    );
    works(
        &named("set-keep-alive-idle-time"),
        socket.set_keep_alive_idle_time(1),
    );
    works(&named("keep-alive-interval"), socket.keep_alive_interval());
    works(
        &named("set-keep-alive-interval"),
        socket.set_keep_alive_interval(1),
    );
    works(&named("keep-alive-count"), socket.keep_alive_count());
    works(
        &named("set-keep-alive-count"),
        socket.set_keep_alive_count(1),
    );
    works(&named("hop-limit"), socket.hop_limit());
    works(&named("set-hop-limit"), socket.set_hop_limit(255));
    works(&named("receive-buffer-size"), socket.receive_buffer_size());
    works(
        &named("set-receive-buffer-size"),
        socket.set_receive_buffer_size(16_000),
    );
    works(&named("send-buffer-size"), socket.send_buffer_size());
    works(
        &named("set-send-buffer-size"),
        socket.set_send_buffer_size(16_000),
    );
}
