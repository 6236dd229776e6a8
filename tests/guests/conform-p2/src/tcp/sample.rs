//! The order of calls of a small server and its clients.

use wasip2::sockets::network::IpAddressFamily;

use super::{connect_to, listener, try_accept};
use crate::check::{equal, holds, works};

pub fn run(family: IpAddressFamily) {
    let listener = listener(family);
    listener.set_listen_backlog_size(32).expect("a hint");
    for message in [&b"first words"[..], b"second"] {
        // Gone before it is accepted.
        let client = connect_to(&listener);
        client
            .output
            .blocking_write_and_flush(&[])
            .expect("nothing");
        client
            .output
            .blocking_write_and_flush(message)
            .expect("room");
        drop(client);
        let server = works("a client that is gone is accepted", try_accept(&listener));
        holds(
            "nothing is read on request",
            server.input.read(0).is_ok_and(|bytes| bytes.is_empty()),
        );
        let read = server.input.blocking_read(message.len() as u64);
        equal("and its message read", read.ok(), Some(message.to_vec()));
    }
    busy_poll(family);
}

/// Polling with something that is always ready still shows a socket's readiness.
fn busy_poll(family: IpAddressFamily) {
    use wasip2::{clocks::monotonic_clock::subscribe_duration, io::poll::poll};
    let listener = listener(family);
    for _ in 0..100 {
        let client = connect_to(&listener);
        client
            .output
            .blocking_write_and_flush(b"hello")
            .expect("room");
        let server = try_accept(&listener).expect("the client");
        let readable = server.input.subscribe();
        let seen = (0..1_000).any(|_| {
            let now = subscribe_duration(0);
            poll(&[&now, &readable]).contains(&1)
        });
        assert!(seen, "the socket is never ready");
        assert_eq!(server.input.read(100).expect("bytes"), b"hello");
    }
    holds("readiness shows beside what is always ready", true);
}
