//! Backups of a running cluster, and restoring them.

use std::fs;

use serde_json::Value;
use warren_tests::{Cluster, eventually};

use crate::{
    cluster,
    counter::{count, manifest},
    lab,
};

/// Ids, workers, restarts and readiness of a workload's replicas.
async fn replicas(cluster: &Cluster, name: &str) -> Vec<Value> {
    let fields = ["id", "worker", "restarts", "ready", "phase"];
    let replicas = cluster.replicas(name).await;
    replicas
        .iter()
        .map(|replica| fields.map(|field| replica[field].clone()).into())
        .collect()
}

async fn workers_are_back(cluster: &Cluster) {
    eventually("the worker is back", async || {
        let workers = cluster
            .warren(&["get", "workers", "-o", "json"])
            .await
            .json();
        match workers[0]["ready"] == true {
            true => Ok(()),
            false => Err(workers),
        }
    })
    .await;
}

#[tokio::test]
async fn a_backup_restores_a_lost_control_plane() {
    let mut cluster = cluster(1).await;
    cluster.apply(&manifest("counter")).await;
    let http = cluster.http();
    for expected in 1..=3 {
        assert_eq!(count(http, "counter").await.number, expected);
    }
    let before = replicas(&cluster, "counter").await;
    let workload = cluster.workload("counter").await;
    let file = cluster.lab.path("monday.warren").display().to_string();
    cluster.warren(&["backup", &file]).await.ok();
    // What came after the backup is not in it.
    cluster.warren(&["scale", "counter", "0"]).await.ok();
    cluster.warren(&["scale", "counter", "1"]).await.ok();

    // To the same file only by force; to stdout the same.
    let again = cluster.warren(&["backup", &file]).await;
    again.refused(1, &["exists", "--force", &file]);
    cluster.warren(&["backup", &file, "--force"]).await.ok();
    cluster.apply(&manifest("counter")).await;
    let before_loss = replicas(&cluster, "counter").await;
    let second = cluster.lab.path("tuesday.warren").display().to_string();
    cluster.warren(&["backup", &second]).await.ok();

    let data = cluster.lab.path("control");
    let name = data.display().to_string();
    let in_use = cluster
        .lab
        .warren(&["restore", &second, "--data", &name, "--force"])
        .await;
    let pid = format!("process {}", cluster.control.process.id());
    in_use.refused(1, &["in use", &pid]);

    // A byte of its log goes bad while it is away.
    cluster.control.process.kill().await;
    let log = data.join("store/sled/db");
    let mut bytes = fs::read(&log).unwrap();
    let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    bytes[written[written.len() / 2]] ^= 1;
    fs::write(&log, bytes).unwrap();
    let start = ["control", "--listen", "127.0.0.1:0", "--data", &name];
    let refused = cluster.lab.warren(&start).await;
    refused.refused(
        1,
        &["damaged", &name, "warren restore", "--accept-data-loss"],
    );

    let restore = ["restore", &second, "--data", &name];
    let refused = cluster.lab.warren(&restore).await;
    refused.refused(1, &["not empty", "--force"]);
    let forced = [&restore[..], &["--force"]].concat();
    cluster.lab.warren(&forced).await.ok();
    cluster.control.start_again(&cluster.lab).await;
    workers_are_back(&cluster).await;

    // The same workload, and the same replica, which never stopped: its service counts on.
    let now = cluster.workload("counter").await;
    for field in ["uid", "revision", "spec", "createTime"] {
        assert_eq!(now[field], workload[field], "{field}");
    }
    assert_eq!(replicas(&cluster, "counter").await, before_loss);
    assert_ne!(before_loss, before, "the scaling made another replica");
    let number = count(http, "counter").await.number;
    assert_eq!(count(http, "counter").await.number, number + 1);

    // On another machine, where there is nothing: the artifacts are there too.
    let other = cluster.lab.path("other").display().to_string();
    cluster
        .lab
        .warren(&["restore", &second, "--data", &other])
        .await
        .ok();
    let names = |data: &str| {
        let files = fs::read_dir(format!("{data}/artifacts")).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&other), names(&name));
    assert!(!names(&other).is_empty());
}

#[tokio::test]
async fn a_lost_directory_is_restored_while_workers_serve() {
    let mut cluster = cluster(1).await;
    cluster.apply(&manifest("counter")).await;
    let http = cluster.http();
    assert_eq!(count(http, "counter").await.number, 1);
    let before = replicas(&cluster, "counter").await;
    let file = cluster.lab.path("monday.warren").display().to_string();
    cluster.warren(&["backup", &file]).await.ok();
    // Later lives, of which the backup knows nothing and the worker does.
    for _ in 0..2 {
        cluster.control.process.kill().await;
        cluster.control.start_again(&cluster.lab).await;
        workers_are_back(&cluster).await;
    }
    cluster.control.process.kill().await;
    let data = cluster.lab.path("control");
    fs::remove_dir_all(&data).unwrap();
    assert_eq!(count(http, "counter").await.number, 2);

    let name = data.display().to_string();
    let restore = ["restore", &file, "--data", &name];
    cluster.lab.warren(&restore).await.ok();
    cluster.control.start_again(&cluster.lab).await;
    workers_are_back(&cluster).await;
    assert_eq!(count(http, "counter").await.number, 3);
    assert_eq!(replicas(&cluster, "counter").await, before);
    // It is told what to do as ever.
    let scale = ["scale", "counter", "0", "--wait"];
    cluster.warren(&scale).await.ok();
}

#[tokio::test]
async fn files_that_are_not_backups_are_refused() {
    let lab = lab();
    let data = lab.path("data").display().to_string();
    let manifest = lab.write("warren.yaml", "name: a\n");
    let wrong = ["restore", &manifest, "--data", &data];
    lab.warren(&wrong)
        .await
        .refused(1, &[&manifest, "not a Warren backup"]);
    let missing = ["restore", "nowhere.warren", "--data", &data];
    lab.warren(&missing).await.refused(1, &["nowhere.warren"]);

    let cluster = cluster(0).await;
    let whole = cluster.lab.path("whole").display().to_string();
    cluster.warren(&["backup", &whole]).await.ok();
    let bytes = fs::read(&whole).unwrap();
    let cut = lab.write("cut", &bytes[..bytes.len() - 1]);
    let answer = lab.warren(&["restore", &cut, "--data", &data]).await;
    answer.refused(1, &["ends at byte", "truncated"]);
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    let flipped = lab.write("flipped", flipped);
    let answer = lab.warren(&["restore", &flipped, "--data", &data]).await;
    answer.refused(1, &["damaged at byte"]);
    let left = fs::read_dir(&data).map_or(0, |entries| entries.count());
    assert_eq!(left, 0, "something is left behind");

    let nowhere = cluster.lab.path("no/where").display().to_string();
    let answer = cluster.warren(&["backup", &nowhere]).await;
    answer.refused(1, &["cannot write to directory"]);
}
