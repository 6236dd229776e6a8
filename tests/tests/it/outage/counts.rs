//! What a worker does alone is told exactly, once somebody listens again.

use std::net::SocketAddr;

use serde_json::Value;
use warren_tests::{Cluster, eventually, get, guest};

use crate::{cluster, restarts::greet};

const MOODY: &str = "moody.localhost";

/// Each client that it greets makes it trap: whoever counts greetings knows how often it was
/// started again.
fn trapper() -> String {
    let guest = guest("trapper");
    format!(
        "name: trapper\nreplicas: 1\nservice:\n  component: {guest}\n  \
         publish: [ {{ port: 8080, listen: \"127.0.0.1:0\" }} ]\n  \
         restart: {{ initialBackoff: 1ms, maxBackoff: 1ms, maxRestarts: 1000 }}\n"
    )
}

fn moody() -> String {
    let guest = guest("moody");
    format!(
        "name: moody\nreplicas: 1\nservice:\n  component: {guest}\n  \
         restart: {{ initialBackoff: 1ms }}\n  \
         routes: [ {{ host: {MOODY}, port: 8080 }} ]\n  \
         liveness: {{ http: {{ port: 8080, path: /healthz }}, interval: 50ms, timeout: 500ms, failureThreshold: 2 }}\n"
    )
}

async fn crash(port: SocketAddr, times: u32) {
    for _ in 0..times {
        eventually("it greets a client", async || match greet(port).await {
            Ok((said, _)) if said == "hello\n" => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
}

async fn restarted(cluster: &Cluster, name: &str, times: u32) -> Value {
    eventually("every restart is counted", async || {
        let replica = cluster.replica(name).await;
        let all = replica["restarts"] == times && replica["ready"] == true;
        if all { Ok(replica) } else { Err(replica) }
    })
    .await
}

/// How often the events of a workload say that this happened, over all that are kept.
async fn counted(cluster: &Cluster, name: &str, reasons: &[&str]) -> Vec<u64> {
    let answer = cluster.warren(&["events", name, "-o", "json"]).await;
    let events = answer.json();
    let of = |reason: &&str| {
        let events = events.as_array().unwrap().iter();
        let its = events.filter(|event| event["reason"] == *reason);
        its.map(|event| event["count"].as_u64().unwrap()).sum()
    };
    reasons.iter().map(of).collect()
}

#[tokio::test]
async fn events_during_an_outage_of_the_control_plane_are_counted_exactly() {
    const REASONS: [&str; 4] = ["Exited", "Backoff", "Started", "Ready"];
    let mut cluster = cluster(1).await;
    cluster.apply(&trapper()).await;
    cluster.apply(&moody()).await;
    let port = cluster.published("trapper").await;
    let http = cluster.http();

    // Killed while reports are on their way, and what it was told may not be on its disk.
    crash(port, 3).await;
    cluster.control.process.kill().await;

    // Far more than the transitions that a worker keeps. The port stays where it was.
    crash(port, 40).await;
    assert_eq!(get(http, MOODY, "/").await.text(), "1\n");
    assert_eq!(get(http, MOODY, "/hang").await.status, 200);
    eventually("its liveness probe has it restarted", async || {
        let reply = get(http, MOODY, "/").await;
        match reply.status == 200 && reply.text() == "1\n" {
            true => Ok(()),
            false => Err(reply),
        }
    })
    .await;

    cluster.control.start_again(&cluster.lab).await;
    let replica = restarted(&cluster, "trapper", 43).await;
    let exits = replica["lastExits"].as_array().unwrap();
    assert_eq!(exits.len(), 5, "{exits:#?}");
    assert!(exits.iter().all(|exit| exit["reason"] == "TRAPPED"));
    assert_eq!(exits[0]["time"], replica["lastExit"]["time"]);
    restarted(&cluster, "moody", 1).await;
    assert_eq!(
        counted(&cluster, "trapper", &REASONS).await,
        [43, 43, 44, 44]
    );
    let unhealthy = ["Unhealthy", "Killed", "Exited", "Backoff", "Started"];
    assert_eq!(
        counted(&cluster, "moody", &unhealthy).await,
        [1, 1, 1, 1, 2]
    );

    // Told again, to one that may have heard it all: nothing is counted twice, and nothing is lost.
    crash(port, 2).await;
    restarted(&cluster, "trapper", 45).await;
    cluster.control.process.kill().await;
    cluster.control.start_again(&cluster.lab).await;
    let replica = restarted(&cluster, "trapper", 45).await;
    assert_eq!(replica["lastExits"].as_array().unwrap().len(), 5);
    eventually("the worker has reported everything", async || {
        let counted = counted(&cluster, "trapper", &REASONS).await;
        match counted[..] == [45, 45, 46, 46] {
            true => Ok(()),
            false => Err(counted),
        }
    })
    .await;
}
