//! `connect` and `disconnect`.

use wasip3::sockets::types::{ErrorCode, IpAddressFamily};

use super::{bound, socket};
use crate::{
    address::{at, foreign, from_wasi, loopback, other, unspecified},
    check::{equal, fails, holds, works},
};

pub async fn run(family: IpAddressFamily) {
    let client = socket(family);
    let (one, two) = (loopback(family, 4_321), loopback(family, 4_320));
    for peer in [one, one, two, one] {
        works(
            "connect: may be called multiple times",
            client.connect(peer),
        );
        let seen = client.get_remote_address().map(from_wasi).ok();
        equal(
            "only the most recent one is effective",
            seen,
            Some(from_wasi(peer)),
        );
    }
    works("disconnect", client.disconnect());
    fails(
        "disconnect: not connected",
        client.disconnect(),
        ErrorCode::InvalidState,
    );
    works("connect: again after disconnect", client.connect(one));

    let invalid = || ErrorCode::InvalidArgument;
    let fresh = socket(family);
    fails(
        "invalid-argument: the wrong address family",
        fresh.connect(loopback(other(family), 47)),
        invalid(),
    );
    fails(
        "invalid-argument: 0.0.0.0 or ::",
        fresh.connect(unspecified(family, 47)),
        invalid(),
    );
    fails(
        "invalid-argument: port 0",
        fresh.connect(loopback(family, 0)),
        invalid(),
    );
    if family == IpAddressFamily::Ipv6 {
        fails(
            "invalid-argument: an IPv4-mapped IPv6 address",
            fresh.connect(at("[::ffff:127.0.0.1]:47")),
            invalid(),
        );
    }
    fails(
        "access-denied: outside, without a rule",
        fresh.connect(foreign(family, 47)),
        ErrorCode::AccessDenied,
    );
    fails(
        "a connect that failed changes nothing",
        fresh.get_remote_address(),
        ErrorCode::InvalidState,
    );

    only_the_peer(family).await;
    nobody_there(family).await;
}

async fn only_the_peer(family: IpAddressFamily) {
    let (here, friend, stranger) = (bound(family), bound(family), bound(family));
    let local = here.get_local_address().expect("bound");
    let peer = friend.get_local_address().expect("bound");
    for socket in [&stranger, &friend, &stranger] {
        socket
            .send(b"before".to_vec(), Some(local))
            .await
            .expect("room");
    }
    here.connect(peer).expect("bound");
    stranger
        .send(b"after".to_vec(), Some(local))
        .await
        .expect("room");
    friend
        .send(b"after".to_vec(), Some(local))
        .await
        .expect("room");
    for data in [&b"before"[..], b"after"] {
        let (bytes, from) = here.receive().await.expect("a datagram");
        equal("receive: of the peer alone", bytes.as_slice(), data);
        equal(
            "the sender matches the address passed to connect",
            from_wasi(from),
            from_wasi(peer),
        );
    }
    let other = stranger.get_local_address().expect("bound");
    fails(
        "send: an address that does not match",
        here.send(vec![1], Some(other)).await,
        ErrorCode::InvalidArgument,
    );
    works(
        "send: the same address",
        here.send(vec![1], Some(peer)).await,
    );
    works(
        "send: the address may be left empty",
        here.send(vec![2], None).await,
    );
    here.disconnect().expect("connected");
    works(
        "disconnect: free to send to any",
        here.send(vec![3], Some(other)).await,
    );
    stranger
        .send(b"again".to_vec(), Some(local))
        .await
        .expect("room");
    let (bytes, _) = here.receive().await.expect("a datagram");
    equal(
        "disconnect: free to receive of any",
        bytes,
        b"again".to_vec(),
    );
}

/// The peer's port is closed: the next call says so (RFC 1122, 4.1.3.3).
async fn nobody_there(family: IpAddressFamily) {
    let gone = bound(family).get_local_address().expect("bound");
    let here = bound(family);
    here.connect(gone).expect("bound");
    works(
        "a datagram to nobody is sent",
        here.send(vec![1], None).await,
    );
    fails(
        "connection-refused: and then refused",
        here.receive().await,
        ErrorCode::ConnectionRefused,
    );
    works("once", here.send(vec![2], None).await);
    here.disconnect().expect("connected");
    works(
        "without a peer nobody is told",
        here.send(vec![3], Some(gone)).await,
    );
    let local = here.get_local_address().expect("bound");
    here.send(vec![4], Some(local)).await.expect("room");
    let (bytes, from) = here.receive().await.expect("a datagram");
    holds(
        "a socket can send to itself",
        bytes == [4] && from_wasi(from) == from_wasi(local),
    );
}
