#![allow(clippy::unwrap_used)]

use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use warren_model::{host_port::HostPort, spec::Publish};
use warren_net::{Counts, End, NetLimits, Scope, UdpSocket as Inside};

use super::*;
use crate::publish::{self, PublishError, PublishGuard, PublishPolicy, Published};

/// Longer than anything here takes: reaching it means failure.
const LIMIT: Duration = Duration::from_secs(20);

struct Rig {
    network: Network,
    ready: watch::Sender<bool>,
    guard: PublishGuard,
}

async fn bind(listen: SocketAddr, network: &Network) -> Result<Published, PublishError> {
    let publish = Publish {
        port: 53.try_into().unwrap(),
        listen: HostPort::udp(listen),
    };
    publish::bind(&publish, network, &PublishPolicy::default()).await
}

async fn rig(listen: &str) -> Rig {
    let network = Network::new(NetLimits::default());
    let published = bind(listen.parse().unwrap(), &network).await.unwrap();
    let ready = watch::Sender::new(true);
    let guard = published.serve(ready.subscribe());
    Rig {
        network,
        ready,
        guard,
    }
}

impl Rig {
    /// Opens a client of the published port.
    async fn client(&self) -> UdpSocket {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(self.guard.local_addr()).await.unwrap();
        client
    }
}

fn service(scope: &Scope, local: &str) -> Inside {
    scope.bind_udp(local.parse().unwrap()).unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("completes in time")
}

async fn heard(client: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; BUFFER];
    let length = within(client.recv(&mut buffer)).await.unwrap();
    buffer.truncate(length);
    buffer
}

/// Sends a question and lets the service answer it.
async fn asked(client: &UdpSocket, service: &Inside, question: &[u8]) {
    client.send(question).await.unwrap();
    let received = within(service.receive()).await.unwrap();
    assert_eq!(received.data, question);
    service.try_send(received.address, received.data).unwrap();
    assert_eq!(heard(client).await, question);
}

#[tokio::test]
async fn the_service_sees_each_client_and_answers_from_the_published_port() {
    let rig = rig("127.0.0.1:0").await;
    let service = service(&rig.network.scope(), "127.0.0.1:53");
    let (one, other) = (rig.client().await, rig.client().await);
    one.send(b"one").await.unwrap();
    let first = within(service.receive()).await.unwrap();
    assert_eq!(first.address, one.local_addr().unwrap());
    other.send(b"other").await.unwrap();
    let second = within(service.receive()).await.unwrap();
    assert_eq!(second.address, other.local_addr().unwrap());
    // Clients are connected, so they only receive from the published address.
    for (client, to, answer) in [
        (&other, &second, "2"),
        (&one, &first, "1"),
        (&one, &first, "3"),
    ] {
        service.try_send(to.address, answer.into()).unwrap();
        assert_eq!(heard(client).await, answer.as_bytes());
    }
}

#[tokio::test]
async fn datagrams_of_every_size_pass() {
    let rig = rig("127.0.0.1:0").await;
    let service = service(&rig.network.scope(), "0.0.0.0:53");
    let client = rig.client().await;
    for size in [0, 1, 1472, 9000, 65_507] {
        let question: Vec<u8> = (0..size).map(|n: u32| (n % 251).to_le_bytes()[0]).collect();
        asked(&client, &service, &question).await;
    }
}

#[tokio::test]
async fn the_port_is_held_through_restarts_and_datagrams_in_between_are_lost() {
    let (rig, other) = (rig("127.0.0.1:0").await, rig("127.0.0.1:0").await);
    let (client, other_client) = (rig.client().await, other.client().await);
    let other_service = service(&other.network.scope(), "127.0.0.1:53");
    for round in 0..3_u8 {
        let scope = rig.network.scope();
        let service = service(&scope, "127.0.0.1:53");
        rig.ready.send_replace(true);
        asked(&client, &service, &[round]).await;
        rig.ready.send_replace(false);
        client.send(b"not ready").await.unwrap();
        // A later datagram to another port has arrived, so this one has been processed too: a
        // single thread handles both in order.
        asked(&other_client, &other_service, b"later").await;
        scope.end(End::Aborted);
    }
    let scope = rig.network.scope();
    let last = service(&scope, "127.0.0.1:53");
    rig.ready.send_replace(true);
    asked(&client, &last, b"nothing came before this").await;
}

