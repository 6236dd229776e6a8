//! Fixed published ports, with workers that share one machine.

use std::net::SocketAddr;

use serde_json::Value;
use warren_tests::{Cluster, example, own_loopback};

use crate::cluster;

/// A port that is free now.
fn free() -> SocketAddr {
    let listener = std::net::TcpListener::bind((own_loopback(), 0)).unwrap();
    listener.local_addr().unwrap()
}

fn cache(name: &str, port: SocketAddr) -> String {
    let cache = example("cache");
    format!(
        "name: {name}\nreplicas: 1\nservice:\n  component: {cache}\n  \
         publish: [ {{ port: 6379, listen: \"{port}\" }} ]\n"
    )
}

/// Where the only replica runs, and whether it is ready.
async fn placed(cluster: &Cluster, name: &str) -> (String, Value) {
    let replica = cluster.replica(name).await;
    let worker = replica["worker"].as_str().unwrap().to_owned();
    (worker, replica["ready"].clone())
}

#[tokio::test]
async fn a_workload_with_a_fixed_port_restarts_and_drains_on_a_shared_machine() {
    let cluster = cluster(2).await;
    let port = free();
    cluster.apply(&cache("cache", port)).await;
    cluster.warren(&["restart", "cache", "--wait"]).await.ok();
    let (worker, ready) = placed(&cluster, "cache").await;
    assert_eq!(ready, true);
    let events = cluster.warren(&["events", "cache"]).await.ok();
    assert!(
        events.contains("revision 2 is started once it has stopped"),
        "{events}"
    );
    assert!(
        !events.contains("Failed"),
        "a replica failed before the port was free: {events}"
    );
    cluster.warren(&["drain", &worker, "--wait"]).await.ok();
    warren_tests::eventually("it is ready on the other worker", async || {
        let (other, ready) = placed(&cluster, "cache").await;
        let moved = other != worker && ready == true;
        if moved { Ok(()) } else { Err((other, ready)) }
    })
    .await;
    assert!(std::net::TcpStream::connect(port).is_ok());
}

#[tokio::test]
async fn more_replicas_than_machines_is_refused_at_once_and_so_is_another_workload() {
    let cluster = cluster(2).await;
    let port = free();
    cluster.apply(&cache("cache", port)).await;
    let began = std::time::Instant::now();
    let taken = format!("{port} taken by");
    cluster
        .warren(&["scale", "cache", "2", "--wait", "--timeout", "10m"])
        .await
        .refused(1, &["PortUnavailable", &taken, "another replica", "share"]);
    let other = cluster.lab.write("other.yaml", cache("other", port));
    cluster
        .warren(&["apply", "-f", &other, "--wait", "--timeout", "10m"])
        .await
        .refused(1, &["PortUnavailable", &taken, "workload `default/cache`"]);
    assert!(
        began.elapsed().as_secs() < 300,
        "the time-outs were waited for"
    );
    let workload = cluster.workload("other").await;
    let conditions = workload["status"]["conditions"].as_array().unwrap();
    let ready = conditions
        .iter()
        .find(|one| one["type"] == "Ready")
        .unwrap();
    assert_eq!(ready["reason"], "PortUnavailable", "{ready:#}");
    // It has its turn once the other is gone.
    cluster
        .warren(&["delete", "workload", "cache", "--wait"])
        .await
        .ok();
    cluster
        .warren(&["apply", "-f", &other, "--wait", "--timeout", "50s"])
        .await
        .ok();
}

#[tokio::test]
async fn a_port_in_use_by_another_program_is_reported_at_once_and_taken_when_free() {
    let cluster = cluster(2).await;
    let stranger = std::net::TcpListener::bind((own_loopback(), 0)).unwrap();
    let port = stranger.local_addr().unwrap();
    cluster
        .try_apply(&cache("cache", port))
        .await
        .refused(1, &["PortUnavailable", &format!("cannot listen on {port}")]);
    let replica = cluster.replica("cache").await;
    assert_eq!(replica["phase"], "FAILED");
    let events = cluster.warren(&["events", "cache"]).await.ok();
    assert!(
        events.contains(&format!("2 workers: 2 could not listen on {port}")),
        "{events}"
    );
    drop(stranger);
    warren_tests::eventually("it is tried again", async || {
        let replicas = cluster.replicas("cache").await;
        let ready = replicas.iter().any(|replica| replica["ready"] == true);
        if ready { Ok(()) } else { Err(replicas) }
    })
    .await;
}
