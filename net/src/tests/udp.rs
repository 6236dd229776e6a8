//! UDP: which socket receives a datagram, which datagrams are lost, and what a published port
//! passes.

use bytes::Bytes;
use futures::FutureExt as _;

use super::*;

fn bound(scope: &Scope, local: &str) -> UdpSocket {
    scope.bind_udp(at(local)).unwrap()
}

fn send(from: &UdpSocket, to: &str, data: &'static str) {
    from.try_send(at(to), Bytes::from_static(data.as_bytes()))
        .unwrap();
}

/// Reads a datagram if there is one, as `sender data`.
fn read(socket: &UdpSocket) -> Option<String> {
    socket.try_receive().map(|received| {
        let Datagram { address, data } = received.unwrap();
        format!("{address} {}", String::from_utf8_lossy(&data))
    })
}

#[test]
fn ports_conflict_as_on_linux_and_are_separate_from_tcp() {
    // (held, requested, the result)
    let cases = [
        ("127.0.0.1:53", "127.0.0.1:53", Err(NetError::AddressInUse)),
        ("0.0.0.0:53", "127.0.0.1:53", Err(NetError::AddressInUse)),
        ("127.0.0.1:53", "0.0.0.0:53", Err(NetError::AddressInUse)),
        ("127.0.0.1:53", "127.0.0.2:53", Ok(53)),
        ("0.0.0.0:53", "[::]:53", Ok(53)),
        (
            "127.0.0.1:53",
            "10.0.0.1:53",
            Err(NetError::AddressNotBindable),
        ),
        (
            "127.0.0.1:53",
            "[::ffff:127.0.0.1]:53",
            Err(NetError::AddressNotBindable),
        ),
    ];
    for (held, asked, answer) in cases {
        let network = network();
        let scope = network.scope();
        let _tcp = listen(&scope, held, 1);
        let first = bound(&scope, held);
        let second = scope.bind_udp(at(asked)).map(|it| it.local_addr().port());
        assert_eq!(second, answer, "{held} then {asked}");
        drop(first);
        assert!(scope.bind_udp(at(held)).is_ok(), "{held} is free again");
    }
}

#[test]
fn port_zero_is_an_ephemeral_port_until_none_is_free() {
    let network = limited(40_000);
    let scope = network.scope();
    let mut sockets = Vec::new();
    let refused = loop {
        match scope.bind_udp(at("127.0.0.1:0")) {
            Ok(socket) => sockets.push(socket),
            Err(error) => break error,
        }
    };
    assert_eq!((refused, sockets.len()), (NetError::AddressInUse, 28_232));
    let freed = sockets.swap_remove(7).local_addr();
    assert_eq!(bound(&scope, "127.0.0.1:0").local_addr(), freed);
    drop(sockets);
    assert_empty(&network);
}

#[test]
fn datagrams_arrive_whole_in_order_and_with_their_sender() {
    let network = network();
    let (a, b) = (network.scope(), network.scope());
    let (one, two) = (bound(&a, "127.0.0.1:1000"), bound(&b, "0.0.0.0:2000"));
    assert_eq!(two.local_addr(), at("0.0.0.0:2000"));
    assert_eq!(two.source_addr(), at("127.0.0.1:2000"));
    send(&one, "127.0.0.1:2000", "first");
    send(&one, "127.9.9.9:2000", "");
    send(&two, "127.0.0.1:1000", "back");
    send(&one, "127.0.0.1:1000", "to itself");
    assert_eq!(read(&two).as_deref(), Some("127.0.0.1:1000 first"));
    assert_eq!(read(&two).as_deref(), Some("127.0.0.1:1000 "));
    assert_eq!(read(&two), None);
    assert_eq!(read(&one).as_deref(), Some("127.0.0.1:2000 back"));
    assert_eq!(read(&one).as_deref(), Some("127.0.0.1:1000 to itself"));
    let six = (bound(&a, "[::1]:6"), bound(&b, "[::]:7"));
    send(&six.0, "[::1]:7", "over IPv6");
    assert_eq!(read(&six.1).as_deref(), Some("[::1]:6 over IPv6"));
}

#[test]
fn the_largest_datagram_passes_and_one_byte_more_does_not() {
    let network = network();
    let scope = network.scope();
    for (from, to, largest) in [
        ("127.0.0.1:1", "127.0.0.1:2", MAX_DATAGRAM_V4),
        ("[::1]:1", "[::1]:2", MAX_DATAGRAM_V6),
    ] {
        let (sender, receiver) = (bound(&scope, from), bound(&scope, to));
        receiver.set_buffer(1);
        let fits = Bytes::from(vec![7; largest]);
        sender.try_send(at(to), fits.clone()).unwrap();
        let received = receiver.try_receive().unwrap().unwrap();
        assert_eq!(received.data, fits);
        let over = Bytes::from(vec![7; largest + 1]);
        assert_eq!(
            sender.try_send(at(to), over),
            Err(NetError::DatagramTooLarge)
        );
        assert!(receiver.try_receive().is_none());
    }
}

