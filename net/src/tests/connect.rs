use tokio::time::{Duration, Instant};

use super::*;

#[test]
fn a_connection_without_a_listener_is_refused_and_leaks_nothing() {
    // (listener, destination, whether it is reached)
    let cases = [
        ("127.0.0.1:80", "127.0.0.1:80", true),
        ("127.0.0.1:80", "127.0.0.1:81", false),
        ("127.0.0.1:80", "127.0.0.2:80", false),
        ("127.0.0.1:80", "[::1]:80", false),
        ("127.0.0.2:80", "127.0.0.2:80", true),
        ("0.0.0.0:80", "127.0.0.1:80", true),
        ("0.0.0.0:80", "127.0.0.2:80", true),
        ("0.0.0.0:80", "127.255.255.255:80", true),
        ("0.0.0.0:80", "[::1]:80", false),
        ("[::]:80", "[::1]:80", true),
        ("[::]:80", "127.0.0.1:80", false),
        ("[::1]:80", "[::1]:80", true),
        // Not addresses of the network, so nothing can listen on them.
        ("0.0.0.0:80", "0.0.0.0:80", false),
        ("[::]:80", "[::]:80", false),
        ("0.0.0.0:80", "127.0.0.1:0", false),
        ("0.0.0.0:80", "[::ffff:127.0.0.1]:80", false),
        ("0.0.0.0:80", "10.0.0.1:80", false),
        ("[::]:80", "[::2]:80", false),
    ];
    for (listener, to, reaches) in cases {
        let network = network();
        let scope = network.scope();
        let mut listener = listen(&scope, listener, 1);
        let before = network.counts();
        match scope.connect(None, at(to)) {
            Ok(mut connecting) => {
                assert!(reaches, "{to}");
                let Poll::Ready(Ok(client)) = poll(&mut connecting) else {
                    panic!("{to}")
                };
                let server = listener.try_accept().unwrap().unwrap();
                assert_eq!(client.peer_addr(), at(to));
                assert_eq!(
                    server.local_addr(),
                    at(to),
                    "the address that the client connected to"
                );
                assert_eq!(server.peer_addr(), client.local_addr());
            }
            Err(error) => {
                assert!(!reaches, "{to}");
                assert_eq!(error, NetError::ConnectionRefused);
            }
        }
        assert_eq!(network.counts(), before, "{to}");
    }
}

#[test]
fn a_bound_socket_that_does_not_listen_refuses() {
    let network = network();
    let scope = network.scope();
    let _bound = scope.bind(at("127.0.0.1:80")).unwrap();
    let refused = scope.connect(None, at("127.0.0.1:80")).err();
    assert_eq!(refused, Some(NetError::ConnectionRefused));
}

#[test]
fn the_families_do_not_share_a_port() {
    let network = network();
    let scope = network.scope();
    let mut v4 = listen(&scope, "0.0.0.0:80", 8);
    let mut v6 = listen(&scope, "[::]:80", 8);
    let one = connected(&scope, at("127.0.0.9:80"));
    let two = connected(&scope, at("[::1]:80"));
    assert_eq!(
        v4.try_accept().unwrap().unwrap().peer_addr(),
        one.local_addr()
    );
    assert_eq!(
        v6.try_accept().unwrap().unwrap().peer_addr(),
        two.local_addr()
    );
    assert!(v4.try_accept().is_none() && v6.try_accept().is_none());
}

