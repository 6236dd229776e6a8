//! The documents of `wasi:sockets` 0.2 and 0.3, and of `wasi:http` and `wasi:cli` 0.3, sentence by
//! sentence, as services see them. The sentences are in the guests `conform-p2` and `conform-p3`,
//! which check one area per run. What they cannot check alone is checked here.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use warren_net::{Counts, End, Listener, NetLimits, Scope};
use warren_worker::runtime::ServiceEnd;

use super::bench::{Bench, egress, service};

/// Runs one area: every sentence must be checked, and nothing may be left behind.
async fn area(bench: &Bench, guest: &str, args: &[&str], checks: usize) {
    let lines = bench.stdout(guest, args).await;
    let checked = lines.iter().filter(|line| line.starts_with("ok ")).count();
    assert_eq!(checked, checks, "{guest} {args:?}: {lines:#?}");
    let network = &bench.context.network;
    // The worker's own connection for outgoing HTTP ends with its task, which may outlive the guest
    // for a moment.
    let empty = async {
        while network.counts() != Counts::default() || network.taken() != 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let emptied = tokio::time::timeout(Duration::from_secs(30), empty).await;
    assert!(emptied.is_ok(), "{args:?} leaves {:?}", network.counts());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sentence_of_0_2() {
    // (area, its checks)
    let areas = [
        ("tcp-states", 490),
        ("tcp-bind", 74),
        ("tcp-connect", 53),
        ("tcp-listen", 44),
        ("tcp-streams", 98),
        ("tcp-options", 160),
        ("tcp-sample", 14),
        ("udp-states", 98),
        ("udp-bind", 42),
        ("udp-connect", 91),
        ("udp-streams", 57),
        ("udp-options", 108),
        ("lookup", 30),
    ];
    for (name, checks) in areas {
        area(&Bench::new(), "conform-p2", &[name], checks).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sentence_of_0_3() {
    // (area, its checks)
    let areas = [
        ("tcp-states", 318),
        ("tcp-bind", 81),
        ("tcp-connect", 51),
        ("tcp-listen", 66),
        ("tcp-streams", 88),
        ("tcp-options", 160),
        ("udp-states", 86),
        ("udp-bind", 40),
        ("udp-connect", 61),
        ("udp-datagrams", 37),
        ("udp-options", 108),
        ("lookup", 30),
        ("http", 21),
        ("cli", 7),
    ];
    for (name, checks) in areas {
        area(&Bench::new(), "conform-p3", &[name], checks).await;
    }
}

/// "Implementations must trap."
#[tokio::test(flavor = "multi_thread")]
async fn more_datagrams_than_permitted_are_a_trap() {
    for (area, permitted) in [
        ("udp-too-many", "permitted 16"),
        ("udp-unchecked", "permitted 0"),
    ] {
        let bench = Bench::new();
        let end = bench.run("conform-p2", &[area]).await;
        let ServiceEnd::Trapped(why) = end else {
            panic!("{area}: {end:?}");
        };
        assert!(
            why.contains("more datagrams than check-send permitted"),
            "{why}"
        );
        assert_eq!(bench.lines().await, [permitted]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_never_accepts_is_a_timeout() {
    for guest in ["conform-p2", "conform-p3"] {
        let bench = Bench::with_limits(NetLimits {
            connect_timeout: Duration::from_millis(50),
            ..NetLimits::default()
        });
        area(&bench, guest, &["tcp-timeout"], 2).await;
    }
}

/// Listens on a port of the bench's network, in the test itself.
fn listen(bench: &Bench) -> (Scope, Listener) {
    let scope = bench.context.network.scope();
    let bound = scope.bind("127.0.0.1:7070".parse().unwrap()).unwrap();
    (scope, bound.listen(1).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_killed_is_a_reset_after_what_it_sent() {
    for (guest, checks) in [("conform-p2", 6), ("conform-p3", 7)] {
        let bench = Bench::new();
        let (scope, mut listener) = listen(&bench);
        let peer = async {
            let mut stream = listener.accept().await.unwrap();
            stream.write_all(b"12345").await.unwrap();
            scope.end(End::Aborted);
            stream
        };
        let (_peer, lines) =
            tokio::join!(peer, bench.stdout(guest, &["tcp-reset", "127.0.0.1:7070"]));
        let checked = lines.iter().filter(|line| line.starts_with("ok ")).count();
        assert_eq!(checked, checks, "{guest}: {lines:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_killed_wakes_a_writer_that_waits_for_room() {
    for guest in ["conform-p2", "conform-p3"] {
        let bench = Bench::new();
        let (scope, mut listener) = listen(&bench);
        let running = bench
            .start(guest, &["tcp-killed-writer", "127.0.0.1:7070"])
            .await;
        let _stream = listener.accept().await.unwrap();
        bench.saw("full").await;
        scope.end(End::Aborted);
        assert_eq!(running.end().await, ServiceEnd::Exited(0), "{guest}");
    }
}

/// There is no name server here, and queries to one end soon.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_is_not_resolved() {
    let mut guest = service("conform-p2", &["lookup-allowed", "nobody.invalid"]);
    guest.egress = egress("nobody.invalid:80");
    let lines = Bench::new().stdout_of(guest).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
}