#[test]
fn a_full_queue_drops_the_newest_and_stays_bounded() {
    let network = network();
    let scope = network.scope();
    let (sender, receiver) = (bound(&scope, "127.0.0.1:1"), bound(&scope, "127.0.0.1:2"));
    for size in [0, 1, 1_000, 60_000] {
        for _ in 0..20_000 {
            let data = Bytes::from(vec![0; size]);
            sender.try_send(at("127.0.0.1:2"), data).unwrap();
        }
        let buffered = network.counts().buffered;
        assert!(buffered <= NetLimits::default().datagrams, "{buffered}");
        let kept = std::iter::from_fn(|| receiver.try_receive()).count();
        assert!((1..20_000).contains(&kept), "{kept} of {size} bytes");
        assert_eq!(network.counts().buffered, 0);
    }
    // There is room again.
    send(&sender, "127.0.0.1:2", "after");
    assert_eq!(read(&receiver).as_deref(), Some("127.0.0.1:1 after"));
}

#[test]
fn a_peer_shuts_out_all_others() {
    let network = network();
    let scope = network.scope();
    let (a, b, c) = (
        bound(&scope, "127.0.0.1:1"),
        bound(&scope, "127.0.0.1:2"),
        bound(&scope, "127.0.0.1:3"),
    );
    send(&b, "127.0.0.1:1", "from b, before");
    send(&c, "127.0.0.1:1", "from c, before");
    a.set_peer(Some(at("127.0.0.1:2"))).unwrap();
    send(&c, "127.0.0.1:1", "from c, after");
    send(&b, "127.0.0.1:1", "from b, after");
    assert_eq!(read(&a).as_deref(), Some("127.0.0.1:2 from b, before"));
    assert_eq!(read(&a).as_deref(), Some("127.0.0.1:2 from b, after"));
    assert_eq!(read(&a), None);
    a.set_peer(None).unwrap();
    send(&c, "127.0.0.1:1", "from c again");
    assert_eq!(read(&a).as_deref(), Some("127.0.0.1:3 from c again"));
}

#[test]
fn only_a_socket_with_a_peer_learns_that_its_datagram_was_refused() {
    let network = network();
    let scope = network.scope();
    let socket = bound(&scope, "127.0.0.1:1");
    send(&socket, "127.0.0.1:9", "into the void");
    assert!(socket.try_receive().is_none());
    let (flag, waker) = Flag::new();
    socket.set_peer(Some(at("127.0.0.1:9"))).unwrap();
    assert!(
        socket
            .poll_ready(&mut Context::from_waker(&waker))
            .is_pending()
    );
    send(&socket, "127.0.0.1:9", "into the void");
    assert!(flag.take());
    assert!(socket.poll_ready(&mut once()).is_ready());
    assert_eq!(
        socket.try_receive(),
        Some(Err(NetError::ConnectionRefused)),
        "once"
    );
    assert!(socket.try_receive().is_none());
    send(&socket, "127.0.0.1:9", "again");
    assert_eq!(
        socket.try_send(at("127.0.0.1:9"), Bytes::new()),
        Err(NetError::ConnectionRefused),
        "a send reports it too"
    );
    assert_eq!(
        socket.try_send(at("10.0.0.1:9"), Bytes::new()),
        Err(NetError::ConnectionRefused)
    );
}

#[test]
fn a_reader_is_woken_once_a_datagram_arrives() {
    let network = network();
    let scope = network.scope();
    let (sender, receiver) = (bound(&scope, "127.0.0.1:1"), bound(&scope, "127.0.0.1:2"));
    let (flag, waker) = Flag::new();
    let mut cx = Context::from_waker(&waker);
    assert!(receiver.poll_ready(&mut cx).is_pending());
    assert!(!flag.take());
    send(&sender, "127.0.0.1:2", "x");
    assert!(flag.take());
    assert!(receiver.poll_ready(&mut cx).is_ready());
    assert!(read(&receiver).is_some());
    assert!(receiver.poll_ready(&mut cx).is_pending());
    scope.end(End::Closed);
    assert!(flag.take(), "the end of the scope wakes it too");
    assert!(receiver.poll_ready(&mut cx).is_ready());
    assert_eq!(receiver.try_receive(), Some(Err(NetError::ScopeEnded)));
    assert_eq!(
        sender.try_send(at("127.0.0.1:2"), Bytes::new()),
        Err(NetError::ScopeEnded)
    );
}

