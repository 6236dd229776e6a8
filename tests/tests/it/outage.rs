//! What keeps working while the control plane or a worker is down.

mod counts;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::Value;
use warren_tests::{Cluster, Worker, eventually, get, guest};

use crate::{
    cluster,
    counter::{count, manifest},
    lab,
};

const WORKLOADS: usize = 20;

/// A workload that is not the counter: a small service on a localhost of its own.
fn echo(name: &str) -> String {
    let echo = guest("wstd-echo");
    format!("name: {name}\nreplicas: 1\nservice: {{ component: {echo}, args: [ \"7070\" ] }}\n")
}

/// Every workload's generation, and every replica with its restarts, by name and id.
type Known = (BTreeMap<String, Value>, BTreeMap<String, Value>);

async fn known(cluster: &Cluster) -> Known {
    let take = async |what: &str, id: &str, fields: &[&str]| {
        let items = cluster.warren(&["get", what, "-o", "json"]).await.json();
        let items = items.as_array().unwrap().iter();
        items
            .map(|item| {
                let kept = fields.iter().map(|field| item[field].clone()).collect();
                (item[id].as_str().unwrap().to_owned(), Value::Array(kept))
            })
            .collect()
    };
    (
        take(
            "workloads",
            "name",
            &["uid", "generation", "revision", "spec"],
        )
        .await,
        take(
            "replicas",
            "id",
            &["workload", "worker", "phase", "ready", "restarts"],
        )
        .await,
    )
}

#[tokio::test]
async fn a_killed_control_plane_forgets_nothing_and_disturbs_nothing() {
    let mut cluster = cluster(2).await;
    let mut manifests = vec![manifest("counter")];
    manifests.extend((1..WORKLOADS).map(|number| echo(&format!("echo-{number}"))));
    cluster.apply(&manifests.join("---\n")).await;
    let before = known(&cluster).await;
    assert_eq!((before.0.len(), before.1.len()), (WORKLOADS, WORKLOADS));
    for replica in before.1.values() {
        assert_eq!(
            (&replica[2], &replica[3]),
            (&"RUNNING".into(), &true.into()),
            "{replica}"
        );
    }
    let on = |worker: &str| {
        before
            .1
            .values()
            .filter(|replica| replica[1] == worker)
            .count()
    };
    assert_eq!(
        (on("w1"), on("w2")),
        (WORKLOADS / 2, WORKLOADS / 2),
        "not spread"
    );
    let home = cluster.replica("counter").await["worker"].clone();
    let home = cluster
        .workers
        .iter()
        .find(|worker| worker.name == home)
        .unwrap()
        .http;
    for expected in 1..=3 {
        assert_eq!(count(home, "counter").await.number, expected);
    }

    cluster.control.process.kill().await;
    let answer = cluster.warren(&["get", "workloads"]).await;
    answer.refused(1, &["cannot reach a control plane", &cluster.control.url]);
    assert_eq!(
        count(home, "counter").await.number,
        4,
        "the worker serves alone"
    );

    cluster.control.start_again(&cluster.lab).await;
    eventually("both workers are back", async || {
        let workers = cluster
            .warren(&["get", "workers", "-o", "json"])
            .await
            .json();
        let ready = |worker: &Value| worker["ready"] == true;
        match workers.as_array().unwrap().iter().all(ready) {
            true => Ok(()),
            false => Err(workers),
        }
    })
    .await;
    assert_eq!(known(&cluster).await, before);
    assert_eq!(count(home, "counter").await.number, 5);

    // It goes on as if nothing had been, and what ran still runs after it has looked at everything.
    cluster.apply(&echo("late")).await;
    let mut after = known(&cluster).await;
    assert!(after.0.remove("late").is_some());
    after.1.retain(|_, replica| replica[0] != "late");
    assert_eq!(after, before);
    assert_eq!(count(home, "counter").await.number, 6);
}

