//! The limits of a network, and who is woken when there is room again.

use bytes::Bytes;

use super::*;

const TO: &str = "127.0.0.1:80";

/// Creates a network with this many bytes for all buffers together, plus a floor of 1 KiB for each
/// direction.
fn tight(buffered: usize) -> Network {
    Network::new(NetLimits {
        sockets: 64,
        buffer: 16 << 10,
        buffered,
        ..NetLimits::default()
    })
}

const FLOOR: usize = 1 << 10;

/// Writes as much as there is room for.
fn fill(writer: &mut Writer) -> usize {
    let mut written = 0;
    while let n @ 1.. = writer.try_write(Bytes::from(vec![7; 5_000])).unwrap() {
        written += n;
    }
    written
}

fn drain(reader: &mut Reader) -> usize {
    let mut read = 0;
    while let n @ 1.. = reader.try_read(usize::MAX).unwrap().len() {
        read += n;
    }
    read
}

#[test]
fn a_socket_counts_from_its_first_moment_to_its_last() {
    let network = limited(3);
    let scope = network.scope();
    let listener = listen(&scope, TO, 1);
    let socket = scope.socket().unwrap();
    assert_eq!(network.used(), 2, "unbound");
    let (socket, error) = socket.bind(at("10.0.0.1:1")).err().unwrap();
    assert_eq!(error, NetError::AddressNotBindable);
    let (socket, error) = socket.bind(at(TO)).err().unwrap();
    assert_eq!((error, network.used()), (NetError::AddressInUse, 2));
    let bound = socket.bind(at("127.0.0.1:0")).ok().unwrap();
    assert_eq!((network.used(), network.counts().ports), (2, 2));
    let (socket, error) = bound.connect(at("127.0.0.1:81")).err().unwrap();
    assert_eq!(error, NetError::ConnectionRefused);
    assert_eq!(
        (network.used(), network.counts().ports),
        (2, 1),
        "a failed connect frees the port and keeps the place"
    );
    let _other = scope.socket().unwrap();
    assert_eq!(scope.socket().err(), Some(NetError::TooManySockets));
    let (socket, error) = socket.connect(at(TO)).err().unwrap();
    assert_eq!(
        error,
        NetError::TooManySockets,
        "a connection counts as two"
    );
    assert_eq!(network.counts().ports, 1, "no port is leaked");
    drop(_other);
    let stream = socket.connect(at(TO)).ok().unwrap();
    assert_eq!(network.used(), 3);
    drop((stream, listener));
    assert_empty(&network);
}

#[tokio::test]
async fn a_connection_that_fails_later_keeps_its_place_too() {
    let network = limited(4);
    let scope = network.scope();
    let listener = listen(&scope, TO, 1);
    let first = connected(&scope, at(TO));
    drop(first);
    let first = scope.connect(None, at(TO));
    // The accepted end of the first waits in the backlog, which is full.
    let mut waiting = first.unwrap();
    assert!(poll(&mut waiting).is_pending());
    let local = waiting.local_addr();
    assert!(local.ip().is_loopback() && local.port() >= 32_768);
    drop(listener);
    assert!(waiting.poll_ready(&mut once()).is_ready());
    assert!(waiting.poll_ready(&mut once()).is_ready(), "still");
    let Poll::Ready(Err(error)) = poll(&mut waiting) else {
        panic!("the listener is closed, so the attempt must fail")
    };
    assert_eq!(error, NetError::ConnectionRefused);
    assert_eq!(waiting.local_addr(), local);
    assert_eq!((network.used(), network.counts().ports), (1, 0));
    let place = waiting.give_up().unwrap();
    assert_eq!(network.used(), 1);
    drop(place);
    assert_empty(&network);
}

#[test]
fn an_attempt_that_is_given_up_is_a_socket_without_a_port() {
    let network = network();
    let scope = network.scope();
    let mut listener = listen(&scope, TO, 1);
    let stands = scope.connect(None, at(TO)).unwrap();
    let waits = scope.connect(None, at(TO)).unwrap();
    let places = [stands.give_up(), waits.give_up()];
    assert_eq!(network.counts().waiting, 0);
    assert_eq!(network.counts().ports, 1, "the listener's");
    let (reader, _writer) = listener.try_accept().unwrap().unwrap().split();
    assert_eq!(
        reader.try_read(1),
        Err(ReadEnd::Eof),
        "the attempt was closed"
    );
    drop((reader, _writer, listener));
    assert_eq!(network.used(), 2);
    drop(places);
    assert_empty(&network);
}

