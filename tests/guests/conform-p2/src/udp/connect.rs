//! `stream`, with a peer and without.

use wasip2::sockets::network::{ErrorCode, IpAddressFamily};

use super::{bound, receive, send, socket, try_bind};
use crate::{
    address::{at, foreign, from_wasi, loopback, other, unspecified},
    check::{equal, fails, holds, works},
};

pub fn run(family: IpAddressFamily) {
    let (one, two) = (loopback(family, 4_321), loopback(family, 4_320));
    let client = socket(family);
    try_bind(&client, unspecified(family, 0)).expect("a free port");
    let port = from_wasi(client.local_address().expect("bound")).port();
    for peer in [
        None,
        None,
        Some(one),
        Some(one),
        Some(two),
        None,
        Some(one),
        None,
    ] {
        drop(works(
            "stream: may be called multiple times",
            client.stream(peer),
        ));
        let seen = client.remote_address().map(from_wasi);
        let expected = peer.map(from_wasi).ok_or(ErrorCode::InvalidState);
        equal(
            "remote-address: what it is currently streaming to",
            seen,
            expected,
        );
        let local = client.local_address().map(from_wasi);
        equal(
            "the socket stays bound",
            local.map(|it| it.port()),
            Ok(port),
        );
    }

    let invalid = ErrorCode::InvalidArgument;
    let bound = bound(family);
    fails(
        "invalid-argument: the wrong address family",
        bound.stream(Some(loopback(other(family), 47))),
        invalid,
    );
    fails(
        "invalid-argument: 0.0.0.0 or ::",
        bound.stream(Some(unspecified(family, 47))),
        invalid,
    );
    fails(
        "invalid-argument: port 0",
        bound.stream(Some(loopback(family, 0))),
        invalid,
    );
    if family == IpAddressFamily::Ipv6 {
        fails(
            "invalid-argument: an IPv4-mapped IPv6 address",
            bound.stream(Some(at("[::ffff:127.0.0.1]:47"))),
            invalid,
        );
    }
    fails(
        "access-denied: outside, without a rule",
        bound.stream(Some(foreign(family, 47))),
        ErrorCode::AccessDenied,
    );
    fails(
        "a stream that failed changes nothing",
        bound.remote_address(),
        ErrorCode::InvalidState,
    );

    only_the_peer(family);
    nobody_there(family);
    again_and_again(family);
}

/// "`receive` will only return datagrams sent from the provided `remote-address`."
fn only_the_peer(family: IpAddressFamily) {
    let (here, friend, stranger) = (bound(family), bound(family), bound(family));
    let local = here.local_address().expect("bound");
    let (_, from_friend) = friend.stream(Some(local)).expect("bound");
    let (_, from_stranger) = stranger.stream(Some(local)).expect("bound");
    for stream in [&from_stranger, &from_friend, &from_stranger] {
        send(stream, b"before", None).expect("room");
    }
    let peer = friend.local_address().expect("bound");
    let (incoming, outgoing) = here.stream(Some(peer)).expect("bound");
    send(&from_stranger, b"after", None).expect("room");
    send(&from_friend, b"after", None).expect("room");
    for data in [&b"before"[..], b"after"] {
        let next = receive(&incoming).expect("a datagram");
        equal("receive: of the peer alone", next.data.as_slice(), data);
        equal(
            "remote-address matches the stream's",
            from_wasi(next.remote_address),
            from_wasi(peer),
        );
    }
    equal(
        "and nobody else's",
        incoming.receive(10).map(|rest| rest.len()),
        Ok(0),
    );
    let other = stranger.local_address().expect("bound");
    fails(
        "send: to another than the peer",
        send(&outgoing, b"x", Some(other)),
        ErrorCode::InvalidArgument,
    );
    equal(
        "send: to the peer by name",
        send(&outgoing, b"x", Some(peer)),
        Ok(1),
    );
    equal("send: to the peer", send(&outgoing, b"x", None), Ok(1));
}

/// The peer's port is closed: the next call says so (RFC 1122, 4.1.3.3).
fn nobody_there(family: IpAddressFamily) {
    let gone = bound(family).local_address().expect("bound");
    let here = bound(family);
    let (incoming, outgoing) = here.stream(Some(gone)).expect("bound");
    equal(
        "a datagram to nobody is sent",
        send(&outgoing, b"hello", None),
        Ok(1),
    );
    incoming.subscribe().block();
    fails(
        "connection-refused: and then refused",
        incoming.receive(1),
        ErrorCode::ConnectionRefused,
    );
    equal("once", incoming.receive(1).map(|all| all.len()), Ok(0));
    drop((incoming, outgoing));
    let (incoming, outgoing) = here.stream(None).expect("bound");
    equal(
        "without a peer nobody is told",
        send(&outgoing, b"hello", Some(gone)),
        Ok(1),
    );
    equal(
        "nothing comes",
        incoming.receive(1).map(|all| all.len()),
        Ok(0),
    );
}

fn again_and_again(family: IpAddressFamily) {
    let here = socket(family);
    try_bind(&here, unspecified(family, 0)).expect("a free port");
    for round in 0..100 {
        for peer in [None, Some(loopback(family, 4_321))] {
            let (incoming, _outgoing) = here.stream(peer).expect("bound");
            assert!(
                incoming.receive(1).is_ok_and(|all| all.is_empty()),
                "round {round}"
            );
        }
    }
    holds(
        "a stream can be made after a receive, any number of times",
        true,
    );
    let (old_in, old_out) = here.stream(None).expect("bound");
    let (_incoming, _outgoing) = here.stream(None).expect("bound");
    holds(
        "only the most recent pair of streams works: receive",
        old_in.receive(1).is_err(),
    );
    holds(
        "only the most recent pair of streams works: check-send",
        old_out.check_send().is_err(),
    );
}
