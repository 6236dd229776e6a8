//! Looking at what runs: logs, events, health, and data for programs.

mod events;
mod kept;
mod logs;
mod usage;
mod wait;

use serde_json::Value;
use warren_tests::{Cluster, eventually};

use crate::{
    cluster,
    counter::{count, manifest},
    http_echo,
};

#[tokio::test]
async fn logs_follow_what_guests_write() {
    let cluster = cluster(1).await;
    cluster.apply(&http_echo("")).await;
    let follow = cluster.follow("logs", &["logs", "echo", "-f"]);
    let replica = cluster.replica("echo").await["id"].clone();
    let prefix = format!("{} web | ", replica.as_str().unwrap());
    for round in 1..=3 {
        assert_eq!(
            cluster.get("echo.localhost", "/stdout").await.text(),
            "ok\n"
        );
        let written =
            ["a line on stdout", "a line on stderr"].map(|line| format!("{prefix}{line}"));
        follow
            .said(&format!("both lines {round} times"), |lines| {
                let count = |wanted: &String| lines.iter().filter(|line| *line == wanted).count();
                written
                    .iter()
                    .all(|line| count(line) == round)
                    .then_some(())
            })
            .await;
    }
    let all = cluster.warren(&["logs", "echo"]).await.ok();
    assert_eq!(all.lines().count(), 6, "{all}");
    let tail = cluster
        .warren(&["logs", "echo", "--tail", "2", "-o", "json"])
        .await
        .ok();
    let tail: Vec<Value> = tail
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(tail.len(), 2, "{tail:#?}");
    let streams: Vec<&Value> = tail.iter().map(|line| &line["stream"]).collect();
    assert!(streams.contains(&&"STDOUT".into()) && streams.contains(&&"STDERR".into()));
    assert_eq!(tail[0]["source"], "web");
    assert_eq!(tail[0]["replica"], replica);
    // A name that writes nothing here is a mistake, and not silence.
    let unknown = cluster.warren(&["logs", "echo", "--source", "service"]);
    unknown.await.refused(1, &["no source `service`"]);

    // Replicas to come are followed too.
    cluster
        .apply(&http_echo("  env: { REVISION: second }\n"))
        .await;
    let new = cluster.replica("echo").await["id"].clone();
    assert_ne!(new, replica);
    assert_eq!(
        cluster.get("echo.localhost", "/stdout").await.text(),
        "ok\n"
    );
    let line = format!("{} web | a line on stdout", new.as_str().unwrap());
    follow.said_line(&line).await;
}

#[tokio::test]
async fn events_are_listed_in_order() {
    let cluster = cluster(1).await;
    cluster.apply(&manifest("counter")).await;
    let events = cluster
        .warren(&["events", "counter", "-o", "json"])
        .await
        .json();
    let events = events.as_array().unwrap();
    let at = |reason: &str| events.iter().position(|event| event["reason"] == reason);
    let story = ["Created", "Scheduled", "Started", "Ready"].map(at);
    assert!(story.iter().all(Option::is_some), "{events:#?}");
    assert!(story.is_sorted(), "{events:#?}");
    for event in events {
        has(
            event,
            &[
                "namespace",
                "time",
                "object",
                "type",
                "reason",
                "message",
                "count",
            ],
        );
        assert_eq!(
            (&event["namespace"], &event["type"]),
            (&"default".into(), &"NORMAL".into())
        );
    }
    let table = cluster.warren(&["events", "counter"]).await.ok();
    assert!(
        table.starts_with("LAST ") && table.contains("workload/counter"),
        "{table}"
    );
    let worker = cluster.warren(&["events", "-A"]).await.ok();
    assert!(worker.contains("worker/w1"), "{worker}");
}

#[tokio::test]
async fn health_is_an_exit_code() {
    let mut cluster = cluster(1).await;
    let health = async |cluster: &Cluster, server: &str, more: &[&str]| {
        let words = [&["health", "--server", server], more].concat();
        cluster.lab.warren(&words).await
    };
    let control = cluster.control.url.clone();
    let worker = format!("http://{}", cluster.workers[0].listen);
    for server in [&control, &worker] {
        assert_eq!(health(&cluster, server, &[]).await.ok(), "SERVING\n");
    }
    let service = ["--service", "warren.v1.WorkloadService"];
    assert_eq!(health(&cluster, &control, &service).await.ok(), "SERVING\n");
    let unknown = ["--service", "no.such.Service"];
    health(&cluster, &control, &unknown)
        .await
        .refused(1, &["no.such.Service"]);
    cluster.control.process.kill().await;
    health(&cluster, &control, &[])
        .await
        .refused(1, &["cannot reach"]);
    // It serves what it has.
    assert_eq!(health(&cluster, &worker, &[]).await.ok(), "SERVING\n");
    assert_eq!(cluster.workers[0].stop().await.code(), Some(0));
    health(&cluster, &worker, &[])
        .await
        .refused(1, &["cannot reach"]);
}