#[test]
fn too_many_listeners_are_refused_and_stay_bound() {
    let network = Network::new(NetLimits {
        listeners: 2,
        ..NetLimits::default()
    });
    let scope = network.scope();
    let first = listen(&scope, "127.0.0.1:1", 1);
    let _second = listen(&scope, "127.0.0.1:2", 1);
    let bound = scope.bind(at("127.0.0.1:3")).unwrap();
    let (bound, error) = bound.try_listen(1).err().unwrap();
    assert_eq!(error, NetError::TooManyListeners);
    assert_eq!(bound.local_addr(), at("127.0.0.1:3"));
    assert_eq!(network.counts().listeners, 2);
    drop(first);
    assert!(bound.try_listen(1).is_ok());
    let closed = scope.bind(at("127.0.0.1:4")).unwrap();
    drop(listen(&scope, "127.0.0.1:5", 1));
    assert!(closed.listen(1).is_ok());
}

#[test]
fn sockets_with_large_buffers_together_stay_within_the_limit() {
    const BUFFERED: usize = 100_000;
    let network = tight(BUFFERED);
    let scope = network.scope();
    let mut listener = listen(&scope, TO, 64);
    let mut ends: Vec<(Reader, Writer)> = Vec::new();
    for _ in 0..16 {
        ends.push(connected(&scope, at(TO)).split());
        ends.push(listener.try_accept().unwrap().unwrap().split());
    }
    let directions = ends.len();
    for (reader, _) in &mut ends {
        assert_eq!(reader.set_buffer(usize::MAX), MAX_BUFFER);
    }
    let written: usize = ends.iter_mut().map(|(_, writer)| fill(writer)).sum();
    assert_eq!(written, BUFFERED + directions * FLOOR);
    assert_eq!(network.counts().buffered, written);
    assert_eq!(network.taken(), BUFFERED);

    // A connection that is read makes progress although the first one, which is not, has taken the
    // whole pool.
    for i in (2..directions).step_by(2) {
        let (one, two) = ends[i..i + 2].split_at_mut(1);
        let (flag, waker) = Flag::new();
        let mut cx = Context::from_waker(&waker);
        assert!(one[0].1.poll_ready(&mut cx).is_pending());
        assert_eq!(drain(&mut two[0].0), FLOOR);
        assert!(flag.take(), "the connection's reader wakes its writer");
        assert_eq!(one[0].1.capacity(), Ok(FLOOR));
    }
    drop(ends);
    drop(listener);
    assert_empty(&network);
}

#[test]
fn a_promise_is_kept_and_its_room_returned() {
    let network = tight(10_000);
    let scope = network.scope();
    let mut listener = listen(&scope, TO, 8);
    let mut pair = || {
        let client = connected(&scope, at(TO)).split();
        (client, listener.try_accept().unwrap().unwrap().split())
    };
    let ((_ra, a), (mut reads_a, _wa)) = pair();
    let ((_rb, b), _server_b) = pair();
    assert_eq!(a.capacity(), Ok(10_000 + FLOOR));
    assert_eq!(network.taken(), 10_000);
    assert_eq!(b.capacity(), Ok(FLOOR), "promised room is taken");
    reads_a.set_buffer(0);
    assert_eq!(a.try_write(Bytes::from(vec![1; 11_024])), Ok(11_024));
    assert_eq!(a.capacity(), Ok(0));
    assert_eq!(drain(&mut reads_a), 11_024);
    assert_eq!(network.taken(), 0);

    // The unused rest of a promise is freed by a shorter write, and by the next promise.
    reads_a.set_buffer(9_000);
    assert_eq!(a.capacity(), Ok(9_000));
    assert_eq!(a.try_write(Bytes::from(vec![1; 10])), Ok(10));
    assert_eq!(network.taken(), 0);
    assert_eq!(a.capacity(), Ok(8_990));
    assert_eq!(network.taken(), 9_000 - FLOOR);
    reads_a.set_buffer(2_048);
    assert_eq!(a.capacity(), Ok(2_038));
    assert_eq!(network.taken(), FLOOR);
    reads_a.stop();
    assert_eq!(network.taken(), 0, "discarded bytes hold nothing");
    a.shutdown();
    drop(b);
}

