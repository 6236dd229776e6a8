//! `listen`.

use wasip3::sockets::types::{ErrorCode, IpAddressFamily};

use super::{Connection, connect_to, listener, socket};
use crate::{
    address::{from_wasi, loopback, unspecified},
    check::{equal, fails, holds, works},
};

pub async fn run(family: IpAddressFamily) {
    let implicit = socket(family);
    let accept = works(
        "listen implicitly binds the socket to a random free port",
        implicit.listen(),
    );
    let local = from_wasi(implicit.get_local_address().expect("bound"));
    holds(
        "on all addresses",
        local.ip().is_unspecified() && local.port() >= 1_024,
    );
    holds(
        "transitions into the listening state",
        implicit.get_is_listening(),
    );
    fails(
        "listen: at most once per socket",
        implicit.listen(),
        ErrorCode::InvalidState,
    );
    let client = connect_to(loopback(family, local.port())).await;
    fails(
        "listen: already connected",
        client.listen(),
        ErrorCode::InvalidState,
    );
    drop(accept);

    for local in [loopback(family, 0), unspecified(family, 0)] {
        let explicit = socket(family);
        explicit.bind(local).expect("a free port");
        let bound = from_wasi(explicit.get_local_address().expect("bound"));
        let _accept = works("listen on a bound socket", explicit.listen());
        equal(
            "keeps its address",
            from_wasi(explicit.get_local_address().expect("bound")),
            bound,
        );
    }
    in_turn(family).await;
    lifetimes(family).await;
}

async fn in_turn(family: IpAddressFamily) {
    let mut listener = listener(family);
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(connect_to(listener.address()).await);
    }
    for client in &clients {
        let server = listener.next().await;
        equal(
            "get-address-family is inherited",
            server.get_address_family(),
            family,
        );
        let seen = from_wasi(server.get_remote_address().expect("connected"));
        let local = from_wasi(client.get_local_address().expect("connected"));
        equal("first come, first served", seen, local);
    }
    // "A newly accepted connection may already be closed by the time."
    let mut gone = Connection::new(connect_to(listener.address()).await);
    gone.write(b"farewell").await;
    drop(gone);
    let mut late = Connection::new(listener.next().await);
    equal(
        "whoever has left is accepted, with what it sent",
        late.read(100).await,
        b"farewell".to_vec(),
    );
}

async fn lifetimes(family: IpAddressFamily) {
    let listener = listener(family);
    let remote = listener.address();
    drop(listener.socket);
    let mut accept = listener.accept;
    let client = connect_to(remote).await;
    let server = accept.next().await.expect("a connection");
    holds(
        "the stream of connections works without its socket",
        server.get_remote_address().is_ok(),
    );
    drop(accept);
    let refused = socket(family).connect(remote).await;
    fails(
        "client sockets do not keep the listening socket alive",
        refused,
        ErrorCode::ConnectionRefused,
    );
    let (mut client, mut server) = (Connection::new(client), Connection::new(server));
    client.write(b"still").await;
    equal(
        "they are independent",
        server.read(10).await,
        b"still".to_vec(),
    );
}
