//! What earlier versions left on disk is opened, and goes on: `tests/fixtures/make` wrote it and
//! says what is in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use warren_tests::{Cluster, Lab, Worker, eventually};

use crate::lab;

/// All that are in the repository, the oldest first.
fn fixtures() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let files = fs::read_dir(dir).unwrap();
    let mut found: Vec<PathBuf> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "gz"))
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

fn unpacked(fixture: &Path) -> Lab {
    let lab = lab();
    let tar = Command::new("tar")
        .arg("-xzf")
        .arg(fixture)
        .arg("-C")
        .arg(lab.path(""))
        .status();
    assert!(tar.unwrap().success(), "{}", fixture.display());
    lab
}

/// What `warren get KIND -o json` showed before the version was killed.
fn shown_before(lab: &Lab, kind: &str) -> Vec<Value> {
    let file = fs::read(lab.path(&format!("{kind}.json"))).unwrap();
    serde_json::from_slice(&file).unwrap()
}

/// Compares some fields of everything that was shown before with what is shown now.
async fn still_shows(cluster: &Cluster, kind: &str, key: &str, fields: &[&str]) {
    let before = shown_before(&cluster.lab, kind);
    assert!(!before.is_empty());
    let now = cluster.warren(&["get", kind, "-o", "json"]).await.json();
    for one in &before {
        let same = now
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it[key] == one[key]);
        let same = same.unwrap_or_else(|| panic!("no {} in {now:#}", one[key]));
        for field in fields {
            contains(&same[field], &one[field], field);
        }
    }
}

/// Fields that came later may be beside those of before.
fn contains(now: &Value, before: &Value, path: &str) {
    match before {
        Value::Object(fields) => {
            for (name, value) in fields {
                contains(&now[name], value, &format!("{path}.{name}"));
            }
        }
        Value::Array(items) => {
            assert_eq!(now.as_array().map(Vec::len), Some(items.len()), "{path}");
            for (number, item) in items.iter().enumerate() {
                contains(&now[number], item, &format!("{path}[{number}]"));
            }
        }
        _ => assert_eq!(now, before, "{path}"),
    }
}

const WORKLOAD: [&str; 6] = [
    "uid",
    "labels",
    "createTime",
    "generation",
    "revision",
    "spec",
];

#[tokio::test]
async fn a_cluster_of_an_earlier_version_continues() {
    for fixture in fixtures() {
        let mut cluster = Cluster::start_with(unpacked(&fixture), 0, &[], &[]).await;
        still_shows(&cluster, "workloads", "name", &WORKLOAD).await;
        let label = ["--label", "zone=a"];
        let worker = Worker::start(&cluster.lab, &cluster.control.url, "w1", &label).await;
        cluster.workers.push(worker);

        // The same worker and the same replicas; what was completed stays so.
        let before = cluster_replica(&shown_before(&cluster.lab, "replicas"), "cron");
        // What is stored of it is as before until the worker has started it once more.
        let starts = |replica: &Value| replica["restarts"].as_u64();
        eventually("the schedule runs", async || {
            let replica = cluster.replica("cron").await;
            if replica["ready"] == true && starts(&replica) > starts(&before) {
                Ok(())
            } else {
                Err(replica)
            }
        })
        .await;
        let now = cluster.replica("cron").await;
        assert_eq!(now["id"], before["id"], "{now:#}");
        let kept = ["id", "revision", "worker", "phase"];
        still_shows(&cluster, "replicas", "id", &kept).await;
        let kept = ["id", "labels", "ready", "cordoned"];
        still_shows(&cluster, "workers", "name", &kept).await;

        // The control plane has planned what its version did not know.
        let plan = cluster.workload("cron").await["linkPlan"].clone();
        assert_eq!(plan["links"][0]["exporter"], "job", "{plan:#}");

        // It is told what is new, and goes back to what is old.
        cluster.warren(&["uncordon", "w1"]).await.ok();
        let history = cluster.warren(&["history", "cron", "-o", "json"]).await;
        assert_eq!(history.json().as_array().unwrap().len(), 2);
        cluster
            .warren(&["rollback", "cron", "--wait", "--timeout", "50s"])
            .await
            .ok();
        let back = cluster.workload("cron").await;
        assert_eq!(back["spec"]["service"]["env"][0]["value"], "first");
    }
}

#[tokio::test]
async fn a_backup_of_an_earlier_version_is_restored() {
    for fixture in fixtures() {
        let lab = unpacked(&fixture);
        fs::remove_dir_all(lab.path("control")).unwrap();
        let [file, data] = ["backup.warren", "control"].map(|name| lab.path(name));
        let [file, data] = [file, data].map(|path| path.display().to_string());
        lab.warren(&["restore", &file, "--data", &data]).await.ok();
        let cluster = Cluster::start_with(lab, 0, &[], &[]).await;
        still_shows(&cluster, "workloads", "name", &WORKLOAD).await;
        let artifacts = cluster.warren(&["get", "artifacts", "-o", "json"]).await;
        assert_eq!(artifacts.json().as_array().unwrap().len(), 3);
    }
}

fn cluster_replica(replicas: &[Value], workload: &str) -> Value {
    let mut of = replicas.iter().filter(|one| one["workload"] == workload);
    of.next().unwrap().clone()
}
