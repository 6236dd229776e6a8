//! Scale, restart, history and rollback.

use serde_json::Value;
use warren_tests::Cluster;

use crate::{cluster, http_echo};

async fn colour(cluster: &Cluster) -> String {
    cluster.get("echo.localhost", "/env").await.text()
}

fn manifest(colour: &str) -> String {
    http_echo(&format!("  env: {{ COLOUR: {colour} }}\n"))
}

#[tokio::test]
async fn every_revision_can_be_shown_and_restored() {
    let cluster = cluster(1).await;
    cluster
        .apply(&(manifest("red") + "labels: { tier: front }\n"))
        .await;
    cluster
        .apply(&(manifest("green") + "labels: { tier: front }\n"))
        .await;
    cluster.warren(&["scale", "echo", "2", "--wait"]).await.ok();
    let said = cluster.warren(&["restart", "echo", "--wait"]).await.ok();
    assert!(
        said.contains("workload/echo restarted, as revision 3"),
        "{said}"
    );

    let table = cluster.warren(&["history", "echo"]).await.ok();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(
        lines[1].starts_with("3 ") && lines[1].contains("restarted"),
        "{table}"
    );
    assert!(
        lines[2].contains("components.web.env.COLOUR red -> green"),
        "{table}"
    );
    assert!(
        lines[3].starts_with("1 ") && lines[3].ends_with("first"),
        "{table}"
    );
    let list = cluster
        .warren(&["history", "echo", "-o", "json"])
        .await
        .json();
    let causes: Vec<&Value> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["cause"])
        .collect();
    assert_eq!(causes, ["RESTARTED", "APPLIED", "APPLIED"]);
    assert_eq!(
        (&list[0]["current"], &list[1]["current"]),
        (&true.into(), &false.into())
    );

    // Back to what ran before: the restart changed nothing, so the one before it is the last that
    // differs.
    let said = cluster.warren(&["rollback", "echo", "--wait"]).await.ok();
    assert!(
        said.contains("rolled back to revision 1, as revision 4"),
        "{said}"
    );
    assert_eq!(colour(&cluster).await, "COLOUR=red\n");
    let workload = cluster.workload("echo").await;
    assert_eq!(
        workload["spec"]["replicas"], 2,
        "a rollback leaves the number alone"
    );
    assert_eq!(
        (&workload["revision"], &workload["sourceRevision"]),
        (&4.into(), &1.into())
    );

    let to = cluster
        .warren(&["rollback", "echo", "--to", "2", "--wait", "-o", "json"])
        .await
        .json();
    assert_eq!(
        (&to["revision"], &to["status"]["readyReplicas"]),
        (&5.into(), &2.into())
    );
    assert_eq!(colour(&cluster).await, "COLOUR=green\n");
    let again = cluster
        .warren(&["rollback", "echo", "--to", "2"])
        .await
        .ok();
    assert!(
        again.contains("already has the spec of revision 2"),
        "{again}"
    );
    cluster
        .warren(&["rollback", "echo", "--to", "99"])
        .await
        .refused(1, &["99"]);

    // A revision as a manifest: applied again it is that revision's spec.
    let text = cluster
        .warren(&["history", "echo", "--revision", "1"])
        .await
        .ok();
    assert!(
        text.contains("COLOUR: red") && text.contains("tier: front"),
        "{text}"
    );
    cluster
        .warren(&["history", "echo", "--revision", "9"])
        .await
        .refused(1, &["9", "5, 4, 3, 2, 1"]);
    let apply = [
        "apply",
        "-f",
        "-",
        "--wait",
        "--server",
        &cluster.control.url,
    ];
    cluster.lab.warren_reads(&apply, &text).await.ok();
    assert_eq!(colour(&cluster).await, "COLOUR=red\n");
    assert_eq!(cluster.workload("echo").await["spec"]["replicas"], 2);
}

#[tokio::test]
async fn a_restart_replaces_every_replica_and_fails_no_request() {
    let cluster = cluster(1).await;
    cluster.apply(&manifest("red")).await;
    let before = cluster.replica("echo").await;
    cluster.warren(&["restart", "echo", "--wait"]).await.ok();
    let after = cluster.replica("echo").await;
    assert_ne!(before["id"], after["id"]);
    assert_eq!(
        (&after["revision"], &after["restarts"]),
        (&2.into(), &0.into())
    );
    assert_eq!(colour(&cluster).await, "COLOUR=red\n");
    for command in [
        &["restart", "nobody"][..],
        &["scale", "nobody", "1"],
        &["history", "nobody"],
    ] {
        cluster.warren(command).await.refused(1, &["nobody"]);
    }
    let rollback = cluster.warren(&["rollback", "echo"]).await;
    rollback.refused(1, &["revision"]);
}

#[tokio::test]
async fn a_workload_that_cannot_be_deleted_does_not_block_the_others() {
    let cluster = cluster(1).await;
    cluster.apply(&manifest("red")).await;
    let answer = cluster
        .warren(&["delete", "workload", "nobody", "echo", "--wait"])
        .await;
    let said = answer.stdout.clone();
    answer.refused(1, &["nobody"]);
    assert!(said.contains("workload/echo deleted"), "{said}");
    let left = cluster
        .warren(&["get", "workloads", "-o", "name"])
        .await
        .ok();
    assert_eq!(left, "");
}
