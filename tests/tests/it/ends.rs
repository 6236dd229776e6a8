//! Completed and failed services do not run again, whatever happens to their workers.

use serde_json::Value;
use warren_tests::{Cluster, eventually, guest};

use crate::{http_echo, lab};

/// Ends with this code as soon as it is started.
fn job(policy: &str, code: u32) -> String {
    let hostile = guest("hostile");
    format!(
        "name: job\nreplicas: 1\nservice: {{ component: {hostile}, args: [ exit, \"{code}\" ], \
         restart: {{ policy: {policy} }} }}\n"
    )
}

/// The worker that runs the only replica of `job`, and the replica.
async fn placed(cluster: &Cluster) -> (usize, Value) {
    let replica = cluster.replica("job").await;
    let name = replica["worker"].as_str().unwrap();
    let number = cluster
        .workers
        .iter()
        .position(|worker| worker.name == name);
    (number.unwrap(), replica)
}

/// How often the service of `job` was started.
async fn starts(cluster: &Cluster) -> u64 {
    let events = cluster.warren(&["events", "job", "-o", "json"]).await;
    let events = events.json();
    let started = |event: &&Value| event["reason"] == "Started";
    let counts = events.as_array().unwrap().iter().filter(started);
    counts.map(|event| event["count"].as_u64().unwrap()).sum()
}

/// What is left of `echo`, which has a replica on each worker, has moved: the control plane has
/// seen what became of them.
async fn others_have_moved(cluster: &Cluster, from: &str) {
    eventually("the other workload has moved", async || {
        let replicas = cluster.replicas("echo").await;
        let there = |replica: &&Value| replica["ready"] == true && replica["worker"] != from;
        let moved = replicas.iter().filter(there).count() == 2;
        if moved { Ok(()) } else { Err(replicas) }
    })
    .await;
}

async fn two_workers() -> Cluster {
    let cluster = Cluster::start_with(lab(), 2, &["--worker-timeout", "2s"], &[]).await;
    let echo = http_echo("  env: { COLOUR: red }\n").replace("replicas: 1", "replicas: 2");
    cluster.apply(&echo).await;
    cluster
}

#[tokio::test]
async fn a_completed_service_does_not_run_again_when_its_worker_stops_in_order() {
    let mut cluster = two_workers().await;
    cluster.apply(&job("on-failure", 0)).await;
    let (number, before) = placed(&cluster).await;
    assert_eq!(before["phase"], "COMPLETED");
    assert!(cluster.workers[number].stop().await.success());
    let name = cluster.workers[number].name.clone();
    others_have_moved(&cluster, &name).await;
    let (_, after) = placed(&cluster).await;
    assert_eq!(
        (&after["id"], &after["phase"]),
        (&before["id"], &before["phase"])
    );
    // Nor when the worker is back.
    let again = warren_tests::Worker::start(&cluster.lab, &cluster.control.url, &name, &[]).await;
    cluster.workers[number] = again;
    eventually("the worker is back", async || {
        let workers = cluster
            .warren(&["get", "workers", "-o", "json"])
            .await
            .json();
        let ready = |worker: &&Value| worker["ready"] == true;
        let both = workers.as_array().unwrap().iter().filter(ready).count() == 2;
        if both { Ok(()) } else { Err(workers) }
    })
    .await;
    let (_, after) = placed(&cluster).await;
    assert_eq!(
        (&after["id"], &after["phase"]),
        (&before["id"], &before["phase"])
    );
    assert_eq!(starts(&cluster).await, 1);
    // Another revision is another matter.
    cluster.warren(&["restart", "job", "--wait"]).await.ok();
    assert_eq!(starts(&cluster).await, 2);
}

#[tokio::test]
async fn a_completed_service_does_not_run_again_when_its_worker_is_drained_or_killed() {
    let mut cluster = two_workers().await;
    cluster.apply(&job("on-failure", 0)).await;
    let (number, before) = placed(&cluster).await;
    let name = cluster.workers[number].name.clone();
    cluster.warren(&["drain", &name, "--wait"]).await.ok();
    others_have_moved(&cluster, &name).await;
    cluster.workers[number].process.kill().await;
    cluster.warren(&["scale", "echo", "1", "--wait"]).await.ok();
    cluster.warren(&["scale", "echo", "2", "--wait"]).await.ok();
    let (_, after) = placed(&cluster).await;
    assert_eq!(
        (&after["id"], &after["phase"]),
        (&before["id"], &before["phase"])
    );
    assert_eq!(starts(&cluster).await, 1);
}

#[tokio::test]
async fn a_service_that_never_restarts_keeps_its_failure_unless_it_is_to_be_replaced() {
    let cluster = two_workers().await;
    let failed = ["never", "never, onFailed: replace"].map(|policy| job(policy, 3));
    let answer = cluster.try_apply(&failed[0]).await;
    answer.refused(1, &["EXITED with code 3"]);
    let (_, before) = placed(&cluster).await;
    assert_eq!(before["phase"], "FAILED");
    // The other policy replaces it, after its backoff of ten seconds: the control plane acts on
    // what it sees.
    let replaced = failed[1].replace("name: job", "name: again");
    cluster
        .try_apply(&replaced)
        .await
        .refused(1, &["EXITED with code 3"]);
    let first = cluster.replica("again").await;
    eventually("another replica takes its place", async || {
        let replicas = cluster.replicas("again").await;
        let other = replicas.iter().any(|replica| replica["id"] != first["id"]);
        if other { Ok(()) } else { Err(replicas) }
    })
    .await;
    // That was made later and is older than what is kept.
    let (_, after) = placed(&cluster).await;
    assert_eq!(after["id"], before["id"]);
    assert_eq!(starts(&cluster).await, 1);
}