#[test]
fn a_writer_is_woken_once_there_is_room() {
    let network = tight(0);
    let scope = network.scope();
    let mut listener = listen(&scope, TO, 8);
    let (_reader, mut writer) = connected(&scope, at(TO)).split();
    let (reader, _writer) = listener.try_accept().unwrap().unwrap().split();
    assert_eq!(
        writer.poll_capacity(&mut once()),
        Poll::Ready(Ok(FLOOR)),
        "with an empty pool, each direction has its floor"
    );
    assert_eq!(fill(&mut writer), FLOOR);
    let (flag, waker) = Flag::new();
    let mut cx = Context::from_waker(&waker);
    assert!(writer.poll_capacity(&mut cx).is_pending());
    assert_eq!(reader.try_read(1).unwrap().len(), 1);
    assert!(flag.take());
    assert_eq!(writer.poll_capacity(&mut cx), Poll::Ready(Ok(1)));
    drop(reader);
    drop(_writer);
    assert_eq!(
        writer.poll_capacity(&mut cx),
        Poll::Ready(Err(WriteEnd::Reset))
    );
    assert_eq!(writer.end(), Some(WriteEnd::Reset));
}

#[test]
fn bytes_of_connections_that_wait_to_be_accepted_count() {
    let network = tight(20_000);
    let scope = network.scope();
    let listener = listen(&scope, TO, 8);
    listener.set_buffer(MAX_BUFFER);
    let mut clients: Vec<_> = (0..8).map(|_| connected(&scope, at(TO)).split()).collect();
    let written: usize = clients.iter_mut().map(|(_, writer)| fill(writer)).sum();
    assert_eq!(written, 20_000 + 8 * FLOOR);
    drop(listener);
    assert_eq!(network.taken(), 0, "the bytes are freed with the listener");
    drop(clients);
    assert_empty(&network);
}

#[test]
fn datagrams_beyond_the_networks_limit_are_dropped() {
    let network = tight(50_000);
    let scope = network.scope();
    let gateway = scope.open_gateway(9).unwrap();
    let sockets: Vec<_> = (1..=20_u16)
        .map(|port| {
            let socket = scope.bind_udp(SocketAddr::from(([127, 0, 0, 1], port)));
            let socket = socket.unwrap();
            assert_eq!(socket.set_buffer(usize::MAX), MAX_BUFFER);
            socket
        })
        .collect();
    for socket in &sockets {
        for to in 1..=20 {
            let to = SocketAddr::from(([127, 0, 0, 1], to));
            socket.try_send(to, Bytes::from(vec![0; 1_000])).unwrap();
        }
    }
    let kept = |socket: &UdpSocket| std::iter::from_fn(|| socket.try_receive()).count();
    assert!(network.taken() <= 50_000, "{}", network.taken());
    assert_eq!(sockets.iter().map(kept).sum::<usize>(), 50_000 / 1_064);
    assert_eq!(network.taken(), 0);
    // Datagrams that wait in a gateway count too.
    let client = at("192.0.2.1:1");
    gateway.deliver(client, Bytes::new());
    let service = &sockets[8];
    kept(service);
    for _ in 0..100 {
        service
            .try_send(client, Bytes::from(vec![0; 1_000]))
            .unwrap();
    }
    assert!((1..=50_000).contains(&network.taken()));
    // An empty queue takes a datagram of any size, but only within the network's limit.
    let largest = Bytes::from(vec![0; MAX_DATAGRAM_V4]);
    sockets[0].try_send(at("127.0.0.1:2"), largest).unwrap();
    assert!(sockets[1].try_receive().is_none());
    drop((gateway, sockets));
    assert_empty(&network);
}

#[test]
fn a_connection_has_the_buffers_that_were_set_before_it_was_established() {
    let network = network();
    let scope = network.scope();
    let bound = scope.bind(at(TO)).unwrap();
    assert_eq!(bound.set_buffer(3_000), 3_000);
    let mut listener = bound.listen(2).unwrap();
    let socket = scope.socket().unwrap();
    assert_eq!(socket.set_buffer(5_000), 5_000);
    let mut connecting = socket.connect(at(TO)).ok().unwrap();
    let Poll::Ready(Ok(client)) = poll(&mut connecting) else {
        panic!("the listener has room, so the connection must be established")
    };
    let (client, mut to_server) = client.split();
    let (server, mut to_client) = listener.try_accept().unwrap().unwrap().split();
    assert_eq!((client.buffer(), server.buffer()), (5_000, 3_000));
    assert_eq!((fill(&mut to_server), fill(&mut to_client)), (3_000, 5_000));

    // A buffer that is set while connecting also applies if the connection is already established.
    let connecting = scope.connect(None, at(TO)).unwrap();
    let mut server = listener.try_accept().unwrap().unwrap().split();
    connecting.set_buffer(2_500);
    assert_eq!(fill(&mut server.1), 2_500);
    // A change of the listener's buffer applies to later connections.
    listener.set_buffer(MAX_BUFFER);
    let mut late = connected(&scope, at(TO)).split();
    assert_eq!(fill(&mut late.1), MAX_BUFFER);
}
