//! The ports and addresses on which an operator lets workloads publish.

use serde_json::Value;
use tokio::net::TcpListener;
use warren_tests::{Cluster, Worker, eventually, example, own_loopback};

use crate::{cluster, lab};

fn published(name: &str, address: &str) -> String {
    format!(
        "name: {name}\nreplicas: 1\nservice:\n  component: {}\n  publish: [ {{ port: 6379, listen: \"{address}\" }} ]\n",
        example("cache")
    )
}

/// What the condition `Started` of a replica says that could not start.
async fn refused(cluster: &Cluster, name: &str) -> String {
    let failed = eventually("a replica has failed", async || {
        let replicas = cluster.replicas(name).await;
        let failed = replicas.iter().find(|one| one["phase"] == "FAILED");
        failed.cloned().ok_or(replicas)
    })
    .await;
    let conditions = failed["conditions"].as_array().unwrap();
    let is_started = |one: &&Value| one["type"] == "Started";
    let started = conditions.iter().find(is_started).unwrap();
    assert_eq!(started["reason"], "PortUnavailable", "{started:#}");
    started["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_port_outside_publish_allow_is_refused_with_the_allowed_ones() {
    // Of an address that nobody connects from, so that the ports stay free.
    let host = own_loopback();
    let free = TcpListener::bind((host, 0)).await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let rule = format!("{host}:{port}");
    let flags = ["--publish-allow", rule.as_str()];
    let cluster = Cluster::start_with(lab(), 1, &[], &flags).await;
    // A port that the worker chooses is one of those.
    cluster
        .apply(&published("chosen", &format!("{host}:0")))
        .await;
    assert_eq!(cluster.published("chosen").await.to_string(), rule);
    cluster
        .warren(&["delete", "workload", "chosen", "--wait"])
        .await
        .ok();
    cluster.apply(&published("named", &rule)).await;

    let answer = cluster.try_apply(&published("other", "127.0.0.1:0")).await;
    let why = "1 does not let workloads publish on 127.0.0.1:0 (see --publish-allow)";
    answer.refused(1, &["workload/other", "PortUnavailable", why]);
    let describe = cluster
        .warren(&["describe", "workload", "other"])
        .await
        .ok();
    assert!(describe.contains(why), "{describe}");
    let describe = cluster.warren(&["describe", "worker", "w1"]).await.ok();
    let lets = format!("lets workloads publish only on {rule}");
    assert!(describe.contains(&lets), "{describe}");

    // Another worker of the same machine does.
    let other = Worker::start(&cluster.lab, &cluster.control.url, "w2", &[]).await;
    let file = cluster.lab.path("applied.yaml").display().to_string();
    cluster.warren(&["apply", "-f", &file, "--wait"]).await.ok();
    assert_eq!(
        cluster.replica("other").await["worker"],
        other.name.as_str()
    );
}

#[tokio::test]
async fn no_workload_publishes_warrens_own_ports() {
    let cluster = cluster(1).await;
    let control = cluster.control.url["http://".len()..].to_owned();
    let worker = cluster.workers[0].listen.to_string();
    for (name, address) in [("control", control), ("worker", worker)] {
        let answer = cluster.try_apply(&published(name, &address)).await;
        answer.refused(1, &[name, "PortUnavailable", "Warren itself"]);
        assert!(
            refused(&cluster, name)
                .await
                .contains("choose another port")
        );
    }
    cluster.apply(&published("any", "127.0.0.1:0")).await;
}