#[test]
fn sockets_count_against_the_limit_and_end_with_their_scope() {
    let network = limited(3);
    let (a, b) = (network.scope(), network.scope());
    let held = [bound(&a, "127.0.0.1:0"), bound(&a, "127.0.0.1:0")];
    let gateway = b.open_gateway(53).unwrap();
    assert_eq!(
        b.bind_udp(at("127.0.0.1:0")).err(),
        Some(NetError::TooManySockets)
    );
    a.end(End::Aborted);
    assert_eq!(
        a.bind_udp(at("127.0.0.1:0")).err(),
        Some(NetError::ScopeEnded)
    );
    assert!(b.bind_udp(at("127.0.0.1:0")).is_ok());
    drop((held, gateway));
    assert_empty(&network);
}

#[tokio::test]
async fn clients_outside_reach_the_port_and_get_replies_only_from_it() {
    let network = network();
    let (host, guest) = (network.scope(), network.scope());
    let gateway = host.open_gateway(53).unwrap();
    let (client, stranger) = (at("192.0.2.1:4000"), at("192.0.2.2:4000"));
    gateway.deliver(client, Bytes::from_static(b"no socket is bound yet"));

    let service = bound(&guest, "0.0.0.0:53");
    assert!(
        service.reaches(client),
        "the client has sent, although the datagram was lost"
    );
    gateway.deliver(client, Bytes::from_static(b"question"));
    assert_eq!(read(&service).as_deref(), Some("192.0.2.1:4000 question"));
    send(&service, "192.0.2.1:4000", "answer");
    let answer = gateway.receive().await.unwrap();
    assert_eq!((answer.address, &answer.data[..]), (client, &b"answer"[..]));

    // Clients on the worker's machine have loopback addresses, which the network uses too.
    let local = at("127.0.0.1:4000");
    gateway.deliver(local, Bytes::from_static(b"from here"));
    assert_eq!(read(&service).as_deref(), Some("127.0.0.1:4000 from here"));
    send(&service, "127.0.0.1:4000", "outside");
    assert_eq!(gateway.receive().await.unwrap().address, local);
    let inside = bound(&guest, "127.0.0.1:4000");
    send(&service, "127.0.0.1:4000", "inside");
    assert_eq!(read(&inside).as_deref(), Some("127.0.0.1:53 inside"));
    drop(inside);
    gateway.forget(local);
    send(&service, "127.0.0.1:4000", "lost");
    assert_eq!(gateway.receive().now_or_never(), None);

    // A client that never sent anything is not reached, and no other socket reaches a client.
    assert!(!service.reaches(stranger));
    assert_eq!(
        service.try_send(stranger, Bytes::new()),
        Err(NetError::ConnectionRefused)
    );
    let other = bound(&guest, "127.0.0.2:54");
    assert!(!other.reaches(client));

    // An IPv4 client that a dual-stack listener shows as an IPv4-mapped address is the same client.
    gateway.deliver(at("[::ffff:192.0.2.1]:4000"), Bytes::from_static(b"mapped"));
    assert_eq!(read(&service).as_deref(), Some("192.0.2.1:4000 mapped"));
    // An IPv6 client finds the IPv6 socket, if there is one.
    gateway.deliver(at("[2001:db8::1]:4000"), Bytes::from_static(b"lost"));
    assert_eq!(read(&service), None);
    let six = bound(&guest, "[::]:53");
    gateway.deliver(at("[2001:db8::1]:4000"), Bytes::from_static(b"found"));
    assert_eq!(read(&six).as_deref(), Some("[2001:db8::1]:4000 found"));

    // The service restarts; the gateway and its clients stay.
    guest.end(End::Aborted);
    let again = bound(&network.scope(), "127.0.0.1:53");
    send(&again, "192.0.2.1:4000", "late answer");
    assert_eq!(gateway.receive().await.unwrap().address, client);
    drop(gateway);
    assert!(!again.reaches(client));
}

#[test]
fn under_a_flood_of_clients_the_oldest_are_forgotten() {
    let network = network();
    let scope = network.scope();
    let gateway = scope.open_gateway(53).unwrap();
    let service = bound(&scope, "127.0.0.1:53");
    let client = |n: u32| SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + n), 9));
    for n in 0..100_000 {
        gateway.deliver(client(n), Bytes::new());
    }
    assert!(service.reaches(client(99_999)));
    assert!(!service.reaches(client(0)));
    let known = (0..100_000).filter(|n| service.reaches(client(*n))).count();
    assert!((2_000..=4_096).contains(&known), "{known}");
    drop((gateway, service));
    assert_empty(&network);
}
