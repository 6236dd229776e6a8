//! `start-connect` and `finish-connect`.

use wasip2::sockets::network::{ErrorCode, IpAddressFamily};

use super::{bound, connect_to, listener, pair, socket, try_accept, try_bind, try_connect};
use crate::{
    address::{at, foreign, from_wasi, loopback, not_unicast, other, unspecified},
    check::{equal, fails, holds, works},
};

/// Nobody listens here, and nobody is asked.
const PORT: u16 = 47;

pub fn run(family: IpAddressFamily) {
    arguments(family);
    addresses(family);
    bound_first(family);
    outcomes(family);
}

fn arguments(family: IpAddressFamily) {
    let invalid = ErrorCode::InvalidArgument;
    let wrong = loopback(other(family), PORT);
    fails(
        "invalid-argument: the wrong address family",
        try_connect(&socket(family), wrong),
        invalid,
    );
    for remote in not_unicast(family, PORT) {
        fails(
            "invalid-argument: not a unicast address",
            try_connect(&socket(family), remote),
            invalid,
        );
    }
    let anywhere = unspecified(family, PORT);
    fails(
        "invalid-argument: 0.0.0.0 or ::",
        try_connect(&socket(family), anywhere),
        invalid,
    );
    let zero = loopback(family, 0);
    fails(
        "invalid-argument: port 0",
        try_connect(&socket(family), zero),
        invalid,
    );
    if family == IpAddressFamily::Ipv6 {
        let v4 = listener(IpAddressFamily::Ipv4);
        let port = from_wasi(v4.local_address().expect("bound")).port();
        let client = socket(family);
        let mapped = at(&format!("[::ffff:127.0.0.1]:{port}"));
        fails(
            "invalid-argument: an IPv4-mapped IPv6 address",
            try_connect(&client, mapped),
            invalid,
        );
        let plain = v4.local_address().expect("bound");
        fails(
            "invalid-argument: an IPv4 address on an IPv6 socket",
            try_connect(&client, plain),
            invalid,
        );
    }
    let client = socket(family);
    fails("an invalid argument", try_connect(&client, zero), invalid);
    let open = listener(family);
    let remote = open.local_address().expect("bound");
    works(
        "is no attempt: the socket can still connect",
        try_connect(&client, remote),
    );
}

fn addresses(family: IpAddressFamily) {
    let (client, server) = pair(family);
    let of = |result: Result<_, ErrorCode>| from_wasi(result.expect("an address"));
    let local = of(client.socket.local_address());
    let remote = of(client.socket.remote_address());
    equal(
        "the peer's remote address is ours",
        of(server.socket.remote_address()),
        local,
    );
    equal(
        "the peer's local address is our remote one",
        of(server.socket.local_address()),
        remote,
    );
    holds(
        "an unbound socket gets a port of loopback",
        local.ip().is_loopback() && local.port() >= 1_024,
    );
    drop((client.input, client.output));
    drop((server.input, server.output));
    equal(
        "they stay when the streams are gone",
        of(client.socket.remote_address()),
        remote,
    );
    drop(client.socket);
    equal(
        "and when the peer is",
        of(server.socket.remote_address()),
        local,
    );
}

fn bound_first(family: IpAddressFamily) {
    let listener = listener(family);
    let remote = listener.local_address().expect("bound");
    for local in [loopback(family, 0), unspecified(family, 0)] {
        let client = socket(family);
        try_bind(&client, local).expect("a free port");
        let port = from_wasi(client.local_address().expect("bound")).port();
        let _streams = works("connect from a bound socket", try_connect(&client, remote));
        let local = from_wasi(client.local_address().expect("connected"));
        equal("keeps its port", local.port(), port);
        holds("with the address of the path", local.ip().is_loopback());
        let server = try_accept(&listener).expect("the client");
        let seen = from_wasi(server.socket.remote_address().expect("connected"));
        equal("which the peer sees", seen, local);
    }
}

fn outcomes(family: IpAddressFamily) {
    let nobody = bound(family);
    let remote = nobody.local_address().expect("bound");
    fails(
        "connection-refused: bound, but it does not listen",
        try_connect(&socket(family), remote),
        ErrorCode::ConnectionRefused,
    );
    fails(
        "connection-refused: nobody has the port",
        try_connect(&socket(family), loopback(family, PORT)),
        ErrorCode::ConnectionRefused,
    );
    fails(
        "access-denied: outside, without a rule",
        try_connect(&socket(family), foreign(family, PORT)),
        ErrorCode::AccessDenied,
    );
    // One pollable, made before the socket has a state to wait for, and used for all of them.
    let listener = socket(family);
    let pollable = listener.subscribe();
    try_bind(&listener, loopback(family, 0)).expect("a free port");
    super::try_listen(&listener).expect("to listen");
    holds("subscribe: not ready while nobody comes", !pollable.ready());
    let client = connect_to(&listener);
    pollable.block();
    holds(
        "subscribe: (re)used for the remainder of the socket's lifetime",
        try_accept(&listener).is_ok(),
    );
    drop(client);
}

/// A listener that never accepts: who finds its backlog full waits, but not for ever.
pub fn timeout() {
    let family = IpAddressFamily::Ipv4;
    let listener = bound(family);
    listener.set_listen_backlog_size(1).expect("a hint");
    super::try_listen(&listener).expect("to listen");
    let _first = connect_to(&listener);
    let remote = listener.local_address().expect("bound");
    let second = socket(family);
    fails(
        "timeout: connection timed out",
        try_connect(&second, remote),
        ErrorCode::Timeout,
    );
    fails(
        "after a failed attempt the socket is closed",
        second.local_address(),
        ErrorCode::InvalidState,
    );
}
