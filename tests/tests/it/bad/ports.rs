//! Ports that are already in use, and ports that a guest may not bind.

use serde_json::Value;
use tokio::net::TcpListener;
use warren_tests::{eventually, example, own_loopback};

use super::Standing;
use crate::{counter::count, http_echo};

fn published(name: &str, address: &str) -> String {
    format!(
        "name: {name}\nreplicas: 1\nservice:\n  component: {}\n  publish: [ {{ port: 6379, listen: \"{address}\" }} ]\n",
        example("cache")
    )
}

fn condition<'a>(replica: &'a Value, kind: &str) -> &'a Value {
    let conditions = replica["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|one| one["type"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {replica:#}"))
}

#[tokio::test]
async fn a_host_port_of_another_process_fails_the_replica_with_the_address() {
    let mut standing = Standing::start().await;
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let cluster = &standing.cluster;
    let answer = cluster.try_apply(&published("cache", &taken)).await;
    answer.refused(1, &["workload/cache", "PortUnavailable", &taken]);
    let failed = eventually("a replica has failed", async || {
        let replicas = cluster.replicas("cache").await;
        let failed = replicas.iter().find(|one| one["phase"] == "FAILED");
        failed.cloned().ok_or(replicas)
    })
    .await;
    let started = condition(&failed, "Started");
    assert_eq!(
        (&started["status"], &started["reason"]),
        (&"FALSE".into(), &"PortUnavailable".into()),
        "{started:#}"
    );
    let message = started["message"].as_str().unwrap();
    assert!(message.contains(&taken), "{message}");
    let describe = cluster
        .warren(&["describe", "workload", "cache"])
        .await
        .ok();
    assert!(describe.contains(&taken), "{describe}");
    cluster
        .warren(&["delete", "workload", "cache", "--wait"])
        .await
        .ok();
    standing.unharmed().await;
}

#[tokio::test]
async fn a_host_port_of_another_workload_names_that_workload() {
    let mut standing = Standing::start().await;
    let cluster = &standing.cluster;
    // Of an address that nobody connects from, so that it stays free.
    let free = TcpListener::bind((own_loopback(), 0)).await.unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    cluster.apply(&published("first", &address)).await;
    let file = cluster
        .lab
        .write("second.yaml", published("second", &address));
    let apply = ["apply", "-f", &file, "--wait", "--timeout", "3s"];
    let answer = cluster.warren(&apply).await;
    answer.refused(1, &["workload/second", &address, "default/first"]);
    // It waits for the place, and has it as soon as it is free.
    cluster
        .warren(&["delete", "workload", "first", "--wait"])
        .await
        .ok();
    cluster.warren(&["apply", "-f", &file, "--wait"]).await.ok();
    cluster
        .warren(&["delete", "workload", "second", "--wait"])
        .await
        .ok();
    standing.unharmed().await;
}

#[tokio::test]
async fn a_component_that_binds_a_port_is_denied_and_continues() {
    let standing = Standing::start().await;
    let cluster = &standing.cluster;
    cluster.apply(&http_echo("")).await;
    let service = count(cluster.http(), "counter").await.service;
    for address in [
        "127.0.0.1:8080",
        "127.0.0.1:0",
        "0.0.0.0:6379",
        "[::1]:8080",
    ] {
        let bind = cluster
            .get("echo.localhost", &format!("/bind/{address}"))
            .await;
        // `access-denied`, as the standard library calls it.
        let told = bind.text();
        assert!(
            told.starts_with("error PermissionDenied: "),
            "{address}: {told}"
        );
        assert_eq!(cluster.get("echo.localhost", "/").await.text(), "hello\n");
    }
    assert_eq!(cluster.replica("echo").await["restarts"], 0);
    assert_eq!(count(cluster.http(), "counter").await.service, service);
}
