//! `start-listen`, `finish-listen` and `accept`.

use wasip2::sockets::network::{ErrorCode, IpAddressFamily};

use super::{bound, connect_to, listener, socket, try_accept, try_listen};
use crate::{
    address::from_wasi,
    check::{equal, fails, holds, works},
};

pub fn run(family: IpAddressFamily) {
    fails(
        "the socket must already be explicitly bound",
        try_listen(&socket(family)),
        ErrorCode::InvalidState,
    );
    let first = bound(family);
    works("a bound socket listens", try_listen(&first));
    fails(
        "invalid-state: already listening",
        try_listen(&first),
        ErrorCode::InvalidState,
    );

    let client = connect_to(&first);
    fails(
        "invalid-state: already connected",
        try_listen(&client.socket),
        ErrorCode::InvalidState,
    );
    let server = works("accept: a connection that waited", try_accept(&first));
    equal(
        "address-family is inherited",
        server.socket.address_family(),
        family,
    );
    let local = from_wasi(server.socket.local_address().expect("bound"));
    equal(
        "the accepted socket is bound where it was asked for",
        local,
        from_wasi(first.local_address().expect("bound")),
    );
    works("and connected", server.socket.remote_address());
    fails(
        "accept: would-block: no more",
        first.accept(),
        ErrorCode::WouldBlock,
    );

    in_turn(family);
    drop(first);
    holds("an accepted connection outlives its listener", {
        client
            .output
            .blocking_write_and_flush(b"still")
            .expect("room");
        server.input.blocking_read(5).expect("bytes") == b"still"
    });
}

/// Those who connect before anybody accepts wait in a queue.
fn in_turn(family: IpAddressFamily) {
    let listener = listener(family);
    let clients: Vec<_> = (0..10).map(|_| connect_to(&listener)).collect();
    for client in &clients {
        let server = try_accept(&listener).expect("a client");
        let seen = from_wasi(server.socket.remote_address().expect("connected"));
        let local = from_wasi(client.socket.local_address().expect("connected"));
        equal("accept: first come, first served", seen, local);
    }
    let gone = connect_to(&listener);
    gone.output
        .blocking_write_and_flush(b"farewell")
        .expect("room");
    drop(gone);
    let server = works("accept: whoever has left already", try_accept(&listener));
    equal(
        "what it sent is there",
        server.input.blocking_read(100).expect("bytes"),
        b"farewell".to_vec(),
    );
}