#[tokio::test]
async fn a_taken_port_is_unavailable_and_tcp_has_its_own() {
    let network = Network::new(NetLimits::default());
    // A separate address, as another test may hold the same TCP port on 127.0.0.1.
    let held = bind("127.53.0.1:0".parse().unwrap(), &network).await;
    let held = held.unwrap();
    assert_ne!(held.local_addr().port(), 0);
    let endpoint = held.endpoint();
    assert_eq!(endpoint.protocol().as_str_name(), "UDP");
    assert_eq!(endpoint.guest_port, 53);
    assert_eq!(endpoint.address, held.local_addr().to_string());

    let error = bind(held.local_addr(), &network).await.err().unwrap();
    assert_eq!(error.reason(), "PortUnavailable");
    let text = error.to_string();
    let place = format!("{}/udp", held.local_addr());
    assert!(text.contains(&place) && text.contains("in use"), "{text}");
    let tcp = Publish {
        port: 53.try_into().unwrap(),
        listen: HostPort::tcp(held.local_addr()),
    };
    assert!(
        publish::bind(&tcp, &network, &PublishPolicy::default())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn closing_frees_the_port_and_the_network() {
    // A separate address, so that no other test takes the freed port.
    let rig = rig("127.53.0.2:0").await;
    let address = rig.guard.local_addr();
    within(rig.guard.idle()).await;
    rig.guard.close().await;
    assert_eq!(rig.network.counts(), Counts::default());
    assert!(bind(address, &rig.network).await.is_ok());
}

#[tokio::test]
async fn an_ipv4_client_reaches_whichever_family_the_service_has() {
    for (local, seen) in [
        ("127.0.0.1:53", "127.0.0.1"),
        ("0.0.0.0:53", "127.0.0.1"),
        ("[::]:53", "64:ff9b::7f00:1"),
        ("[::1]:53", "64:ff9b::7f00:1"),
    ] {
        let rig = rig("127.0.0.1:0").await;
        let service = service(&rig.network.scope(), local);
        let client = rig.client().await;
        asked(&client, &service, local.as_bytes()).await;
        client.send(b"who am I").await.unwrap();
        let received = within(service.receive()).await.unwrap();
        let expected: IpAddr = seen.parse().unwrap();
        assert_eq!(received.address.ip(), expected, "{local}");
    }
}

#[tokio::test]
async fn an_ipv4_client_of_an_ipv6_port_is_seen_as_ipv4() {
    let network = Network::new(NetLimits::default());
    let Ok(published) = bind("[::]:0".parse().unwrap(), &network).await else {
        return; // This machine has no IPv6.
    };
    let port = published.local_addr().port();
    let ready = watch::Sender::new(true);
    let _guard = published.serve(ready.subscribe());
    let service = service(&network.scope(), "0.0.0.0:53");
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    asked(&client, &service, b"mapped").await;
}

#[tokio::test]
async fn a_client_that_is_silent_for_long_is_no_longer_reached() {
    let network = Network::new(NetLimits::default());
    let gateway = network.scope().open_gateway(53).unwrap();
    let bound = Port::bind("127.0.0.1:0".parse().unwrap(), 53, network.clone(), gateway).await;
    let (address, mut port) = bound.unwrap();
    port.idle = Duration::from_millis(20);
    let ready = watch::Sender::new(true);
    let _serving = AbortOnDropHandle::new(tokio::spawn(port.serve(ready.subscribe())));
    // Over IPv6, where no client has an address that exists in the network.
    let service = service(&network.scope(), "[::]:53");
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(address).await.unwrap();
    for _ in 0..2 {
        client.send(b"here I am").await.unwrap();
        let received = within(service.receive()).await.unwrap();
        let forgotten = async {
            while service.reaches(received.address) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        within(forgotten).await;
    }
}

#[tokio::test]
async fn a_service_that_does_not_read_costs_no_more_than_its_queue() {
    let rig = rig("127.0.0.1:0").await;
    let service = service(&rig.network.scope(), "127.0.0.1:53");
    let client = rig.client().await;
    let full = NetLimits::default().datagrams;
    for _ in 0..4 * full / 1000 {
        client.send(&[7; 1000]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(rig.network.counts().buffered <= full);
    while let Some(received) = service.try_receive() {
        received.unwrap();
    }
    // Some datagrams may still be on their way.
    client.send(b"last").await.unwrap();
    while within(service.receive()).await.unwrap().data != b"last"[..] {}
}
