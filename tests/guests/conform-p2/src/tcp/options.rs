//! Socket options: ranges, what reads back, and what an accepted socket inherits.

use wasip2::sockets::{
    network::{ErrorCode, IpAddressFamily},
    tcp::TcpSocket,
};

use super::{bound, connect_to, socket, try_accept, try_listen};
use crate::check::{equal, fails, holds, works};

const SECOND: u64 = 1_000_000_000;

pub fn run(family: IpAddressFamily) {
    defaults(family);
    zero(family);
    extremes(family);
    read_back(family);
    inherited(family);
}

fn defaults(family: IpAddressFamily) {
    let socket = socket(family);
    equal(
        "address-family: what it was made for",
        socket.address_family(),
        family,
    );
    works(
        "keep-alive-enabled has a default",
        socket.keep_alive_enabled(),
    );
    holds(
        "keep-alive-idle-time has one",
        socket.keep_alive_idle_time().is_ok_and(|n| n > 0),
    );
    holds(
        "keep-alive-interval has one",
        socket.keep_alive_interval().is_ok_and(|n| n > 0),
    );
    holds(
        "keep-alive-count has one",
        socket.keep_alive_count().is_ok_and(|n| n > 0),
    );
    holds("hop-limit has one", socket.hop_limit().is_ok_and(|n| n > 0));
    holds(
        "receive-buffer-size has one",
        socket.receive_buffer_size().is_ok_and(|n| n > 0),
    );
    holds(
        "send-buffer-size has one",
        socket.send_buffer_size().is_ok_and(|n| n > 0),
    );
}

fn zero(family: IpAddressFamily) {
    let socket = socket(family);
    let invalid = ErrorCode::InvalidArgument;
    fails(
        "set-listen-backlog-size: the provided value was 0",
        socket.set_listen_backlog_size(0),
        invalid,
    );
    fails(
        "set-keep-alive-idle-time: the provided value was 0",
        socket.set_keep_alive_idle_time(0),
        invalid,
    );
    fails(
        "set-keep-alive-interval: the provided value was 0",
        socket.set_keep_alive_interval(0),
        invalid,
    );
    fails(
        "set-keep-alive-count: the provided value was 0",
        socket.set_keep_alive_count(0),
        invalid,
    );
    fails(
        "set-hop-limit: must be 1 or higher",
        socket.set_hop_limit(0),
        invalid,
    );
    fails(
        "set-receive-buffer-size: the provided value was 0",
        socket.set_receive_buffer_size(0),
        invalid,
    );
    fails(
        "set-send-buffer-size: the provided value was 0",
        socket.set_send_buffer_size(0),
        invalid,
    );
}

/// "Any other value will never cause an error, but it might be silently clamped and/or rounded."
fn extremes(family: IpAddressFamily) {
    let socket = socket(family);
    for size in [1, u64::MAX] {
        works(
            "set-listen-backlog-size: any other value",
            socket.set_listen_backlog_size(size),
        );
        works(
            "set-keep-alive-idle-time: any other value",
            socket.set_keep_alive_idle_time(size),
        );
        works(
            "set-keep-alive-interval: any other value",
            socket.set_keep_alive_interval(size),
        );
        works(
            "set-receive-buffer-size: any other value",
            socket.set_receive_buffer_size(size),
        );
        works(
            "set-send-buffer-size: any other value",
            socket.set_send_buffer_size(size),
        );
        holds(
            "clamped to something: keep-alive-idle-time",
            socket.keep_alive_idle_time().is_ok_and(|n| n > 0),
        );
        holds(
            "clamped to something: keep-alive-interval",
            socket.keep_alive_interval().is_ok_and(|n| n > 0),
        );
        holds(
            "clamped to something: receive-buffer-size",
            socket.receive_buffer_size().is_ok_and(|n| n > 0),
        );
        holds(
            "clamped to something: send-buffer-size",
            socket.send_buffer_size().is_ok_and(|n| n > 0),
        );
    }
    socket.set_keep_alive_idle_time(1).expect("a time");
    holds(
        "rounded to a second at most: keep-alive-idle-time",
        socket.keep_alive_idle_time().is_ok_and(|n| n <= SECOND),
    );
    socket.set_keep_alive_interval(1).expect("a time");
    holds(
        "rounded to a second at most: keep-alive-interval",
        socket.keep_alive_interval().is_ok_and(|n| n <= SECOND),
    );
    for count in [1, u32::MAX] {
        works(
            "set-keep-alive-count: any other value",
            socket.set_keep_alive_count(count),
        );
        holds(
            "clamped to something: keep-alive-count",
            socket.keep_alive_count().is_ok_and(|n| n > 0),
        );
    }
    for hops in [1, u8::MAX] {
        works("set-hop-limit: any other value", socket.set_hop_limit(hops));
        equal("hop-limit: what was set", socket.hop_limit(), Ok(hops));
    }
}

