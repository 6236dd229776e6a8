//! Guests that use as much of the network as they can: the errors that they get, the most that they
//! cost, and that other guests are not affected.

use std::collections::HashMap;

use warren_net::{Counts, NetLimits};

use super::bench::{Bench, Running};

/// Returns the number after this word in a line that the guest wrote.
fn number(lines: &[String], word: &str) -> usize {
    let line = lines.iter().find_map(|line| line.strip_prefix(word));
    line.unwrap_or_else(|| panic!("no {word} in {lines:?}"))
        .parse()
        .unwrap()
}

fn checks(lines: &[String]) -> usize {
    lines.iter().filter(|line| line.starts_with("ok ")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_opens_sockets_endlessly_is_refused_at_the_limit() {
    let NetLimits {
        sockets, listeners, ..
    } = NetLimits::default();
    // The number that each kind had when it was refused: a connection is two sockets and needs a
    // listener.
    let had = HashMap::from([
        ("tcp", sockets),
        ("udp", sockets),
        ("closed", sockets),
        ("listeners", listeners),
        ("connections", (sockets - 1) / 2),
    ]);
    for guest in ["conform-p2", "conform-p3"] {
        for (kind, had) in &had {
            let bench = Bench::new();
            let lines = bench.stdout(guest, &["limit", kind]).await;
            assert!(checks(&lines) > 0, "{guest} {kind}: {lines:?}");
            let got = number(&lines, "had ");
            // With listeners, the guest of 0.2 closes two to continue.
            assert!((had - 2..=*had).contains(&got), "{guest} {kind}: {lines:?}");
            assert_eq!(bench.context.network.counts(), Counts::default());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_never_reads_is_bounded() {
    let bench = Bench::new();
    let limits = *bench.context.network.limits();
    let lines = bench.stdout("conform-p2", &["limit", "buffers"]).await;
    assert_eq!(checks(&lines), 2, "{lines:?}");
    let written = number(&lines, "wrote ");
    // The floor of each direction of its connections.
    let own = 400 * (4 << 10);
    assert!(written <= limits.buffered + own, "{written}");
    assert!(written >= limits.buffered, "{written}");
    assert_eq!(bench.context.network.taken(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_at_their_extremes_are_harmless() {
    let lines = Bench::new()
        .stdout("conform-p2", &["limit", "options"])
        .await;
    assert_eq!(checks(&lines), 2, "{lines:?}");
}

async fn hoarder(bench: &Bench) -> Running {
    let running = bench.start("conform-p2", &["limit", "hoard"]).await;
    bench.saw("holding").await;
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_own_workload_is_affected() {
    let (hostile, other) = (Bench::new(), Bench::new());
    let hoarders = [hoarder(&hostile).await, hoarder(&Bench::new()).await];
    let limits = hostile.context.network.limits();
    assert!(hostile.context.network.taken() > limits.buffered / 2);

    let echo = other.start("std-net", &["echo", "7070"]).await;
    other.listens(7070).await;
    for guest in ["std-net", "p3-net"] {
        let to = match guest {
            "std-net" => "7070",
            _ => "127.0.0.1:7070",
        };
        let lines = other.stdout(guest, &["ping", to, "20", "60000"]).await;
        let ok = lines.iter().any(|line| line.starts_with("ok 20"));
        assert!(ok, "{guest}: {lines:?}");
    }
    // Its own workload gets the error of a system that has run out of a resource.
    let lines = hostile.stdout("std-net", &["bind", "127.0.0.1:80"]).await;
    assert!(lines[0].starts_with("error"), "{lines:?}");

    for running in hoarders {
        running.kill().await;
    }
    assert_eq!(hostile.context.network.counts(), Counts::default());
    assert_eq!(hostile.context.network.taken(), 0);
    let lines = hostile.stdout("std-net", &["bind", "127.0.0.1:80"]).await;
    assert_eq!(lines, ["ok 127.0.0.1:80"]);
    echo.kill().await;
}
