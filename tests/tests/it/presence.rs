//! Workers that return under another name, meet another cluster, or stop gracefully.

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use tokio::net::TcpStream;
use warren_tests::{Cluster, Worker, eventually, get, guest};

use crate::{
    cluster,
    counter::{count, manifest},
    lab,
};

/// Longer than anything here waits: what happens before is not for the timeout.
const PATIENT: [&str; 2] = ["--worker-timeout", "300s"];

async fn worker(cluster: &Cluster, name: &str) -> Value {
    let known = cluster.warren(&["get", "workers", "-o", "json"]).await;
    let known = known.json();
    let mut known = known.as_array().unwrap().iter();
    let worker = known.find(|worker| worker["name"] == name);
    worker.cloned().unwrap_or_default()
}

/// Waits until the workload's only replica is ready on another worker than this one.
async fn elsewhere(cluster: &Cluster, name: &str, than: &str) -> Value {
    eventually("another replica is ready elsewhere", async || {
        let replicas = cluster.replicas(name).await;
        let is_new = |one: &&Value| one["ready"] == true && one["worker"] != than;
        replicas.iter().find(is_new).cloned().ok_or(replicas)
    })
    .await
}

/// The place in the cluster of the worker that runs the workload's only replica.
async fn home(cluster: &Cluster, name: &str) -> usize {
    let replica = cluster.replica(name).await;
    let mut workers = cluster.workers.iter();
    let at = workers.position(|worker| replica["worker"] == *worker.name);
    at.unwrap()
}

