//! The sockets of WASI 0.3, together with guests of 0.2 in one network.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use warren_net::Counts;
use warren_worker::{policy::HostAccess, runtime::ServiceEnd};

use super::bench::{Bench, egress, service};

#[tokio::test(flavor = "multi_thread")]
async fn guests_of_both_versions_serve_each_other() {
    for (server, args) in [
        ("p3-net", ["echo", "127.0.0.1:7070"]),
        ("std-net", ["echo", "7070"]),
    ] {
        let bench = Bench::new();
        let running = bench.start(server, &args).await;
        bench.listens(7070).await;
        for size in ["1", "1000", "60000"] {
            let lines = bench
                .stdout("p3-net", &["ping", "127.0.0.1:7070", "20", size])
                .await;
            let ok = format!("ok 20 x {size}");
            assert!(lines.contains(&ok), "p3-net to {server}: {lines:?}");
            let lines = bench.stdout("std-net", &["ping", "7070", "20", size]).await;
            assert!(
                lines.contains(&"ok 20".to_owned()),
                "std-net to {server}: {lines:?}"
            );
        }
        running.kill().await;
        assert_eq!(bench.context.network.counts(), Counts::default());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_beyond_every_buffer_pass_both_ways_at_once() {
    let bench = Bench::new();
    let server = bench.start("p3-net", &["echo", "127.0.0.1:7070"]).await;
    bench.listens(7070).await;
    let lines = bench
        .stdout("p3-net", &["ping", "127.0.0.1:7070", "4", "2000000"])
        .await;
    assert!(lines.contains(&"ok 4 x 2000000".to_owned()), "{lines:?}");
    server.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_at_once_reach_one_instance() {
    let bench = Bench::new();
    let server = bench.start("p3-net", &["echo", "127.0.0.1:7070"]).await;
    bench.listens(7070).await;
    let mut clients = Vec::new();
    for i in 0..16 {
        let args: &[&str] = &["ping", "127.0.0.1:7070", "50", "4096"];
        let old: &[&str] = &["ping", "7070", "50", "4096"];
        clients.push(match i % 2 {
            0 => bench.start("p3-net", args).await,
            _ => bench.start("std-net", old).await,
        });
    }
    for client in clients {
        assert_eq!(client.end().await, ServiceEnd::Exited(0));
    }
    server.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_of_one_call() {
    let cases: &[(&[&str], &str)] = &[
        (&["bind", "127.0.0.1:8080"], "ok 127.0.0.1:8080"),
        (&["bind", "0.0.0.0:8080"], "ok 0.0.0.0:8080"),
        (&["bind", "[::]:8080"], "ok [::]:8080"),
        (&["bind", "10.1.2.3:8080"], "error address-not-bindable"),
        (
            &["bind", "[::ffff:127.0.0.1]:8080"],
            "error invalid-argument",
        ),
        (&["bind", "224.0.0.1:8080"], "error invalid-argument"),
        (&["connect", "127.0.0.1:4242"], "error connection-refused"),
        (&["connect", "127.0.0.1:0"], "error invalid-argument"),
        (&["connect", "0.0.0.0:80"], "error invalid-argument"),
        (&["connect", "10.1.2.3:80"], "error access-denied"),
        (&["connect", "192.0.0.8:80"], "error access-denied"),
        (&["connect", "169.254.169.254:80"], "error access-denied"),
        (&["listen-anywhere"], "ok 0.0.0.0:3"),
        (&["resolve", "localhost"], "ok 2"),
        (
            &["resolve", "example.com"],
            "error ErrorCode::PermanentResolverFailure",
        ),
    ];
    for (args, expected) in cases {
        let lines = Bench::new().stdout("p3-net", args).await;
        let found = lines.iter().any(|line| line.starts_with(expected));
        assert!(found, "{args:?}: {lines:?}, not {expected:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_behaves_as_the_interface_specifies() {
    let bench = Bench::new();
    let echo = bench.start("std-net", &["echo", "7070"]).await;
    bench.listens(7070).await;
    let lines = bench.stdout("p3-net", &["states", "127.0.0.1:7070"]).await;
    let expected = [
        "unbound local: invalid-state",
        "unbound remote: invalid-state",
        "unbound receive: invalid-state",
        "bind: ok",
        "bound bind: invalid-state",
        "bound remote: invalid-state",
        "connect: ok",
        "connected connect: invalid-state",
        "connected bind: invalid-state",
        "connected listen: invalid-state",
        "backlog: invalid-state",
        "second receive: invalid-state",
        "second send: invalid-state",
        "sent: ok",
        "received: ok",
        "local after: ok",
        "remote after: ok",
        "hop limit 0: invalid-argument",
        "buffer 0: invalid-argument",
    ];
    let own: Vec<_> = lines.iter().filter(|line| line.contains(": ")).collect();
    assert_eq!(own, expected);
    echo.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_direction_ends_and_the_other_continues() {
    let bench = Bench::new();
    let network = bench.context.network.clone();
    let mut listener = network
        .scope()
        .bind("127.0.0.1:7070".parse().unwrap())
        .unwrap()
        .listen(1)
        .unwrap();
    let guest = bench.start("p3-net", &["shutdown", "127.0.0.1:7070"]).await;
    let mut peer = listener.accept().await.unwrap();
    let mut heard = String::new();
    peer.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "last words");
    peer.write_all(b"heard them").await.unwrap();
    peer.shutdown().await.unwrap();
    assert_eq!(guest.end().await, ServiceEnd::Exited(0));
    bench.saw("ok heard them").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_killed_is_a_reset_after_what_it_sent() {
    let bench = Bench::new();
    let network = bench.context.network.clone();
    let scope = network.scope();
    let mut listener = scope
        .bind("127.0.0.1:7070".parse().unwrap())
        .unwrap()
        .listen(1)
        .unwrap();
    let guest = bench.start("p3-net", &["reset", "127.0.0.1:7070"]).await;
    let mut peer = listener.accept().await.unwrap();
    peer.write_all(b"12345").await.unwrap();
    scope.end(warren_net::End::Aborted);
    assert_eq!(guest.end().await, ServiceEnd::Exited(0));
    bench.saw("read 5").await;
    bench.saw("error connection-reset").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_guest_resets_its_peers_and_frees_its_ports() {
    let bench = Bench::new();
    let network = bench.context.network.clone();
    let server = bench.start("p3-net", &["echo", "127.0.0.1:7070"]).await;
    bench.listens(7070).await;
    let host = network.scope();
    let connecting = host.connect(None, "127.0.0.1:7070".parse().unwrap());
    let mut stream = connecting.unwrap().await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    server.kill().await;
    let error = stream.read(&mut answer).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    drop(stream);
    assert_eq!(network.counts(), Counts::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_leaves_only_where_egress_allows_it() {
    let machine = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = machine.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        loop {
            let (mut stream, _) = machine.accept().await.unwrap();
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        }
    });
    let host = || HostAccess {
        allow_host_loopback: true,
        ..HostAccess::default()
    };
    let address = format!("192.0.0.8:{port}");
    let mut guest = service("p3-net", &["ping", &address, "3", "100000"]);
    let denied = Bench::with_host(host()).stdout_of(guest.clone()).await;
    assert_eq!(denied, ["error access-denied"]);
    guest.egress = egress(&format!("host.warren.internal:{port}"));
    let lines = Bench::with_host(host()).stdout_of(guest).await;
    assert_eq!(lines, ["ok 3 x 100000"]);
    echo.abort();
}