#[test]
fn the_source_is_the_address_that_was_bound() {
    let network = network();
    let scope = network.scope();
    let _v4 = listen(&scope, "0.0.0.0:80", 8);
    let _v6 = listen(&scope, "[::]:80", 8);
    // (bound, destination, source)
    let cases = [
        ("127.0.0.5:7", "127.0.0.1:80", Ok("127.0.0.5:7")),
        ("0.0.0.0:7", "127.0.0.9:80", Ok("127.0.0.1:7")),
        ("[::]:7", "[::1]:80", Ok("[::1]:7")),
        ("[::1]:7", "127.0.0.1:80", Err(NetError::AddressNotBindable)),
        ("127.0.0.1:7", "[::1]:80", Err(NetError::AddressNotBindable)),
        (
            "127.0.0.1:7",
            "127.0.0.1:81",
            Err(NetError::ConnectionRefused),
        ),
    ];
    for (bound, to, expected) in cases {
        let from = scope.bind(at(bound)).unwrap();
        match scope.connect(Some(from), at(to)) {
            Ok(mut connecting) => {
                let Poll::Ready(Ok(stream)) = poll(&mut connecting) else {
                    panic!("{bound}")
                };
                assert_eq!(Ok(stream.local_addr()), expected.map(at));
                assert_eq!(scope.bind(at(bound)).err(), Some(NetError::AddressInUse));
            }
            Err(error) => assert_eq!(Err(error), expected.map(at)),
        }
        assert!(
            scope.bind(at(bound)).is_ok(),
            "{bound} is free when the connection is closed"
        );
    }
}

#[test]
fn a_bound_socket_of_another_network_is_refused_as_source() {
    let (one, two) = (network(), network());
    let scope = one.scope();
    let _listener = listen(&scope, "127.0.0.1:80", 8);
    let from = two.scope().bind(at("127.0.0.1:7")).unwrap();
    let error = scope.connect(Some(from), at("127.0.0.1:80")).err();
    assert_eq!(error, Some(NetError::AddressNotBindable));
    assert_empty(&two);
}

#[test]
fn a_client_outside_is_seen_by_its_own_address_and_takes_no_port() {
    let network = network();
    let (service, host) = (network.scope(), network.scope());
    let mut listener = listen(&service, "127.0.0.1:80", 8);
    for peer in ["198.51.100.7:5000", "[2001:db8::7]:5000", "127.0.0.1:0"] {
        let ports = network.counts().ports;
        let mut connecting = host.connect_as(at(peer), at("127.0.0.1:80")).unwrap();
        let Poll::Ready(Ok(client)) = poll(&mut connecting) else {
            panic!("{peer}")
        };
        let server = listener.try_accept().unwrap().unwrap();
        assert_eq!(
            (server.peer_addr(), client.local_addr()),
            (at(peer), at(peer))
        );
        assert_eq!(network.counts().ports, ports);
    }
    let refused = host
        .connect_as(at("198.51.100.7:5000"), at("127.0.0.1:81"))
        .err();
    assert_eq!(refused, Some(NetError::ConnectionRefused));
    drop(listener);
    assert_empty(&network);
}

#[test]
fn an_accepted_connection_does_not_hold_the_listeners_port() {
    let network = network();
    let scope = network.scope();
    let mut listener = listen(&scope, "127.0.0.1:80", 8);
    let _client = connected(&scope, at("127.0.0.1:80"));
    let _server = listener.try_accept().unwrap().unwrap();
    drop(listener);
    assert!(scope.bind(at("127.0.0.1:80")).is_ok());
}

#[tokio::test]
async fn a_full_backlog_admits_connections_in_order() {
    let network = network();
    let (service, guest) = (network.scope(), network.scope());
    let mut listener = listen(&service, "127.0.0.1:80", 2);
    let mut connecting: Vec<_> = (0..6)
        .map(|_| guest.connect(None, at("127.0.0.1:80")).unwrap())
        .collect();
    let ready = |list: &mut Vec<Connecting>| -> Vec<bool> {
        let mut streams = Vec::new();
        let ready = list.iter_mut().map(|one| match poll(one) {
            Poll::Pending => false,
            Poll::Ready(stream) => {
                streams.push(stream);
                true
            }
        });
        ready.collect()
    };
    assert_eq!(network.counts().waiting, 4);
    let streams = connecting
        .drain(..2)
        .map(|mut one| poll(&mut one))
        .collect::<Vec<_>>();
    assert!(
        streams.iter().all(Poll::is_ready),
        "established before they are accepted"
    );
    assert_eq!(ready(&mut connecting), [false; 4]);

    connecting.remove(1);
    assert_eq!(
        network.counts().waiting,
        3,
        "a dropped attempt frees its place"
    );
    listener.try_accept().unwrap().unwrap();
    assert_eq!(
        ready(&mut connecting),
        [true, false, false],
        "first come, first served"
    );
    connecting.remove(0);
    listener.set_backlog(3);
    assert_eq!(ready(&mut connecting), [true, false]);
    drop(listener);
    let refused = poll(&mut connecting[1]);
    assert!(matches!(
        refused,
        Poll::Ready(Err(NetError::ConnectionRefused))
    ));
    drop((connecting, streams));
    assert_empty(&network);
}

