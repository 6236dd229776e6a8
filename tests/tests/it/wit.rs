//! A service that calls components through WIT.

use serde_json::Value;
use warren_tests::{Cluster, eventually, guest};

use crate::cluster;

/// The caller as service, and beside it what it calls; `more` are further fields of each.
fn types(service: &str, component: &str) -> String {
    let (caller, types) = (guest("types-caller"), guest("types"));
    format!(
        "name: types\n\
         replicas: 1\n\
         service:\n  component: {caller}\n{service}\
         components:\n- name: values\n  component: {types}\n{component}"
    )
}

async fn logs(cluster: &Cluster) -> String {
    cluster.warren(&["logs", "types"]).await.ok()
}

#[tokio::test]
async fn every_type_crosses_from_the_service_to_a_component_and_back() {
    let cluster = cluster(1).await;
    cluster.apply(&types("", "")).await;
    let logs = logs(&cluster).await;
    assert!(logs.contains("types: all ok"), "{logs}");
    assert_eq!(cluster.replica("types").await["restarts"], 0);
}

#[tokio::test]
async fn a_failed_call_without_a_result_type_ends_the_service_and_names_the_function() {
    let cluster = cluster(1).await;
    let manifest = types(
        "  env: { CALL: trap-plain }\n  restart: { policy: never }\n",
        "",
    );
    cluster
        .try_apply(&manifest)
        .await
        .refused(1, &["FAILED", "TRAPPED"]);
    let replicas = cluster.replicas("types").await;
    let failed = replicas
        .iter()
        .find(|replica| replica["phase"] == "FAILED")
        .unwrap();
    assert_eq!(failed["lastExit"]["reason"], "TRAPPED", "{failed:#}");
    let message = failed["lastExit"]["message"].as_str().unwrap();
    for words in ["values", "trap-plain"] {
        assert!(message.contains(words), "`{words}` is missing in {message}");
    }
}

#[tokio::test]
async fn a_call_with_a_result_gets_the_timeout_as_its_error() {
    let cluster = cluster(1).await;
    let manifest = types("  env: { CALL: spin }\n", "  limits: { timeout: 300ms }\n");
    cluster.apply(&manifest).await;
    let line = eventually("the call's error is printed", async || {
        let logs = logs(&cluster).await;
        let line = logs
            .lines()
            .find(|line| line.contains("spin: "))
            .map(str::to_owned);
        line.ok_or(logs)
    })
    .await;
    assert!(
        line.contains("spin: Err(") && line.contains("300ms"),
        "{line}"
    );
    let replica: Value = cluster.replica("types").await;
    assert_eq!(
        (&replica["ready"], &replica["restarts"]),
        (&true.into(), &0.into())
    );
}