#[tokio::test]
async fn replicas_of_a_killed_worker_are_replaced() {
    let timeout = Duration::from_secs(2);
    let mut cluster = Cluster::start_with(lab(), 2, &["--worker-timeout", "2s"], &[]).await;
    cluster.apply(&manifest("counter")).await;
    let lost = cluster.replica("counter").await;
    let at = cluster
        .workers
        .iter()
        .position(|worker| lost["worker"] == *worker.name);
    let mut gone = cluster.workers.remove(at.unwrap());
    assert_eq!(count(gone.http, "counter").await.number, 1);

    let killed = Instant::now();
    gone.process.kill().await;
    let new = eventually("another replica is ready elsewhere", async || {
        let replicas = cluster.replicas("counter").await;
        let new = replicas
            .iter()
            .find(|one| one["ready"] == true && one["id"] != lost["id"]);
        new.cloned().ok_or(replicas)
    })
    .await;
    // A heartbeat is older than the kill by its interval at most, which is a part of the timeout.
    assert!(
        killed.elapsed() > timeout / 2,
        "replaced before the timeout"
    );
    assert_eq!(new["worker"], *cluster.workers[0].name);
    assert_eq!(
        count(cluster.http(), "counter").await.number,
        1,
        "a new service, a new state"
    );

    let worker = cluster
        .warren(&["get", "workers", &gone.name, "-o", "json"])
        .await
        .json();
    assert_eq!(worker["ready"], false, "{worker:#}");
    let events = cluster
        .warren(&["events", "counter", "-o", "json"])
        .await
        .json();
    let object = format!("replica/{}", lost["id"].as_str().unwrap());
    let of_lost = |event: &&Value| event["object"] == object && event["reason"] == "Lost";
    let event = events.as_array().unwrap().iter().find(of_lost);
    assert!(
        event.is_some_and(|event| event["type"] == "WARNING"),
        "{events:#}"
    );
}

#[tokio::test]
async fn a_worker_that_starts_again_in_time_gets_its_replicas_back() {
    let mut cluster = cluster(1).await;
    cluster.apply(&manifest("counter")).await;
    let before = cluster.replica("counter").await;
    assert_eq!(count(cluster.http(), "counter").await.number, 1);
    let id = worker_id(&cluster).await;

    let mut gone = cluster.workers.remove(0);
    gone.process.kill().await;
    let back = Worker::start(&cluster.lab, &cluster.control.url, "w1", &[]).await;
    cluster.workers.push(back);
    eventually("the counter counts from the start", async || {
        let reply = cluster.get("counter.localhost", "/").await;
        if reply.status == 200 {
            Ok(())
        } else {
            Err(reply)
        }
    })
    .await;
    assert_eq!(worker_id(&cluster).await, id, "it has another identity");
    let after = eventually("the start is counted as a restart", async || {
        let replica = cluster.replica("counter").await;
        let counted = replica["restarts"] == 1 && replica["ready"] == true;
        if counted { Ok(replica) } else { Err(replica) }
    })
    .await;
    assert_eq!(
        (&after["id"], &after["worker"]),
        (&before["id"], &before["worker"])
    );
}

async fn worker_id(cluster: &Cluster) -> Value {
    let worker = cluster
        .warren(&["get", "workers", "w1", "-o", "json"])
        .await
        .json();
    worker["id"].clone()
}

#[tokio::test]
async fn a_worker_that_comes_back_too_late_runs_nothing_of_what_was_replaced() {
    let mut cluster = Cluster::start_with(lab(), 2, &["--worker-timeout", "1s"], &[]).await;
    cluster.apply(&manifest("counter")).await;
    let lost = cluster.replica("counter").await;
    let at = cluster
        .workers
        .iter()
        .position(|worker| lost["worker"] == *worker.name);
    let paused = cluster.workers.remove(at.unwrap());
    let old = count(paused.http, "counter").await.service;
    // It is not dead, only silent: its service goes on where it was.
    paused.process.pause();
    let new = eventually("another replica is ready elsewhere", async || {
        let replicas = cluster.replicas("counter").await;
        let new = replicas
            .iter()
            .find(|one| one["ready"] == true && one["id"] != lost["id"]);
        new.cloned().ok_or(replicas)
    })
    .await;
    paused.process.resume();
    eventually("the old service does not answer", async || {
        let reply = get(paused.http, "counter.localhost", "/").await;
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        if body.contains(&old) {
            Err(body)
        } else {
            Ok(())
        }
    })
    .await;
    let only = eventually("only the new replica is left", async || {
        let mut replicas = cluster.replicas("counter").await;
        if replicas.len() == 1 {
            Ok(replicas.remove(0))
        } else {
            Err(replicas)
        }
    })
    .await;
    assert_eq!(only["id"], new["id"]);
    assert_ne!(count(cluster.http(), "counter").await.service, old);
}
