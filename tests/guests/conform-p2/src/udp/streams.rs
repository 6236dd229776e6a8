//! `incoming-datagram-stream` and `outgoing-datagram-stream`.

use wasip2::sockets::network::{ErrorCode, IpAddressFamily};

use super::{bound, datagram, receive, send, socket, try_bind};
use crate::{
    address::{at, foreign, from_wasi, loopback, other, unspecified},
    check::{equal, fails, holds, works},
};

pub fn run(family: IpAddressFamily) {
    sample(family);
    receiving(family);
    sending(family);
    sizes(family);
    flood(family);
}

fn sample(family: IpAddressFamily) {
    let server = bound(family);
    let (incoming, _) = server.stream(None).expect("bound");
    let remote = server.local_address().expect("bound");
    let client = socket(family);
    try_bind(&client, unspecified(family, 0)).expect("a free port");
    let (_, outgoing) = client.stream(Some(remote)).expect("bound");
    holds(
        "check-send permits",
        outgoing.check_send().is_ok_and(|n| n >= 2),
    );
    let both = [datagram(b"", None), datagram(b"hello", Some(remote))];
    equal("send: all of a list", outgoing.send(&both), Ok(2));
    let local = client.local_address().map(from_wasi).expect("bound");
    drop(outgoing);
    drop(client);
    for data in [&b""[..], b"hello"] {
        let next = receive(&incoming).expect("a datagram");
        equal(
            "datagrams stay whole and in order",
            next.data.as_slice(),
            data,
        );
        equal("the source address", from_wasi(next.remote_address), local);
    }
}

fn receiving(family: IpAddressFamily) {
    let here = bound(family);
    let local = here.local_address().expect("bound");
    let (incoming, outgoing) = here.stream(None).expect("bound");
    let readable = incoming.subscribe();
    holds("subscribe: nothing there yet", !readable.ready());
    equal(
        "receive: nothing there: an empty list",
        incoming.receive(5).map(|all| all.len()),
        Ok(0),
    );
    for n in 0..5_u8 {
        send(&outgoing, &[n], Some(local)).expect("room");
    }
    readable.block();
    equal(
        "receive: max-results is 0: an empty list",
        incoming.receive(0).map(|all| all.len()),
        Ok(0),
    );
    equal(
        "receive: never more than asked for",
        incoming.receive(2).map(|all| all.len()),
        Ok(2),
    );
    let rest = incoming.receive(u64::MAX).expect("datagrams");
    equal(
        "receive: the rest",
        rest.iter().map(|it| it.data[0]).collect::<Vec<_>>(),
        vec![2, 3, 4],
    );
    holds("subscribe: none left", !readable.ready());
}

fn sending(family: IpAddressFamily) {
    let here = bound(family);
    let local = here.local_address().expect("bound");
    let (_incoming, outgoing) = here.stream(None).expect("bound");
    let invalid = ErrorCode::InvalidArgument;
    equal(
        "send: an empty list, without permission",
        outgoing.send(&[]),
        Ok(0),
    );
    fails(
        "send: not connected and no address",
        send(&outgoing, b"x", None),
        invalid,
    );
    fails(
        "send: the wrong address family",
        send(&outgoing, b"x", Some(loopback(other(family), 9))),
        invalid,
    );
    fails(
        "send: 0.0.0.0 or ::",
        send(&outgoing, b"x", Some(unspecified(family, 9))),
        invalid,
    );
    fails(
        "send: port 0",
        send(&outgoing, b"x", Some(loopback(family, 0))),
        invalid,
    );
    if family == IpAddressFamily::Ipv6 {
        fails(
            "send: an IPv4-mapped IPv6 address",
            send(&outgoing, b"x", Some(at("[::ffff:127.0.0.1]:9"))),
            invalid,
        );
    }
    fails(
        "send: access-denied outside, without a rule",
        send(&outgoing, b"x", Some(foreign(family, 9))),
        ErrorCode::AccessDenied,
    );

    holds("check-send", outgoing.check_send().is_ok_and(|n| n >= 3));
    let list = [
        datagram(b"1", Some(local)),
        datagram(b"2", None),
        datagram(b"3", Some(local)),
    ];
    equal(
        "send: up to the first error, of which nothing is said",
        outgoing.send(&list),
        Ok(1),
    );
    equal(
        "send: who is not there does not matter",
        send(&outgoing, b"x", Some(loopback(family, 9))),
        Ok(1),
    );
    let writable = outgoing.subscribe();
    writable.block();
    works(
        "subscribe: when it is ready, check-send permits",
        outgoing.check_send(),
    );
}

fn sizes(family: IpAddressFamily) {
    let largest = match family {
        IpAddressFamily::Ipv4 => 65_507,
        IpAddressFamily::Ipv6 => 65_527,
    };
    let here = bound(family);
    let local = here.local_address().expect("bound");
    let (incoming, outgoing) = here.stream(None).expect("bound");
    let data: Vec<u8> = (0..largest).map(|n| n as u8).collect();
    equal(
        "the largest datagram passes",
        send(&outgoing, &data, Some(local)),
        Ok(1),
    );
    equal("whole", receive(&incoming).expect("a datagram").data, data);
    let over = vec![0; largest + 1];
    fails(
        "datagram-too-large: one byte more",
        send(&outgoing, &over, Some(local)),
        ErrorCode::DatagramTooLarge,
    );
    equal(
        "and nothing of it arrives",
        incoming.receive(1).map(|all| all.len()),
        Ok(0),
    );
}

/// A receiver that does not read loses datagrams, and its sender does not wait.
fn flood(family: IpAddressFamily) {
    let here = bound(family);
    let local = here.local_address().expect("bound");
    here.set_receive_buffer_size(100_000).expect("a size");
    let (incoming, outgoing) = here.stream(None).expect("bound");
    let data = [7; 10_000];
    for _ in 0..1_000 {
        assert_eq!(send(&outgoing, &data, Some(local)), Ok(1));
    }
    let mut kept = 0;
    while let Ok([_, ..]) = incoming.receive(1).as_deref() {
        kept += 1;
    }
    holds(
        "what the receive buffer has no room for is dropped",
        (1..=10).contains(&kept),
    );
    send(&outgoing, b"after", Some(local)).expect("room");
    equal(
        "and then there is room again",
        receive(&incoming).expect("a datagram").data,
        b"after".to_vec(),
    );
}

/// "Implementations must trap if `datagrams` contains more items than `check-send` permitted."
pub fn too_many() {
    let here = bound(IpAddressFamily::Ipv4);
    let local = here.local_address().expect("bound");
    let (_incoming, outgoing) = here.stream(Some(local)).expect("bound");
    let permitted = outgoing.check_send().expect("open") as usize;
    println!("permitted {permitted}");
    let list: Vec<_> = (0..=permitted).map(|_| datagram(b"x", None)).collect();
    let sent = outgoing.send(&list);
    println!("no trap: {sent:?}");
}

/// "Implementations must trap if `check-send` was not called."
pub fn unchecked() {
    let here = bound(IpAddressFamily::Ipv4);
    let local = here.local_address().expect("bound");
    let (_incoming, outgoing) = here.stream(Some(local)).expect("bound");
    println!("permitted 0");
    let sent = outgoing.send(&[datagram(b"x", None)]);
    println!("no trap: {sent:?}");
}
