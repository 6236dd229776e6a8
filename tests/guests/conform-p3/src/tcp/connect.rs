//! `connect`.

use wasip3::sockets::types::{ErrorCode, IpAddressFamily, IpSocketAddress};

use super::{bound, connect_to, listener, socket};
use crate::{
    address::{at, foreign, from_wasi, loopback, not_unicast, other, unspecified},
    check::{equal, fails, holds, works},
};

/// Nobody listens here, and nobody is asked.
const PORT: u16 = 47;

async fn connect(family: IpAddressFamily, remote: IpSocketAddress) -> Result<(), ErrorCode> {
    socket(family).connect(remote).await
}

pub async fn run(family: IpAddressFamily) {
    arguments(family).await;
    addresses(family).await;
    bound_first(family).await;
    outcomes(family).await;
}

async fn arguments(family: IpAddressFamily) {
    let invalid = || ErrorCode::InvalidArgument;
    let wrong = loopback(other(family), PORT);
    fails(
        "invalid-argument: the wrong address family",
        connect(family, wrong).await,
        invalid(),
    );
    for remote in not_unicast(family, PORT) {
        fails(
            "invalid-argument: not a unicast address",
            connect(family, remote).await,
            invalid(),
        );
    }
    fails(
        "invalid-argument: 0.0.0.0 or ::",
        connect(family, unspecified(family, PORT)).await,
        invalid(),
    );
    fails(
        "invalid-argument: port 0",
        connect(family, loopback(family, 0)).await,
        invalid(),
    );
    if family == IpAddressFamily::Ipv6 {
        let v4 = listener(IpAddressFamily::Ipv4);
        let port = from_wasi(v4.address()).port();
        let client = socket(family);
        let mapped = at(&format!("[::ffff:127.0.0.1]:{port}"));
        fails(
            "invalid-argument: an IPv4-mapped IPv6 address",
            client.connect(mapped).await,
            invalid(),
        );
        fails(
            "invalid-argument: an IPv4 address on an IPv6 socket",
            client.connect(v4.address()).await,
            invalid(),
        );
    }
    let client = socket(family);
    fails(
        "an invalid argument",
        client.connect(loopback(family, 0)).await,
        invalid(),
    );
    let open = listener(family);
    works(
        "is no attempt: the socket can still connect",
        client.connect(open.address()).await,
    );
}

async fn addresses(family: IpAddressFamily) {
    let of = |result: Result<_, ErrorCode>| from_wasi(result.expect("an address"));
    let mut listener = listener(family);
    let client = connect_to(listener.address()).await;
    let server = listener.next().await;
    let local = of(client.get_local_address());
    let remote = of(client.get_remote_address());
    equal(
        "get-remote-address: who was connected to",
        remote,
        from_wasi(listener.address()),
    );
    equal(
        "the peer's remote address is ours",
        of(server.get_remote_address()),
        local,
    );
    equal(
        "the peer's local address is our remote one",
        of(server.get_local_address()),
        remote,
    );
    holds(
        "an unbound socket gets a port of loopback",
        local.ip().is_loopback() && local.port() >= 1_024,
    );
    drop(client);
    equal(
        "they stay when the peer is gone",
        of(server.get_remote_address()),
        local,
    );
    equal("both of them", of(server.get_local_address()), remote);
}

async fn bound_first(family: IpAddressFamily) {
    let mut listener = listener(family);
    for local in [loopback(family, 0), unspecified(family, 0)] {
        let client = socket(family);
        client.bind(local).expect("a free port");
        let port = from_wasi(client.get_local_address().expect("bound")).port();
        works(
            "connect from a bound socket",
            client.connect(listener.address()).await,
        );
        let local = from_wasi(client.get_local_address().expect("connected"));
        equal("keeps its port", local.port(), port);
        holds("with the address of the path", local.ip().is_loopback());
        let server = listener.next().await;
        let seen = from_wasi(server.get_remote_address().expect("connected"));
        equal("which the peer sees", seen, local);
    }
}

async fn outcomes(family: IpAddressFamily) {
    let silent = bound(family);
    let remote = silent.get_local_address().expect("bound");
    let refused = ErrorCode::ConnectionRefused;
    fails(
        "connection-refused: bound, but it does not listen",
        connect(family, remote).await,
        refused.clone(),
    );
    fails(
        "connection-refused: nobody has the port",
        connect(family, loopback(family, PORT)).await,
        refused,
    );
    fails(
        "access-denied: outside, without a rule",
        connect(family, foreign(family, PORT)).await,
        ErrorCode::AccessDenied,
    );
}

/// A listener that never accepts: who finds its backlog full waits, but not for ever.
pub async fn timeout() {
    let family = IpAddressFamily::Ipv4;
    let busy = bound(family);
    busy.set_listen_backlog_size(1).expect("a hint");
    let _accept = busy.listen().expect("to listen");
    let remote = busy.get_local_address().expect("bound");
    let mut all = Vec::new();
    let late = loop {
        let client = socket(family);
        match client.connect(remote).await {
            Ok(()) => all.push(client),
            Err(error) => break (client, error),
        }
        assert!(all.len() < 10, "the backlog has no end");
    };
    fails(
        "timeout: connection timed out",
        Err::<(), _>(late.1),
        ErrorCode::Timeout,
    );
    fails(
        "after a failed attempt the socket is closed",
        late.0.get_local_address(),
        ErrorCode::InvalidState,
    );
}