#[tokio::test]
async fn a_full_backlog_times_out() {
    assert_eq!(
        NetLimits::default().connect_timeout,
        Duration::from_secs(75)
    );
    let connect_timeout = Duration::from_millis(30);
    let network = Network::new(NetLimits {
        connect_timeout,
        ..NetLimits::default()
    });
    let (service, guest) = (network.scope(), network.scope());
    let _listener = listen(&service, "127.0.0.1:80", 1);
    let _first = connected(&guest, at("127.0.0.1:80"));
    let before = network.counts();
    let began = Instant::now();
    let result = guest.connect(None, at("127.0.0.1:80")).unwrap().await;
    assert_eq!(result.err(), Some(NetError::Timeout));
    assert!(began.elapsed() >= connect_timeout);
    assert_eq!(network.counts(), before);
}

#[tokio::test]
async fn a_waiting_connection_is_woken_by_accept() {
    let network = network();
    let (service, guest) = (network.scope(), network.scope());
    let mut listener = listen(&service, "127.0.0.1:80", 1);
    let _first = connected(&guest, at("127.0.0.1:80"));
    let mut second = guest.connect(None, at("127.0.0.1:80")).unwrap();
    let (flag, waker) = Flag::new();
    assert!(
        Pin::new(&mut second)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    listener.accept().await.unwrap();
    assert!(flag.take());
    assert!(second.await.is_ok());
}

#[test]
fn waiting_is_bounded_by_the_number_of_sockets() {
    let network = limited(100);
    let (service, guest) = (network.scope(), network.scope());
    let mut listener = listen(&service, "127.0.0.1:80", 1);
    let mut waiting = Vec::new();
    let error = loop {
        match guest.connect(None, at("127.0.0.1:80")) {
            Ok(connecting) => waiting.push(connecting),
            Err(error) => break error,
        }
    };
    assert_eq!(error, NetError::TooManySockets);
    assert_eq!(waiting.len(), 49);
    // Each already counts for its peer's socket, so establishing them needs no more places.
    let mut accepted = Vec::new();
    while let Some(stream) = listener.try_accept() {
        accepted.push(stream.unwrap());
    }
    assert_eq!(accepted.len(), 49);
    drop((waiting, accepted, listener));
    assert_empty(&network);
}

#[test]
fn extreme_numbers_are_clamped() {
    let network = network();
    let scope = network.scope();
    let mut listener = listen(&scope, "127.0.0.1:80", 0);
    let one = connected(&scope, at("127.0.0.1:80"));
    listener.set_backlog(usize::MAX);
    assert_eq!(listener.set_buffer(0), MIN_BUFFER);
    assert_eq!(listener.set_buffer(usize::MAX), MAX_BUFFER);
    let reader = one.split().0;
    assert_eq!(reader.set_buffer(usize::MAX), MAX_BUFFER);
    assert_eq!(reader.set_buffer(0), MIN_BUFFER);
    assert!(
        reader
            .try_read(usize::MAX)
            .is_ok_and(|data| data.is_empty())
    );
    listener.set_backlog(0);
    assert!(listener.try_accept().unwrap().is_ok());
}
