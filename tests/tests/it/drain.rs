//! A worker is drained while clients keep sending requests.

use serde_json::Value;
use warren_tests::{Cluster, eventually};

use crate::{cluster, http_echo, lab};

async fn workers_of(cluster: &Cluster) -> Vec<String> {
    let mut replicas = cluster.replicas("echo").await;
    // What has stopped is there for a moment more.
    replicas.retain(|replica| replica["phase"] != "STOPPED");
    let worker = |replica: &Value| replica["worker"].as_str().unwrap().to_owned();
    replicas.iter().map(worker).collect()
}

#[tokio::test]
async fn a_drained_worker_is_empty_and_may_be_used_again() {
    let cluster = cluster(2).await;
    let two = http_echo("  env: { COLOUR: red }\n").replace("replicas: 1", "replicas: 2");
    cluster.apply(&two).await;
    assert_eq!(workers_of(&cluster).await.len(), 2);
    let said = cluster.warren(&["drain", "w1", "--wait"]).await.ok();
    assert!(
        said.contains("worker/w1 is being drained: 1 replica to move")
            && said.contains("worker/w1 drained"),
        "{said}"
    );
    assert_eq!(workers_of(&cluster).await, ["w2", "w2"]);
    let table = cluster.warren(&["get", "workers"]).await.ok();
    assert!(table.contains("drained"), "{table}");
    cluster.warren(&["uncordon", "w1"]).await.ok();
    cluster.warren(&["drain", "w2", "--wait"]).await.ok();
    assert_eq!(workers_of(&cluster).await, ["w1", "w1"]);
    assert_eq!(
        cluster.get("echo.localhost", "/env").await.text(),
        "COLOUR=red\n"
    );
    cluster.warren(&["drain", "w3"]).await.refused(1, &["w3"]);
}

#[tokio::test]
async fn a_blocked_drain_says_what_blocks_it() {
    let mut cluster = Cluster::start_with(lab(), 1, &["--worker-timeout", "3s"], &[]).await;
    cluster.apply(&http_echo("")).await;
    let before = cluster.replica("echo").await;
    let drain = ["drain", "w1", "--wait", "--timeout", "1s"];
    let held_up = [
        "worker/w1 still has 1 replica after 1s; the drain continues",
        "default/echo: 1 replica has no other worker: 1 worker: 1 cordoned",
    ];
    cluster.warren(&drain).await.refused(1, &held_up);
    assert_eq!(cluster.get("echo.localhost", "/env").await.status, 200);
    cluster.control.process.kill().await;
    cluster.control.start_again(&cluster.lab).await;
    let described = eventually("the drain continues", async || {
        let described = cluster.warren(&["describe", "worker", "w1"]).await.ok();
        let told = described.contains(held_up[1]);
        if told { Ok(described) } else { Err(described) }
    })
    .await;
    assert!(described.contains("drained since"), "{described}");
    cluster.warren(&["uncordon", "w1"]).await.ok();
    let after = eventually("only one replica is left", async || {
        let mut replicas = cluster.replicas("echo").await;
        if replicas.len() == 1 {
            Ok(replicas.remove(0))
        } else {
            Err(replicas)
        }
    })
    .await;
    assert_eq!(before["id"], after["id"]);
}
