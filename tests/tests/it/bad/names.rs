//! Unknown names, and the suggestions for them.

use super::{Standing, refused_quietly};

#[tokio::test]
async fn an_unknown_workload_suggests_the_nearest_name() {
    let mut standing = Standing::start().await;
    for command in [
        &["get", "workloads", "conter"][..],
        &["get", "replicas", "conter"],
        &["describe", "workload", "conter"],
        &["logs", "conter"],
        &["events", "conter"],
        &["scale", "conter", "3"],
        &["restart", "conter"],
        &["history", "conter"],
        &["rollback", "conter"],
        &["delete", "workload", "conter"],
    ] {
        let answer = standing.cluster.warren(command).await;
        refused_quietly(answer, &["`default/conter`", "did you mean `counter`?"]);
    }
    let elsewhere = ["get", "workloads", "counter", "-n", "shop"];
    let answer = standing.cluster.warren(&elsewhere).await;
    refused_quietly(answer, &["`shop/counter`", "in namespace `default`"]);
    standing.unharmed().await;
}

#[tokio::test]
async fn an_unknown_worker_or_artifact_says_where_to_look() {
    let mut standing = Standing::start().await;
    let digest = format!("sha256:{}", "7".repeat(64));
    for (command, words) in [
        (
            &["get", "workers", "w9"][..],
            &["`w9`", "`warren get workers`"][..],
        ),
        (
            &["describe", "worker", "w9"],
            &["`w9`", "`warren get workers`"],
        ),
        (&["delete", "artifact", &digest], &[&digest, "warren"]),
    ] {
        let answer = standing.cluster.warren(command).await;
        refused_quietly(answer, words);
    }
    standing.unharmed().await;
}
