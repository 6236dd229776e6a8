//! `send` and `receive`.

use wasip3::sockets::types::{ErrorCode, IpAddressFamily};

use super::{bound, socket};
use crate::{
    address::{at, foreign, from_wasi, loopback, other, unspecified},
    check::{equal, fails, holds, works},
};

pub async fn run(family: IpAddressFamily) {
    sample(family).await;
    addresses(family).await;
    sizes(family).await;
    flood(family).await;
}

async fn sample(family: IpAddressFamily) {
    let server = bound(family);
    let remote = server.get_local_address().expect("bound");
    let client = socket(family);
    client.bind(unspecified(family, 0)).expect("a free port");
    client.connect(remote).expect("bound");
    let local = client.get_local_address().map(from_wasi).expect("bound");
    works(
        "send: nothing is a datagram, too",
        client.send(vec![], None).await,
    );
    works(
        "send: to the peer by name",
        client.send(b"hello".to_vec(), Some(remote)).await,
    );
    drop(client);
    for data in [&b""[..], b"hello"] {
        let (bytes, from) = server.receive().await.expect("a datagram");
        equal("datagrams stay whole and in order", bytes.as_slice(), data);
        equal("the address of the sender", from_wasi(from), local);
    }
    // One who waits already.
    let another = socket(family);
    let (received, sent) = super::super::tcp::both(
        server.receive(),
        another.send(b"planet".to_vec(), Some(remote)),
    )
    .await;
    works("send: from anywhere", sent);
    equal(
        "receive: waits",
        received.expect("a datagram").0,
        b"planet".to_vec(),
    );
}

async fn addresses(family: IpAddressFamily) {
    let here = bound(family);
    let send = async |to| here.send(b"x".to_vec(), to).await;
    let invalid = || ErrorCode::InvalidArgument;
    fails(
        "send: not connected and no address",
        send(None).await,
        invalid(),
    );
    fails(
        "send: the wrong address family",
        send(Some(loopback(other(family), 9))).await,
        invalid(),
    );
    fails(
        "send: 0.0.0.0 or ::",
        send(Some(unspecified(family, 9))).await,
        invalid(),
    );
    fails(
        "send: port 0",
        send(Some(loopback(family, 0))).await,
        invalid(),
    );
    if family == IpAddressFamily::Ipv6 {
        fails(
            "send: an IPv4-mapped IPv6 address",
            send(Some(at("[::ffff:127.0.0.1]:9"))).await,
            invalid(),
        );
    }
    fails(
        "send: access-denied outside, without a rule",
        send(Some(foreign(family, 9))).await,
        ErrorCode::AccessDenied,
    );
    works(
        "send: who is not there does not matter",
        send(Some(loopback(family, 9))).await,
    );
}

async fn sizes(family: IpAddressFamily) {
    let largest = match family {
        IpAddressFamily::Ipv4 => 65_507,
        IpAddressFamily::Ipv6 => 65_527,
    };
    let here = bound(family);
    let local = here.get_local_address().expect("bound");
    let data: Vec<u8> = (0..largest).map(|n| n as u8).collect();
    works(
        "the largest datagram passes",
        here.send(data.clone(), Some(local)).await,
    );
    equal("whole", here.receive().await.expect("a datagram").0, data);
    let over = here.send(vec![0; largest + 1], Some(local)).await;
    fails(
        "datagram-too-large: one byte more",
        over,
        ErrorCode::DatagramTooLarge,
    );
}

/// A receiver that does not read loses datagrams, and its sender does not wait.
async fn flood(family: IpAddressFamily) {
    let here = bound(family);
    let local = here.get_local_address().expect("bound");
    here.set_receive_buffer_size(100_000).expect("a size");
    for n in 0..1_000_u16 {
        let mut data = vec![7; 10_000];
        data[..2].copy_from_slice(&n.to_le_bytes());
        here.send(data, Some(local)).await.expect("room");
    }
    let mut kept = 0;
    loop {
        let (bytes, _) = here.receive().await.expect("a datagram");
        if bytes == b"after" {
            break;
        }
        assert_eq!(bytes[..2], u16::to_le_bytes(kept), "in order");
        kept += 1;
        if kept == 1 {
            // There is room for this one now.
            here.send(b"after".to_vec(), Some(local))
                .await
                .expect("room");
        }
    }
    holds(
        "what the receive buffer has no room for is dropped",
        (1..=10).contains(&kept),
    );
}
