//! The memory and processor time that replicas use.

use serde_json::Value;
use warren_tests::{Cluster, eventually, guest};

use crate::lab;

/// Of a service that computes, and of one that waits.
fn manifest(name: &str, how: &str) -> String {
    let guest = guest("std-net");
    format!("name: {name}\nreplicas: 1\nservice: {{ component: {guest}, args: {how} }}\n")
}

fn cpu_time(replica: &Value) -> f64 {
    let time = replica["usage"]["cpuTime"].as_str().unwrap_or("0s");
    time.trim_end_matches('s').parse().unwrap()
}

#[tokio::test]
async fn usage_reports_memory_and_processor_time_without_waking_watchers() {
    // Heartbeats are a part of the timeout.
    let cluster = Cluster::start_with(lab(), 1, &["--worker-timeout", "2s"], &[]).await;
    cluster.apply(&manifest("busy", "[ exit, spin ]")).await;
    cluster
        .apply(&manifest("idle", "[ bind, \"127.0.0.1:8080\", --hold ]"))
        .await;
    let watch = cluster.follow("replicas", &["get", "replicas", "busy", "-w", "-o", "json"]);
    let first = eventually("a rate is reported", async || {
        let replica = cluster.replica("busy").await;
        match replica["usage"]["cpuMillicores"].as_u64() {
            Some(1..) => Ok(replica),
            _ => Err(replica),
        }
    })
    .await;
    let later = eventually("more time is used", async || {
        let replica = cluster.replica("busy").await;
        match cpu_time(&replica) > cpu_time(&first) {
            true => Ok(replica),
            false => Err(replica),
        }
    })
    .await;
    let bytes = |replica: &Value| -> u64 {
        let bytes = &replica["usage"]["memoryBytes"];
        bytes.as_str().unwrap().parse().unwrap()
    };
    assert!(bytes(&later) >= 64 << 10, "{later:#}");
    // Nothing of it is stored, and nobody who watches is told.
    assert_eq!(later["resourceVersion"], first["resourceVersion"]);
    assert_eq!(watch.stdout().len(), 1, "{:#?}", watch.stdout());
    assert!(
        !watch.stdout()[0].contains("memoryBytes"),
        "{:#?}",
        watch.stdout()
    );

    let idle = eventually("the idle replica is reported too", async || {
        let replica = cluster.replica("idle").await;
        match replica["usage"]["cpuMillicores"].as_u64() {
            Some(_) => Ok(replica),
            None => Err(replica),
        }
    })
    .await;
    assert!(bytes(&idle) >= 64 << 10, "{idle:#}");
    assert!(cpu_time(&idle) < cpu_time(&later), "{idle:#} {later:#}");

    let table = cluster
        .warren(&["get", "replicas", "busy", "-o", "wide"])
        .await
        .ok();
    assert!(
        table.contains(" MEMORY ") && table.contains("iB ") && table.contains('%'),
        "{table}"
    );
    let text = cluster.warren(&["describe", "workload", "busy"]).await.ok();
    assert!(
        text.contains(" of a core, ") && text.contains("uses "),
        "{text}"
    );
}
