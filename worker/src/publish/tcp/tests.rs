#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use warren_model::{host_port::HostPort, spec::Publish};
use warren_net::{Counts, End, Listener, NetLimits};

use super::*;
use crate::publish::{self, PublishError, PublishGuard, PublishPolicy, Published};

/// Longer than anything here takes: reaching it means failure.
const LIMIT: Duration = Duration::from_secs(20);

struct Rig {
    network: Network,
    scope: Scope,
    ready: watch::Sender<bool>,
    guard: PublishGuard,
    address: SocketAddr,
}

async fn bind(listen: SocketAddr, port: u16, network: &Network) -> Result<Published, PublishError> {
    let publish = Publish {
        port: port.try_into().unwrap(),
        listen: HostPort::tcp(listen),
    };
    publish::bind(&publish, network, &PublishPolicy::default()).await
}

async fn rig(listen: &str, port: u16) -> Rig {
    let network = Network::new(NetLimits::default());
    let published = bind(listen.parse().unwrap(), port, &network).await;
    let ready = watch::Sender::new(true);
    let guard = published.unwrap().serve(ready.subscribe());
    let (scope, address) = (network.scope(), guard.local_addr());
    Rig {
        network,
        scope,
        ready,
        guard,
        address,
    }
}

fn listener(scope: &Scope, local: &str) -> Listener {
    scope
        .bind(local.parse().unwrap())
        .unwrap()
        .listen(8)
        .unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("completes in time")
}

async fn until(condition: impl Fn() -> bool) {
    let watch = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    within(watch).await;
}

/// A client and the guest's side of its connection.
async fn connection(rig: &Rig, listener: &mut Listener) -> (TcpStream, Stream) {
    let client = TcpStream::connect(rig.address).await.unwrap();
    let guest = within(listener.accept()).await.unwrap();
    (client, guest)
}

async fn read_error(client: &mut TcpStream) -> ErrorKind {
    within(client.read(&mut [0; 16])).await.unwrap_err().kind()
}

