//! The network as guests see it: unchanged std, wstd and tokio programs.

use std::net::TcpListener;

use tokio::io::AsyncReadExt as _;
use warren_net::Counts;
use warren_worker::{policy::HostAccess, runtime::ServiceEnd};

use super::bench::{Bench, egress, service};

#[tokio::test(flavor = "multi_thread")]
async fn std_wstd_and_tokio_servers_answer_a_std_client() {
    for server in ["std-net", "wstd-echo", "tokio-echo"] {
        let bench = Bench::new();
        let args: &[&str] = match server {
            "std-net" => &["echo", "7070"],
            _ => &["7070"],
        };
        let running = bench.start(server, args).await;
        bench.listens(7070).await;
        for size in ["1", "1000", "60000"] {
            let lines = bench.stdout("std-net", &["ping", "7070", "20", size]).await;
            assert!(
                lines.iter().any(|line| line == "ok 20"),
                "{server}, {size} bytes: {lines:?}"
            );
        }
        running.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_at_once_reach_a_tokio_server() {
    let bench = Bench::new();
    let server = bench.start("tokio-echo", &["7070"]).await;
    bench.listens(7070).await;
    let mut clients = Vec::new();
    for _ in 0..16 {
        clients.push(
            bench
                .start("std-net", &["ping", "7070", "50", "4096"])
                .await,
        );
    }
    for client in clients {
        assert_eq!(client.end().await, ServiceEnd::Exited(0));
    }
    server.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stream_arrives_whole_and_half_close_ends_one_direction() {
    let bench = Bench::new();
    let sink = bench.start("std-net", &["sink", "9000"]).await;
    bench.listens(9000).await;
    let lines = bench
        .stdout("std-net", &["stream", "9000", "20000000"])
        .await;
    assert!(lines.iter().any(|line| line.starts_with("ok")), "{lines:?}");
    sink.kill().await;

    let echo = bench.start("std-net", &["echo", "7070"]).await;
    bench.listens(7070).await;
    let lines = bench.stdout("std-net", &["half-close", "7070"]).await;
    assert!(lines.iter().any(|line| line.starts_with("ok")), "{lines:?}");
    echo.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_know_their_addresses_even_after_they_closed() {
    let bench = Bench::new();
    let lines = bench.stdout("std-net", &["peer-names", "7070"]).await;
    assert!(lines.iter().any(|line| line.starts_with("ok")), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_of_one_call() {
    let cases: &[(&[&str], &str)] = &[
        (&["bind", "127.0.0.1:8080"], "ok 127.0.0.1:8080"),
        (&["bind", "0.0.0.0:8080"], "ok 0.0.0.0:8080"),
        (&["bind", "[::1]:8080"], "ok [::1]:8080"),
        (&["bind", "10.1.2.3:8080"], "error AddrNotAvailable"),
        (&["bind", "192.0.0.8:8080"], "error AddrNotAvailable"),
        (&["refused", "4242"], "error ConnectionRefused"),
        (&["connect", "[::1]:4242"], "error ConnectionRefused"),
        (&["connect", "10.1.2.3:80"], "error PermissionDenied"),
        (&["connect", "192.0.0.8:80"], "error PermissionDenied"),
        (&["connect", "169.254.169.254:80"], "error PermissionDenied"),
        (&["udp-bind", "127.0.0.1:53"], "ok 127.0.0.1:53"),
        (&["udp-bind", "10.1.2.3:53"], "error AddrNotAvailable"),
        (&["udp-send", "127.0.0.1:53"], "ok 8"),
        (&["udp-send", "10.1.2.3:53"], "error PermissionDenied"),
        (&["double-bind", "8080"], "second: error AddrInUse"),
    ];
    for (args, expected) in cases {
        let lines = Bench::new().stdout("std-net", args).await;
        let found = lines.iter().any(|line| line.starts_with(expected));
        assert!(found, "{args:?}: {lines:?}, not {expected:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn localhost_needs_no_dns_and_no_permission() {
    let bench = Bench::new();
    for name in ["localhost", "cache.localhost"] {
        let lines = bench.stdout("std-net", &["resolve", name]).await.join(" ");
        assert!(
            lines.contains("127.0.0.1") && lines.contains("::1"),
            "{lines}"
        );
    }
    // Any other name fails permanently, which C libraries report as EAI_FAIL.
    let lines = bench.stdout("std-net", &["resolve", "example.com"]).await;
    assert!(lines[0].starts_with("error Uncategorized"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machines_own_loopback_is_out_of_reach() {
    let machine = TcpListener::bind("127.0.0.1:0").unwrap();
    machine.set_nonblocking(true).unwrap();
    let address = machine.local_addr().unwrap();
    let lines = Bench::new()
        .stdout("std-net", &["connect", &address.to_string()])
        .await;
    assert!(lines[0].starts_with("error ConnectionRefused"), "{lines:?}");
    assert!(machine.accept().is_err(), "the guest left its network");

    let inside = format!("127.0.0.1:{}", address.port());
    let lines = Bench::new().stdout("std-net", &["bind", &inside]).await;
    assert_eq!(
        lines,
        [format!("ok {inside}")],
        "the machine's port is not the guest's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn host_loopback_must_be_permitted_by_the_manifest_and_the_worker() {
    let machine = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = machine.local_addr().unwrap().port();
    let name = format!("host.warren.internal:{port}");
    let host = |allow_host_loopback| HostAccess {
        allow_host_loopback,
        ..HostAccess::default()
    };
    let with_rule = || {
        let mut service = service("std-net", &["connect", &name]);
        service.egress = egress(&name);
        service
    };
    let without_rule = || service("std-net", &["connect", &name]);

    for (host, service) in [(host(false), with_rule()), (host(true), without_rule())] {
        let lines = Bench::with_host(host).stdout_of(service).await;
        assert!(lines[0].starts_with("error"), "{lines:?}");
    }
    let lines = Bench::with_host(host(true)).stdout_of(with_rule()).await;
    assert!(lines[0].starts_with("ok"), "{lines:?}");
    machine.accept().await.unwrap();
}

/// With a rule for the machine's address, a real socket carries data both ways.
#[tokio::test(flavor = "multi_thread")]
async fn allowed_egress_is_a_real_connection() {
    let machine = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = machine.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = machine.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    let bench = Bench::with_host(HostAccess {
        allow_host_loopback: true,
        ..HostAccess::default()
    });
    // `connect` is used as `ping` can only reach 127.0.0.1, which is the workload's own network.
    let mut service = service(
        "std-net",
        &["connect", &format!("host.warren.internal:{port}")],
    );
    service.egress = egress(&format!("host.warren.internal:{port}"));
    let lines = bench.stdout_of(service).await;
    assert!(lines[0].starts_with("ok"), "{lines:?}");
    echo.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_guest_resets_its_peers_and_frees_its_ports() {
    let bench = Bench::new();
    let network = bench.context.network.clone();
    let server = bench.start("tokio-echo", &["7070"]).await;
    bench.listens(7070).await;
    let host = network.scope();
    let stream = host
        .connect(None, "127.0.0.1:7070".parse().unwrap())
        .unwrap();
    let mut stream = stream.await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"hello")
        .await
        .unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    server.kill().await;
    let error = stream.read(&mut answer).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    drop(stream);
    assert_eq!(network.counts(), Counts::default());

    // The port is free for the next run at once.
    let next = bench.start("tokio-echo", &["7070"]).await;
    bench.listens(7070).await;
    next.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_networks_share_nothing() {
    let (one, other) = (Bench::new(), Bench::new());
    let first = one.start("tokio-echo", &["8080"]).await;
    one.listens(8080).await;
    let lines = other.stdout("std-net", &["refused", "8080"]).await;
    assert!(lines[0].starts_with("error ConnectionRefused"), "{lines:?}");
    let second = other.start("tokio-echo", &["8080"]).await;
    other.listens(8080).await;
    first.kill().await;
    second.kill().await;
}
