//! Directories for services: empty ones for a replica's life, and those that workers offer by name.

use std::fs;

use warren_tests::{Cluster, eventually, guest};

use crate::{cluster, lab};

fn manifest(name: &str, args: &str, more: &str) -> String {
    let component = guest("files");
    format!("name: {name}\nservice:\n  component: {component}\n  args: [ {args} ]\n{more}")
}

/// The lines of the service, once one contains these words.
async fn said(cluster: &Cluster, name: &str, words: &str) -> String {
    eventually("the service says it", async || {
        let logs = cluster.warren(&["logs", name]).await.ok();
        if logs.contains(words) {
            Ok(logs)
        } else {
            Err(logs)
        }
    })
    .await
}

#[tokio::test]
async fn an_empty_directory_outlives_the_service_and_not_the_replica() {
    let cluster = cluster(1).await;
    let more = "  restart: { initialBackoff: 10ms, maxRestarts: 2 }\n  volumes: [ { name: scratch, mountPath: /scratch } ]\nvolumes: [ { name: scratch, emptyDir: {} } ]\n";
    let file = cluster.lab.write(
        "keeper.yaml",
        manifest("keeper", "\"count=/scratch/starts\", \"exit=1\"", more),
    );
    cluster.warren(&["apply", "-f", &file]).await.ok();
    let logs = said(&cluster, "keeper", "count=/scratch/starts: ok 3").await;
    assert_eq!(
        logs.matches(": ok 1").count(),
        1,
        "the first start found it empty: {logs}"
    );
    // Another replica has a directory of its own.
    let first = logs.split(' ').next().unwrap();
    cluster.warren(&["restart", "keeper"]).await.ok();
    eventually("a second replica starts from scratch", async || {
        let logs = cluster.warren(&["logs", "keeper"]).await.ok();
        let mut lines = logs.lines();
        let anew = lines.any(|line| !line.starts_with(first) && line.ends_with(": ok 1"));
        if anew { Ok(()) } else { Err(logs) }
    })
    .await;
    let volumes = cluster.lab.path("w1").join("volumes");
    cluster
        .warren(&["delete", "workload", "keeper", "--wait"])
        .await
        .ok();
    eventually("nothing is left of it", async || {
        let left: Vec<_> = fs::read_dir(&volumes)
            .map(|dir| dir.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test]
async fn a_host_directory_is_mounted_as_declared_and_nothing_beside_it() {
    let lab = lab();
    let shared = lab.path("shared");
    fs::create_dir_all(&shared).unwrap();
    fs::write(shared.join("greeting"), "hello from the machine\n").unwrap();
    fs::write(lab.path("secret"), "not for guests\n").unwrap();
    let volume = format!("data={}", shared.display());
    let cluster = Cluster::start_with(lab, 1, &[], &["--volume", &volume]).await;

    let args = "\"read=/data/greeting\", \"write=/data/new\", \"list=/data\", \"read=/data/../secret\", \"read=/secret\", \"link=/data\", stay";
    let mounts =
        "  volumes: [ { name: own, mountPath: /data } ]\nvolumes: [ { name: own, host: data } ]\n";
    cluster.apply(&manifest("reader", args, mounts)).await;
    let logs = said(&cluster, "reader", "link=/data").await;
    for words in [
        "read=/data/greeting: ok hello from the machine",
        "write=/data/new: ok",
        "list=/data: ok greeting new",
        "read=/data/../secret: error",
        "read=/secret: error",
        "link=/data: error",
    ] {
        assert!(logs.contains(words), "{words} in\n{logs}");
    }
    assert_eq!(
        fs::read_to_string(shared.join("new")).unwrap(),
        "written by a guest\n"
    );

    let mounts = "  volumes: [ { name: own, mountPath: /data, readOnly: true } ]\nvolumes: [ { name: own, host: data } ]\n";
    let args = "\"read=/data/greeting\", \"write=/data/other\", stay";
    cluster.apply(&manifest("looker", args, mounts)).await;
    let logs = said(&cluster, "looker", "write=/data/other").await;
    assert!(logs.contains("read=/data/greeting: ok"), "{logs}");
    assert!(logs.contains("write=/data/other: error"), "{logs}");
    assert!(!shared.join("other").exists());

    let describe = cluster.warren(&["describe", "worker", "w1"]).await.ok();
    assert!(describe.contains("offers volume data"), "{describe}");
}

#[tokio::test]
async fn placement_requires_the_volume_and_matching_labels() {
    let lab = lab();
    let shared = lab.path("shared");
    fs::create_dir_all(&shared).unwrap();
    let volume = format!("certs={}:ro", shared.display());
    let flags = ["--volume", &volume, "--label", "zone=north"];
    let cluster = Cluster::start_with(lab, 1, &[], &flags).await;
    let volumes = |source: &str| {
        format!(
            "  volumes: [ {{ name: own, mountPath: /data }} ]\nvolumes: [ {{ name: own, host: {source} }} ]\n"
        )
    };
    for (more, why) in [
        (
            volumes("certs"),
            "1 worker: 1 offers volume `certs` for reading only",
        ),
        (volumes("data"), "1 worker: 1 lacks volume `data`"),
        (
            "placement: { labels: { zone: south } }\n".to_owned(),
            "1 worker: 1 lacks label zone=south",
        ),
    ] {
        let file = cluster
            .lab
            .write("seeker.yaml", manifest("seeker", "stay", &more));
        let answer = cluster
            .warren(&["apply", "-f", &file, "--wait", "--timeout", "1s"])
            .await;
        answer.refused(1, &["Unschedulable", why]);
        cluster
            .warren(&["delete", "workload", "seeker", "--wait"])
            .await
            .ok();
    }
    let more = format!(
        "{}placement: {{ labels: {{ zone: north }}, spread: zone }}\n",
        volumes("certs").replace("/data", "/data, readOnly: true")
    );
    cluster.apply(&manifest("seeker", "stay", &more)).await;
}

/// Two replicas that write to one directory would spoil it for each other: the old one goes first.
#[tokio::test]
async fn a_replica_that_writes_to_a_host_directory_is_replaced_stop_first() {
    let lab = lab();
    let shared = lab.path("shared");
    fs::create_dir_all(&shared).unwrap();
    let volume = format!("data={}", shared.display());
    let cluster = Cluster::start_with(lab, 2, &[], &["--volume", &volume]).await;
    let mounts =
        "  volumes: [ { name: own, mountPath: /data } ]\nvolumes: [ { name: own, host: data } ]\n";
    cluster
        .apply(&manifest("writer", "\"count=/data/starts\", stay", mounts))
        .await;
    cluster
        .apply(&manifest(
            "writer",
            "\"count=/data/starts\", \"list=/data\", stay",
            mounts,
        ))
        .await;
    let events = cluster
        .warren(&["events", "writer", "-o", "json"])
        .await
        .json();
    let reasons: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["object"].as_str().unwrap().starts_with("replica/"))
        .map(|event| event["reason"].as_str().unwrap().to_owned())
        .collect();
    let stopped = reasons
        .iter()
        .position(|reason| reason == "Stopped")
        .unwrap();
    let started = reasons
        .iter()
        .rposition(|reason| reason == "Started")
        .unwrap();
    assert!(stopped < started, "{reasons:?}");
}
