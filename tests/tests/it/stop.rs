//! How a service comes to its end when it is not wanted any more: work in flight first, its grace
//! at most.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use warren_tests::{Cluster, eventually, guest, within};

use crate::cluster;

/// The trapper waits for a line of its first client, answers it, and traps.
fn trapper(more: &str) -> String {
    let guest = guest("trapper");
    format!(
        "name: trapper\nreplicas: 1\nservice:\n  component: {guest}\n  \
         publish: [ {{ port: 8080, listen: \"127.0.0.1:0\" }} ]\n{more}"
    )
}

/// Applied, with a client that the guest has accepted and waits for; and told to stop.
async fn stopping(cluster: &Cluster, manifest: &str) -> TcpStream {
    cluster.apply(manifest).await;
    let client = TcpStream::connect(cluster.published("trapper").await);
    let client = client.await.unwrap();
    let address = client.local_addr().unwrap().to_string();
    eventually("the guest has accepted", async || {
        let logs = cluster.warren(&["logs", "trapper"]).await;
        match logs.stdout.contains(&address) {
            true => Ok(()),
            false => Err(logs),
        }
    })
    .await;
    cluster.warren(&["scale", "trapper", "0"]).await.ok();
    eventually("it is asked to stop", async || {
        let replicas = cluster.replicas("trapper").await;
        match replicas.iter().all(|one| one["phase"] == "STOPPING") {
            true => Ok(()),
            false => Err(replicas),
        }
    })
    .await;
    client
}

/// The replica's events with this reason, once it has stopped.
async fn told(cluster: &Cluster, reason: &str) -> Vec<Value> {
    eventually("the replica has stopped", async || {
        let answer = cluster.warren(&["events", "trapper", "-o", "json"]).await;
        let answer = answer.json();
        let events = answer.as_array().unwrap();
        let of = |reason: &str| -> Vec<Value> {
            let its = events.iter().filter(|event| event["reason"] == reason);
            its.cloned().collect()
        };
        match of("Stopped").is_empty() {
            false => Ok(of(reason)),
            true => Err(answer),
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_in_flight_finishes_within_the_grace() {
    let cluster = cluster(1).await;
    let mut client = stopping(&cluster, &trapper("  stopGrace: 1m\n")).await;
    client.write_all(b"hi\n").await.unwrap();
    let mut said = String::new();
    within("its answer", client.read_to_string(&mut said))
        .await
        .unwrap();
    assert_eq!(said, "hello\n");
    let exited = told(&cluster, "Exited").await;
    assert_eq!(exited.len(), 1, "{exited:#?}");
    for killed in told(&cluster, "Killed").await {
        assert_eq!(killed["type"], "NORMAL", "{killed:#}");
    }
}

#[tokio::test]
async fn connections_that_outlive_the_grace_period_are_ended() {
    const GRACE: Duration = Duration::from_secs(2);
    let cluster = cluster(1).await;
    let begun = Instant::now();
    let mut client = stopping(&cluster, &trapper("  stopGrace: 2s\n")).await;
    let mut rest = Vec::new();
    let end = within("the end of the connection", client.read_to_end(&mut rest)).await;
    assert!(end.is_err(), "a truncated response ended cleanly: {rest:?}");
    assert!(begun.elapsed() >= GRACE, "after {:?}", begun.elapsed());
    let killed = told(&cluster, "Killed").await;
    assert_eq!(killed.len(), 1, "{killed:#?}");
    assert_eq!(killed[0]["type"], "WARNING", "{killed:#?}");
    assert!(
        killed[0]["message"].as_str().unwrap().contains("stopGrace"),
        "{killed:#?}"
    );
}

/// One that is to end some day has its grace for that, also when nothing is in flight: here it ends
/// by itself.
#[tokio::test]
async fn a_service_that_returns_is_waited_for() {
    let cluster = cluster(1).await;
    let manifest = trapper("  stopGrace: 1m\n  restart: { policy: on-failure }\n");
    let mut client = stopping(&cluster, &manifest).await;
    client.write_all(b"hi\n").await.unwrap();
    let exited = told(&cluster, "Exited").await;
    let message = exited[0]["message"].as_str().unwrap();
    assert!(
        message.starts_with("the service trapped after "),
        "{message}"
    );
    assert_eq!(told(&cluster, "Killed").await, Vec::<Value>::new());
}