#[tokio::test]
async fn json_output_has_the_fields_that_programs_rely_on() {
    let cluster = cluster(1).await;
    let published = manifest("counter").replace(
        "cache.wasm }",
        "cache.wasm, publish: [ { port: 6379, listen: \"127.0.0.1:0\" } ] }",
    );
    cluster.apply(&published).await;
    assert_eq!(count(cluster.http(), "counter").await.number, 1);

    let workload = cluster.workload("counter").await;
    has(
        &workload,
        &[
            "namespace",
            "name",
            "uid",
            "labels",
            "createTime",
            "generation",
            "revision",
        ],
    );
    has(&workload, &["resourceVersion", "spec", "status"]);
    has(
        &workload["status"],
        &[
            "replicas",
            "readyReplicas",
            "observedGeneration",
            "conditions",
        ],
    );
    assert_eq!(workload["namespace"], "default");
    assert_eq!(
        (&workload["generation"], &workload["revision"]),
        (&1.into(), &1.into())
    );
    assert_eq!(workload["status"]["readyReplicas"], 1);
    assert_eq!(
        workload["spec"]["components"][0]["routes"][0]["host"],
        "counter.localhost"
    );
    let ready = condition(&workload["status"], "Ready");
    assert_eq!(ready["status"], "TRUE");

    let replica = cluster.replica("counter").await;
    has(
        &replica,
        &[
            "id",
            "namespace",
            "workload",
            "workloadUid",
            "revision",
            "worker",
            "phase",
        ],
    );
    has(&replica, &["ready", "restarts", "conditions", "endpoints"]);
    assert_eq!(replica["workloadUid"], workload["uid"]);
    assert_eq!(
        (&replica["phase"], &replica["restarts"]),
        (&"RUNNING".into(), &0.into())
    );
    for kind in ["Scheduled", "ArtifactsReady", "Started", "Ready"] {
        let condition = condition(&replica, kind);
        has(
            condition,
            &["type", "status", "reason", "message", "lastTransitionTime"],
        );
        assert_eq!(condition["status"], "TRUE", "{condition:#}");
    }
    let endpoint = &replica["endpoints"][0];
    assert_eq!(
        (&endpoint["protocol"], &endpoint["guestPort"]),
        (&"TCP".into(), &6379.into())
    );

    let worker = cluster
        .warren(&["get", "workers", "w1", "-o", "json"])
        .await
        .json();
    has(
        &worker,
        &[
            "id", "name", "address", "ready", "cordoned", "labels", "capacity",
        ],
    );
    has(&worker, &["allocated", "lastHeartbeat"]);
    assert_eq!(
        worker["address"],
        format!("http://{}", cluster.workers[0].listen)
    );
    assert_eq!(
        (&worker["ready"], &worker["cordoned"]),
        (&true.into(), &false.into())
    );

    // People get tables, and lists of one more.
    let table = cluster.warren(&["get", "workloads"]).await.ok();
    assert!(
        table.starts_with("NAME ") && table.contains("1/1"),
        "{table}"
    );
    let wide = cluster
        .warren(&["get", "replicas", "-A", "-o", "wide"])
        .await
        .ok();
    assert!(
        wide.contains(endpoint["address"].as_str().unwrap()),
        "{wide}"
    );
}

#[tokio::test]
async fn scaling_changes_the_number_and_makes_no_revision() {
    let cluster = cluster(2).await;
    cluster.apply(&http_echo("")).await;
    let said = cluster.warren(&["scale", "echo", "4", "--wait"]).await.ok();
    assert!(said.contains("workload/echo scaled to 4"), "{said}");
    let replicas = cluster.replicas("echo").await;
    assert_eq!(replicas.len(), 4);
    let on = |name: &str| replicas.iter().filter(|one| one["worker"] == name).count();
    assert_eq!((on("w1"), on("w2")), (2, 2), "{replicas:#?}");
    let workload = cluster.workload("echo").await;
    assert_eq!(
        (&workload["generation"], &workload["revision"]),
        (&2.into(), &1.into())
    );
    cluster.warren(&["scale", "echo", "0", "--wait"]).await.ok();
    eventually("all replicas are gone", async || {
        let replicas = cluster.replicas("echo").await;
        if replicas.is_empty() {
            Ok(())
        } else {
            Err(replicas)
        }
    })
    .await;
    let reply = cluster.get("echo.localhost", "/").await;
    assert!(reply.status == 404 || reply.status == 503, "{reply:?}");
}

#[track_caller]
fn has(object: &Value, fields: &[&str]) {
    for field in fields {
        assert!(
            object.get(field).is_some(),
            "`{field}` is missing in {object:#}"
        );
    }
}

#[track_caller]
fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["conditions"].as_array().unwrap();
    let found = conditions
        .iter()
        .find(|condition| condition["type"] == kind);
    found.unwrap_or_else(|| panic!("no condition `{kind}` in {object:#}"))
}
