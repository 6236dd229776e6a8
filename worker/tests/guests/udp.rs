//! UDP with real guests: between each other, and with the outside if their egress permits it.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::{net::UdpSocket, time::timeout};
use warren_net::Counts;
use warren_worker::policy::HostAccess;

use super::bench::{Bench, PATIENCE, egress, service};

#[tokio::test(flavor = "multi_thread")]
async fn guests_of_both_versions_of_wasi_exchange_datagrams() {
    for server in ["std-net", "p3-net"] {
        for address in ["127.0.0.1:53", "[::1]:53"] {
            let bench = Bench::new();
            let echo = bench.start(server, &["udp-echo", address]).await;
            bench.saw(&format!("bound to {address}")).await;
            for client in ["std-net", "p3-net"] {
                for size in ["0", "1", "1400", "65507"] {
                    let lines = bench.stdout(client, &["udp-ping", address, size]).await;
                    let ok = format!("ok {size}");
                    assert!(
                        lines.contains(&ok),
                        "{client} to {server} at {address}: {lines:?}"
                    );
                }
            }
            echo.kill().await;
            assert_eq!(bench.context.network.counts(), Counts::default());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_behaves_as_the_interface_specifies() {
    let bench = Bench::new();
    let echo = bench.start("std-net", &["udp-echo", "127.0.0.1:53"]).await;
    bench.saw("bound to").await;
    let lines = bench
        .stdout("p3-net", &["udp-states", "127.0.0.1:53"])
        .await;
    let expected = [
        "unbound local: invalid-state",
        "unbound receive: invalid-state",
        "unbound disconnect: invalid-state",
        "nowhere: invalid-argument",
        // A datagram that could not be sent does not bind the socket.
        "bind: ok",
        "bound bind: invalid-state",
        "to port 0: invalid-argument",
        "other family: invalid-argument",
        "too large: datagram-too-large",
        "connect: ok",
        "connected to another: invalid-argument",
        "connected to it: ok",
        "connected: ok",
        "receive: ok",
        "reconnect: ok",
        "to nobody: ok",
        "which is told: connection-refused",
        "disconnect: ok",
        "remote: invalid-state",
    ];
    assert_eq!(lines, expected);
    echo.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_leaves_only_where_egress_allows_it() {
    let machine = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = machine.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        let mut buffer = [0; 2048];
        loop {
            let (length, from) = machine.recv_from(&mut buffer).await.unwrap();
            machine.send_to(&buffer[..length], from).await.unwrap();
        }
    });
    let host = || HostAccess {
        allow_host_loopback: true,
        ..HostAccess::default()
    };
    // The reserved address behind the host's name, as the guests here do not resolve names.
    let address = format!("192.0.0.8:{port}");
    for guest in ["std-net", "p3-net"] {
        let mut allowed = service(guest, &["udp-ping", &address, "100"]);
        let denied = Bench::with_host(host()).stdout_of(allowed.clone()).await;
        assert!(denied[0].starts_with("error"), "{guest}: {denied:?}");
        allowed.egress = egress(&format!("host.warren.internal:{port}"));
        let lines = Bench::with_host(host()).stdout_of(allowed).await;
        assert_eq!(lines, ["ok 100"], "{guest}");
    }
    // The same port number on loopback is the workload's own, on which no socket is bound.
    let inside = format!("127.0.0.1:{port}");
    let bench = Bench::new();
    let waiting = bench.start("std-net", &["udp-ping", &inside, "1"]).await;
    let lines = bench.stdout("std-net", &["udp-bind", &inside]).await;
    assert!(lines.contains(&format!("ok {inside}")), "{lines:?}");
    waiting.kill().await;
    echo.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_outside_is_answered_through_a_gateway() {
    let client: SocketAddr = "192.0.2.7:4000".parse().unwrap();
    for guest in ["std-net", "p3-net"] {
        let bench = Bench::new();
        let gateway = bench.context.network.scope().open_gateway(53).unwrap();
        let echo = bench.start(guest, &["udp-echo", "0.0.0.0:53"]).await;
        bench.saw("bound to 0.0.0.0:53").await;
        gateway.deliver(client, Bytes::from_static(b"question"));
        let answer = timeout(PATIENCE, gateway.receive()).await.unwrap().unwrap();
        assert_eq!(answer.address, client, "{guest}");
        assert_eq!(&answer.data[..], b"question");
        echo.kill().await;
    }
}
