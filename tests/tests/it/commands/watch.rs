//! `warren get -w` shows the present state, then every change.

use serde_json::Value;
use warren_tests::eventually;

use crate::{cluster, http_echo};

#[tokio::test]
async fn watched_workloads_are_a_growing_table() {
    let cluster = cluster(1).await;
    cluster.apply(&http_echo("labels: { tier: front }\n")).await;
    let watch = cluster.follow("watch", &["get", "workloads", "-w", "-l", "tier=front"]);
    watch.said_line("echo").await;
    let lines = watch.stdout();
    assert!(
        lines[0].starts_with("NAME ") && lines[1].contains(" 1/1 "),
        "{lines:#?}"
    );

    // Another one that is not selected is not shown.
    cluster
        .apply(
            &http_echo("labels: { tier: back }\n")
                .replace("name: echo", "name: hidden")
                .replace("echo.localhost", "hidden.localhost"),
        )
        .await;
    cluster.warren(&["scale", "echo", "2", "--wait"]).await.ok();
    watch.said_line(" 2/2 ").await;
    cluster
        .warren(&["delete", "workload", "echo", "--wait"])
        .await
        .ok();
    watch.said_line("Deleted").await;
    let lines = watch.stdout();
    assert!(
        !lines.iter().any(|line| line.contains("hidden")),
        "{lines:#?}"
    );
    assert_eq!(
        lines.iter().filter(|line| line.starts_with("NAME")).count(),
        1,
        "{lines:#?}"
    );
    // A row is printed because something in it changed.
    let rows: Vec<String> = lines[1..].iter().map(|line| without_age(line)).collect();
    assert!(rows.windows(2).all(|pair| pair[0] != pair[1]), "{lines:#?}");
}

fn without_age(row: &str) -> String {
    let mut words: Vec<&str> = row.split_whitespace().collect();
    words.pop();
    words.join(" ")
}

#[tokio::test]
async fn watched_replicas_and_workers_are_objects_one_per_line() {
    let mut cluster = cluster(2).await;
    cluster.apply(&http_echo("")).await;
    let replicas = cluster.follow("replicas", &["get", "replicas", "echo", "-w", "-o", "json"]);
    let workers = cluster.follow("workers", &["get", "workers", "-w", "-o", "json"]);
    let objects = |lines: &[String]| -> Vec<Value> {
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    workers
        .said("both workers", |lines| (lines.len() >= 2).then_some(()))
        .await;
    let first = replicas
        .said("a replica", |lines| objects(lines).first().cloned())
        .await;
    assert_eq!(
        (&first["phase"], &first["ready"]),
        (&"RUNNING".into(), &true.into())
    );

    cluster.warren(&["scale", "echo", "2", "--wait"]).await.ok();
    replicas
        .said("another replica that becomes ready", |lines| {
            let seen = objects(lines);
            let mut other = seen.iter().filter(|one| one["id"] != first["id"]);
            other.any(|one| one["ready"] == true).then_some(())
        })
        .await;
    // The control plane goes away and comes back: the same watch goes on with what happens then.
    cluster.control.process.kill().await;
    cluster.control.start_again(&cluster.lab).await;
    eventually("the workers are back", async || {
        let known = cluster
            .warren(&["get", "workers", "-o", "json"])
            .await
            .json();
        let all = known
            .as_array()
            .unwrap()
            .iter()
            .all(|worker| worker["ready"] == true);
        if all { Ok(()) } else { Err(known) }
    })
    .await;
    cluster.warren(&["scale", "echo", "3", "--wait"]).await.ok();
    replicas
        .said("a third replica", |lines| {
            let mut ids: Vec<String> = objects(lines)
                .iter()
                .map(|one| one["id"].to_string())
                .collect();
            ids.sort();
            ids.dedup();
            (ids.len() == 3).then_some(())
        })
        .await;
    cluster.workers[1].stop().await;
    workers
        .said("that w2 is not ready", |lines| {
            let seen = objects(lines);
            let last = seen.iter().rfind(|one| one["name"] == "w2")?;
            (last["ready"] == false).then_some(())
        })
        .await;
}

#[tokio::test]
async fn resources_that_cannot_be_watched_are_refused() {
    let cluster = cluster(0).await;
    for (arguments, code, words) in [
        (&["artifacts", "-w"][..], 2, "cannot be watched"),
        (
            &["workloads", "-w", "-o", "manifest"],
            2,
            "omit it for a manifest",
        ),
        (&["workloads", "nobody", "-w"], 1, "nobody"),
    ] {
        let answer = cluster.warren(&[&["get"], arguments].concat()).await;
        answer.refused(code, &[words]);
    }
}