#[tokio::test]
async fn a_taken_port_is_unavailable_and_named() {
    let network = Network::new(NetLimits::default());
    let first = bind("127.0.0.1:0".parse().unwrap(), 80, &network).await;
    let taken = first.unwrap();
    assert_ne!(taken.local_addr().port(), 0);
    let error = bind(taken.local_addr(), 80, &network).await.err().unwrap();
    assert_eq!(error.reason(), "PortUnavailable");
    let text = error.to_string();
    for part in [&taken.local_addr().to_string(), "in use"] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn the_guest_sees_the_client_and_both_directions_work() {
    let rig = rig("127.0.0.1:0", 6379).await;
    let mut listener = listener(&rig.scope, "127.0.0.1:6379");
    let (mut client, mut guest) = connection(&rig, &mut listener).await;
    assert_eq!(guest.peer_addr(), client.local_addr().unwrap());
    assert_eq!(guest.local_addr(), "127.0.0.1:6379".parse().unwrap());

    client.write_all(b"ping").await.unwrap();
    let mut buffer = [0; 4];
    within(guest.read_exact(&mut buffer)).await.unwrap();
    assert_eq!(&buffer, b"ping");
    guest.write_all(b"pong").await.unwrap();
    within(client.read_exact(&mut buffer)).await.unwrap();
    assert_eq!(&buffer, b"pong");
}

#[tokio::test]
async fn each_direction_ends_independently() {
    let rig = rig("127.0.0.1:0", 80).await;
    let mut listener = listener(&rig.scope, "0.0.0.0:80");
    let (mut client, mut guest) = connection(&rig, &mut listener).await;
    client.write_all(b"request").await.unwrap();
    client.shutdown().await.unwrap();
    let mut request = String::new();
    within(guest.read_to_string(&mut request)).await.unwrap();
    assert_eq!(request, "request");
    guest.write_all(b"reply").await.unwrap();
    drop(guest);
    let mut reply = String::new();
    within(client.read_to_string(&mut reply)).await.unwrap();
    assert_eq!(reply, "reply");

    // The other way round: the guest ends its direction first.
    let (mut client, mut guest) = connection(&rig, &mut listener).await;
    guest.shutdown().await.unwrap();
    let mut nothing = String::new();
    within(client.read_to_string(&mut nothing)).await.unwrap();
    client.write_all(b"late").await.unwrap();
    client.shutdown().await.unwrap();
    within(guest.read_to_string(&mut nothing)).await.unwrap();
    assert_eq!(nothing, "late");
}

#[tokio::test]
async fn megabytes_pass_both_ways_at_once() {
    let rig = rig("127.0.0.1:0", 80).await;
    let mut listener = listener(&rig.scope, "127.0.0.1:80");
    let (client, guest) = connection(&rig, &mut listener).await;
    let data: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n % 251).to_le_bytes()[0])
        .collect();
    let echo = tokio::spawn(async move {
        let (mut from, mut to) = tokio::io::split(guest);
        tokio::io::copy(&mut from, &mut to).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let (mut from, mut to) = client.into_split();
    let sent = data.clone();
    let send = tokio::spawn(async move {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    within(from.read_to_end(&mut received)).await.unwrap();
    assert!(received == data);
    send.await.unwrap();
    echo.await.unwrap();
}

#[tokio::test]
async fn a_client_is_read_no_faster_than_the_guest_reads() {
    let rig = rig("127.0.0.1:0", 80).await;
    let mut listener = listener(&rig.scope, "127.0.0.1:80");
    let (mut client, mut guest) = connection(&rig, &mut listener).await;
    // More than all of the kernel's buffers hold.
    let total = 64 << 20;
    let sends = tokio::spawn(async move { client.write_all(&vec![0; total]).await });
    let full = NetLimits::default().buffer;
    until(|| rig.network.counts().buffered == full).await;
    assert!(!sends.is_finished());
    let received = within(tokio::io::copy(&mut guest, &mut tokio::io::sink())).await;
    assert_eq!(received.unwrap(), total as u64);
    sends.await.unwrap().unwrap();
}

#[tokio::test]
async fn connections_are_reset_while_the_service_is_not_ready() {
    let rig = rig("127.0.0.1:0", 80).await;
    // The service does not listen, so `ready` does not matter.
    let mut client = TcpStream::connect(rig.address).await.unwrap();
    assert_eq!(read_error(&mut client).await, ErrorKind::ConnectionReset);

    let mut listener = listener(&rig.scope, "127.0.0.1:80");
    rig.ready.send_replace(false);
    let mut client = TcpStream::connect(rig.address).await.unwrap();
    assert_eq!(read_error(&mut client).await, ErrorKind::ConnectionReset);
    assert!(listener.try_accept().is_none());

    rig.ready.send_replace(true);
    let (mut client, mut guest) = connection(&rig, &mut listener).await;
    rig.ready.send_replace(false);
    client.write_all(b"x").await.unwrap();
    assert_eq!(
        within(guest.read(&mut [0; 4])).await.unwrap(),
        1,
        "open connections stay"
    );
}

#[tokio::test]
async fn a_reset_on_one_side_is_a_reset_on_the_other() {
    let rig = rig("127.0.0.1:0", 80).await;
    let mut listener = listener(&rig.scope, "127.0.0.1:80");
    let (client, mut guest) = connection(&rig, &mut listener).await;
    client.set_zero_linger().unwrap();
    drop(client);
    let error = within(guest.read(&mut [0; 4])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let (mut client, mut guest) = connection(&rig, &mut listener).await;
    guest.write_all(b"last").await.unwrap();
    let mut last = [0; 4];
    within(client.read_exact(&mut last)).await.unwrap();
    rig.scope.end(End::Aborted);
    assert_eq!(read_error(&mut client).await, ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_guest_that_closes_does_not_wait_for_a_silent_client() {
    let rig = rig("127.0.0.1:0", 80).await;
    let mut listener = listener(&rig.scope, "127.0.0.1:80");
    let (mut client, mut guest) = connection(&rig, &mut listener).await;
    guest.write_all(b"bye").await.unwrap();
    drop(guest);
    let mut text = String::new();
    within(client.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "bye");
    drop(listener);
    // The client has not closed, but nothing is held for it.
    until(|| rig.network.counts() == Counts::default()).await;
}

#[tokio::test]
async fn the_port_is_held_through_restarts() {
    let rig = rig("127.0.0.1:0", 80).await;
    for _ in 0..3 {
        let scope = rig.network.scope();
        let mut listener = listener(&scope, "127.0.0.1:80");
        let (mut client, _guest) = connection(&rig, &mut listener).await;
        scope.end(End::Aborted);
        assert_eq!(read_error(&mut client).await, ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn closing_ends_connections_and_frees_the_port() {
    let rig = rig("127.0.0.1:0", 80).await;
    let mut listener = listener(&rig.scope, "127.0.0.1:80");
    let (mut client, mut guest) = connection(&rig, &mut listener).await;
    rig.guard.close().await;
    assert_eq!(within(guest.read(&mut [0; 4])).await.unwrap(), 0);
    // The connection was cut off, so the client must not see an end of stream.
    let error = within(client.read(&mut [0; 4])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    drop((guest, listener));
    assert_eq!(rig.network.counts(), Counts::default());
    assert!(bind(rig.address, 80, &rig.network).await.is_ok());
}

#[tokio::test]
async fn clients_reach_the_service_in_either_family() {
    for local in ["[::1]:80", "[::]:80", "127.0.0.1:80", "0.0.0.0:80"] {
        let rig = rig("127.0.0.1:0", 80).await;
        let mut listener = listener(&rig.scope, local);
        let (client, guest) = connection(&rig, &mut listener).await;
        let seen = guest.peer_addr();
        assert_eq!(seen.port(), client.local_addr().unwrap().port());
        assert_eq!(
            seen.is_ipv4(),
            guest.local_addr().is_ipv4(),
            "{local}: the peer is of the same family"
        );
    }
}

#[tokio::test]
async fn an_ipv4_client_of_an_ipv6_listener_is_seen_as_ipv4() {
    let network = Network::new(NetLimits::default());
    let Ok(published) = bind("[::]:0".parse().unwrap(), 80, &network).await else {
        return; // This machine has no IPv6.
    };
    let port = published.local_addr().port();
    let ready = watch::Sender::new(true);
    let _guard = published.serve(ready.subscribe());
    let scope = network.scope();
    let mut listener = listener(&scope, "0.0.0.0:80");
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
    let guest = within(listener.accept()).await.unwrap();
    assert_eq!(guest.peer_addr(), client.local_addr().unwrap());
}