fn read_back(family: IpAddressFamily) {
    let socket = socket(family);
    for enabled in [true, false] {
        socket.set_keep_alive_enabled(enabled).expect("a choice");
        equal(
            "keep-alive-enabled: what was set",
            socket.keep_alive_enabled(),
            Ok(enabled),
        );
    }
    configure(&socket, true, 42);
    configured("what was set", &socket, true, 42);
}

fn inherited(family: IpAddressFamily) {
    let listener = bound(family);
    configure(&listener, true, 42);
    try_listen(&listener).expect("to listen");
    let _first = connect_to(&listener);
    let early = try_accept(&listener).expect("a client");
    configured("inherited from the listener", &early.socket, true, 42);
    let waiting = connect_to(&listener);
    configure(&listener, false, 43);
    configured(
        "not changed by the listener's change",
        &early.socket,
        true,
        42,
    );
    let late = try_accept(&listener).expect("a client");
    let _after = connect_to(&listener);
    let later = try_accept(&listener).expect("a client");
    drop(late);
    configured("changed while it listens", &later.socket, false, 43);
    configured("of the listener itself", &listener, false, 43);
    drop(waiting);
}

/// Sets every option to something that can be told from its default.
fn configure(socket: &TcpSocket, keep_alive: bool, n: u8) {
    socket.set_keep_alive_enabled(keep_alive).expect("a choice");
    socket
        .set_keep_alive_idle_time(u64::from(n) * SECOND)
        .expect("a time");
    socket
        .set_keep_alive_interval((u64::from(n) + 1) * SECOND)
        .expect("a time");
    socket.set_keep_alive_count(u32::from(n)).expect("a number");
    socket.set_hop_limit(n).expect("a number");
    socket
        .set_receive_buffer_size(u64::from(n) << 12)
        .expect("a size");
    socket
        .set_send_buffer_size(u64::from(n) << 13)
        .expect("a size");
}

fn configured(how: &str, socket: &TcpSocket, keep_alive: bool, n: u8) {
    let named = |what: &str| format!("{what}: {how}");
    equal(
        &named("keep-alive-enabled"),
        socket.keep_alive_enabled(),
        Ok(keep_alive),
    );
    equal(
        &named("keep-alive-idle-time"),
        socket.keep_alive_idle_time(),
        Ok(u64::from(n) * SECOND),
    );
    equal(
        &named("keep-alive-interval"),
        socket.keep_alive_interval(),
        Ok((u64::from(n) + 1) * SECOND),
    );
    equal(
        &named("keep-alive-count"),
        socket.keep_alive_count(),
        Ok(u32::from(n)),
    );
    equal(&named("hop-limit"), socket.hop_limit(), Ok(n));
    equal(
        &named("receive-buffer-size"),
        socket.receive_buffer_size(),
        Ok(u64::from(n) << 12),
    );
    equal(
        &named("send-buffer-size"),
        socket.send_buffer_size(),
        Ok(u64::from(n) << 13),
    );
}
