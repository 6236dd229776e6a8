//! Socket options: ranges, what reads back, and what an accepted socket inherits.

use wasip3::sockets::types::{ErrorCode, IpAddressFamily, TcpSocket};

use super::{Listener, bound, connect_to, socket};
use crate::check::{equal, fails, holds, works};

const SECOND: u64 = 1_000_000_000;

pub async fn run(family: IpAddressFamily) {
    defaults(family);
    zero(family);
    extremes(family);
    read_back(family);
    inherited(family).await;
}

fn defaults(family: IpAddressFamily) {
    let socket = socket(family);
    equal(
        "address-family: what it was made for",
        socket.get_address_family(),
        family,
    );
    works(
        "keep-alive-enabled has a default",
        socket.get_keep_alive_enabled(),
    );
    holds(
        "keep-alive-idle-time has one",
        socket.get_keep_alive_idle_time().is_ok_and(|n| n > 0),
    );
    holds(
        "keep-alive-interval has one",
        socket.get_keep_alive_interval().is_ok_and(|n| n > 0),
    );
    holds(
        "keep-alive-count has one",
        socket.get_keep_alive_count().is_ok_and(|n| n > 0),
    );
    holds(
        "hop-limit has one",
        socket.get_hop_limit().is_ok_and(|n| n > 0),
    );
    holds(
        "receive-buffer-size has one",
        socket.get_receive_buffer_size().is_ok_and(|n| n > 0),
    );
    holds(
        "send-buffer-size has one",
        socket.get_send_buffer_size().is_ok_and(|n| n > 0),
    );
}

fn zero(family: IpAddressFamily) {
    let socket = socket(family);
    let invalid = ErrorCode::InvalidArgument;
    fails(
        "set-listen-backlog-size: the provided value was 0",
        socket.set_listen_backlog_size(0),
        invalid.clone(),
    );
    fails(
        "set-keep-alive-idle-time: the provided value was 0",
        socket.set_keep_alive_idle_time(0),
        invalid.clone(),
    );
    fails(
        "set-keep-alive-interval: the provided value was 0",
        socket.set_keep_alive_interval(0),
        invalid.clone(),
    );
    fails(
        "set-keep-alive-count: the provided value was 0",
        socket.set_keep_alive_count(0),
        invalid.clone(),
    );
    fails(
        "set-hop-limit: must be 1 or higher",
        socket.set_hop_limit(0),
        invalid.clone(),
    );
    fails(
        "set-receive-buffer-size: the provided value was 0",
        socket.set_receive_buffer_size(0),
        invalid.clone(),
    );
    fails(
        "set-send-buffer-size: the provided value was 0",
        socket.set_send_buffer_size(0),
        invalid.clone(),
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
            socket.get_keep_alive_idle_time().is_ok_and(|n| n > 0),
        );
        holds(
            "clamped to something: keep-alive-interval",
            socket.get_keep_alive_interval().is_ok_and(|n| n > 0),
        );
        holds(
            "clamped to something: receive-buffer-size",
            socket.get_receive_buffer_size().is_ok_and(|n| n > 0),
        );
        holds(
            "clamped to something: send-buffer-size",
            socket.get_send_buffer_size().is_ok_and(|n| n > 0),
        );
    }
    socket.set_keep_alive_idle_time(1).expect("a time");
    holds(
        "rounded to a second at most: keep-alive-idle-time",
        socket.get_keep_alive_idle_time().is_ok_and(|n| n <= SECOND),
    );
    socket.set_keep_alive_interval(1).expect("a time");
    holds(
        "rounded to a second at most: keep-alive-interval",
        socket.get_keep_alive_interval().is_ok_and(|n| n <= SECOND),
    );
    for count in [1, u32::MAX] {
        works(
            "set-keep-alive-count: any other value",
            socket.set_keep_alive_count(count),
        );
        holds(
            "clamped to something: keep-alive-count",
            socket.get_keep_alive_count().is_ok_and(|n| n > 0),
        );
    }
    for hops in [1, u8::MAX] {
        works("set-hop-limit: any other value", socket.set_hop_limit(hops));
        equal(
            "hop-limit: what was set",
            socket.get_hop_limit().ok(),
            Some(hops),
        );
    }
}

fn read_back(family: IpAddressFamily) {
    let socket = socket(family);
    for enabled in [true, false] {
        socket.set_keep_alive_enabled(enabled).expect("a choice");
        equal(
            "keep-alive-enabled: what was set",
            socket.get_keep_alive_enabled().ok(),
            Some(enabled),
        );
    }
    configure(&socket, true, 42);
    configured("what was set", &socket, true, 42);
}

async fn inherited(family: IpAddressFamily) {
    let socket = bound(family);
    configure(&socket, true, 42);
    let accept = socket.listen().expect("to listen");
    let mut listener = Listener { socket, accept };
    let _first = connect_to(listener.address()).await;
    let early = listener.next().await;
    configured("inherited from the listener", &early, true, 42);
    configure(&listener.socket, false, 43);
    configured("not changed by the listener's change", &early, true, 42);
    let _after = connect_to(listener.address()).await;
    let late = listener.next().await;
    configured("changed while it listens", &late, false, 43);
    configured("of the listener itself", &listener.socket, false, 43);
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
        socket.get_keep_alive_enabled().ok(),
        Some(keep_alive),
    );
    equal(
        &named("keep-alive-idle-time"),
        socket.get_keep_alive_idle_time().ok(),
        Some(u64::from(n) * SECOND),
    );
    equal(
        &named("keep-alive-interval"),
        socket.get_keep_alive_interval().ok(),
        Some((u64::from(n) + 1) * SECOND),
    );
    equal(
        &named("keep-alive-count"),
        socket.get_keep_alive_count().ok(),
        Some(u32::from(n)),
    );
    equal(&named("hop-limit"), socket.get_hop_limit().ok(), Some(n));
    equal(
        &named("receive-buffer-size"),
        socket.get_receive_buffer_size().ok(),
        Some(u64::from(n) << 12),
    );
    equal(
        &named("send-buffer-size"),
        socket.get_send_buffer_size().ok(),
        Some(u64::from(n) << 13),
    );
}