fn copy_directory(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// A service that is in no hurry to stop.
fn slow(grace: &str) -> String {
    let echo = guest("wstd-echo");
    format!(
        "name: slow\nreplicas: 1\nservice: {{ component: {echo}, args: [ \"7070\" ], stopGrace: {grace}, \
         publish: [ {{ port: 7070, listen: \"127.0.0.1:0\" }} ] }}\n"
    )
}

#[tokio::test]
async fn a_renamed_worker_runs_what_it_is_assigned() {
    let mut cluster = Cluster::start_with(lab(), 1, &PATIENT, &[]).await;
    cluster.apply(&manifest("counter")).await;
    for _ in 0..3 {
        let restart = ["restart", "counter", "--wait"];
        cluster.warren(&restart).await.ok();
    }
    let mut gone = cluster.workers.remove(0);
    gone.stop().await;
    let (lab, control) = (&cluster.lab, &cluster.control.url);
    let renamed = Worker::start_on(lab, control, "z", "w1", &[]).await;
    cluster.workers.push(renamed);
    let replica = elsewhere(&cluster, "counter", "w1").await;
    assert_eq!(replica["worker"], "z");
    assert_eq!(count(cluster.http(), "counter").await.number, 1);
    let before = worker(&cluster, "w1").await;
    assert_eq!(before["conditions"][0]["reason"], "Stopped", "{before:#}");
    let retired = cluster.warren(&["delete", "worker", "w1"]).await.ok();
    assert!(retired.contains("worker/w1 deleted"), "{retired}");
    assert_eq!(worker(&cluster, "w1").await, Value::Null);
    let connected = cluster.warren(&["delete", "worker", "z"]).await;
    connected.refused(1, &["worker `z` is connected", "warren drain z --wait"]);
}

#[tokio::test]
async fn a_worker_ignores_another_cluster_until_it_is_restarted() {
    let mut cluster = cluster(1).await;
    cluster.apply(&manifest("counter")).await;
    assert_eq!(count(cluster.http(), "counter").await.number, 1);
    // Its control plane is recreated at the same address.
    cluster.control.process.terminate().await;
    fs::remove_dir_all(cluster.lab.path("control")).unwrap();
    cluster.control.start_again(&cluster.lab).await;
    eventually("the control plane says why it is not ready", async || {
        let table = cluster.warren(&["get", "workers"]).await.ok();
        if table.contains("no,OtherCluster") {
            Ok(())
        } else {
            Err(table)
        }
    })
    .await;
    let shown = worker(&cluster, "w1").await;
    let why = shown["conditions"][0]["message"].as_str().unwrap();
    assert!(why.contains("start it again"), "{why}");
    let described = cluster.warren(&["describe", "worker", "w1"]).await.ok();
    assert!(described.contains("start it again"), "{described}");

    let only = &cluster.workers[0];
    assert!(only.process.stderr().contains("start it again"));
    let ready = get(only.listen, "w1", "/readyz").await;
    assert_eq!(ready.status, 503, "{ready:?}");
    let why = String::from_utf8_lossy(&ready.body);
    assert!(why.contains("start it again"), "{why}");
    assert_eq!(get(only.listen, "w1", "/healthz").await.status, 200);
    let number = count(only.http, "counter").await.number;
    assert_eq!(number, 2, "the running service continues");

    let mut gone = cluster.workers.remove(0);
    gone.stop().await;
    let again = Worker::start(&cluster.lab, &cluster.control.url, "w1", &[]).await;
    cluster.workers.push(again);
    cluster.apply(&manifest("counter")).await;
    assert_eq!(count(cluster.http(), "counter").await.number, 1);
    let ready = get(cluster.workers[0].listen, "w1", "/readyz").await;
    assert_eq!(ready.status, 200, "{ready:?}");
}

#[tokio::test]
async fn a_restarted_worker_follows_a_control_plane_whose_data_was_rolled_back() {
    let mut cluster = cluster(1).await;
    cluster.control.process.terminate().await;
    let (data, copy) = (cluster.lab.path("control"), cluster.lab.path("copy"));
    copy_directory(&data, &copy);
    // The worker hears of a term that the copy knows nothing of.
    cluster.control.start_again(&cluster.lab).await;
    cluster.apply(&manifest("counter")).await;
    cluster.control.process.terminate().await;
    cluster.control.start_again(&cluster.lab).await;
    let heard = async || worker(&cluster, "w1").await["ready"] == true;
    eventually(
        "it is back",
        async || if heard().await { Ok(()) } else { Err(()) },
    )
    .await;
    cluster.control.process.terminate().await;
    fs::remove_dir_all(&data).unwrap();
    copy_directory(&copy, &data);
    cluster.control.start_again(&cluster.lab).await;
    eventually("it is not followed", async || {
        let shown = worker(&cluster, "w1").await;
        let reason = &shown["conditions"][0]["reason"];
        if reason == "LaterTerm" {
            Ok(())
        } else {
            Err(shown)
        }
    })
    .await;
    let only = &cluster.workers[0];
    assert_eq!(count(only.http, "counter").await.number, 1);
    let mut gone = cluster.workers.remove(0);
    gone.stop().await;
    let again = Worker::start(&cluster.lab, &cluster.control.url, "w1", &[]).await;
    cluster.workers.push(again);
    cluster.apply(&manifest("counter")).await;
    assert_eq!(count(cluster.http(), "counter").await.number, 1);
}

#[tokio::test]
async fn of_a_copied_data_directory_the_later_worker_is_admitted() {
    let mut cluster = Cluster::start_with(lab(), 1, &PATIENT, &[]).await;
    let (data, copy) = (cluster.lab.path("w1"), cluster.lab.path("w2"));
    copy_directory(&data, &copy);
    let second = Worker::start(&cluster.lab, &cluster.control.url, "w2", &[]).await;
    cluster.workers.push(second);
    eventually("the earlier worker learns the reason", async || {
        let (one, two) = (worker(&cluster, "w1").await, worker(&cluster, "w2").await);
        let told = one["conditions"][0]["reason"] == "CopiedId" && two["ready"] == true;
        if told { Ok(()) } else { Err((one, two)) }
    })
    .await;
    let said = cluster.workers[0].process.stderr();
    assert!(said.contains("removing the file worker-id"), "{said}");
}

#[tokio::test]
async fn a_stopping_worker_hands_over_its_replicas_at_once() {
    let mut cluster = Cluster::start_with(lab(), 2, &PATIENT, &[]).await;
    cluster.apply(&manifest("counter")).await;
    let at = home(&cluster, "counter").await;
    let mut gone = cluster.workers.remove(at);
    gone.stop().await;
    elsewhere(&cluster, "counter", &gone.name).await;
    assert_eq!(count(cluster.http(), "counter").await.number, 1);
    let table = cluster.warren(&["get", "workers"]).await.ok();
    assert!(table.contains("no,Stopped"), "{table}");

    // The last one that stops has nobody to give them to: they wait, and come to whoever is there
    // first.
    let mut last = cluster.workers.remove(0);
    last.stop().await;
    eventually("the reason why it waits is reported", async || {
        let described = cluster
            .warren(&["describe", "workload", "counter"])
            .await
            .ok();
        if described.contains("2 workers: 2 stopped") {
            Ok(())
        } else {
            Err(described)
        }
    })
    .await;
    let back = Worker::start(&cluster.lab, &cluster.control.url, &gone.name, &[]).await;
    cluster.workers.push(back);
    elsewhere(&cluster, "counter", &last.name).await;
    assert_eq!(count(cluster.http(), "counter").await.number, 1);
}

#[tokio::test]
async fn a_worker_that_returns_soon_gets_its_replicas_back() {
    let keeps = ["--stop-keeps", "300s"];
    let mut cluster = Cluster::start_with(lab(), 2, &PATIENT, &keeps).await;
    cluster.apply(&slow("100ms")).await;
    let before = cluster.replica("slow").await;
    let at = home(&cluster, "slow").await;
    let mut gone = cluster.workers.remove(at);
    gone.stop().await;
    let kept = cluster.replica("slow").await;
    assert_eq!(
        (&kept["id"], &kept["worker"], &kept["phase"], &kept["ready"]),
        (
            &before["id"],
            &before["worker"],
            &"PENDING".into(),
            &false.into()
        ),
        "{kept:#}"
    );
    let described = cluster
        .warren(&["describe", "worker", &gone.name])
        .await
        .ok();
    assert!(described.contains("kept for it until"), "{described}");

    let back = Worker::start(&cluster.lab, &cluster.control.url, &gone.name, &keeps).await;
    cluster.workers.push(back);
    let after = eventually("it runs again", async || {
        let replica = cluster.replica("slow").await;
        if replica["ready"] == true {
            Ok(replica)
        } else {
            Err(replica)
        }
    })
    .await;
    assert_eq!(
        (&after["id"], &after["worker"], &after["restarts"]),
        (&before["id"], &before["worker"], &1.into()),
        "{after:#}"
    );
}

#[tokio::test]
async fn a_second_signal_ends_a_worker_that_has_handed_over_its_replicas() {
    let mut cluster = Cluster::start_with(lab(), 2, &PATIENT, &[]).await;
    cluster.apply(&slow("300s")).await;
    // It waits for its clients.
    let client = TcpStream::connect(cluster.published("slow").await).await;
    let at = home(&cluster, "slow").await;
    let mut gone = cluster.workers.remove(at);
    gone.process.ask_to_terminate();
    elsewhere(&cluster, "slow", &gone.name).await;
    assert!(gone.process.is_alive(), "it did not wait for its service");
    let table = cluster.warren(&["get", "workers"]).await.ok();
    assert!(table.contains("stopping"), "{table}");
    let status = gone.process.terminate().await;
    assert_eq!(status.code(), Some(130));
    drop(client.unwrap());
}
