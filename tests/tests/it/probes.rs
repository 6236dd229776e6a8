//! Readiness and liveness: what a probe finds decides who gets work, and who is started again.

use serde_json::Value;
use warren_tests::{Cluster, eventually, guest};

use crate::cluster;

const HOST: &str = "moody.localhost";

fn manifest(more: &str) -> String {
    let component = guest("moody");
    format!(
        "name: moody\nservice:\n  component: {component}\n  routes: [ {{ host: {HOST}, port: 8080 }} ]\n{more}"
    )
}

/// Events of the replica with this reason, as JSON.
async fn events(cluster: &Cluster, reason: &str) -> Vec<Value> {
    let answer = cluster.warren(&["events", "moody", "-o", "json"]).await;
    let events = answer.json();
    let events = events.as_array().unwrap().iter();
    events
        .filter(|event| event["reason"] == reason)
        .cloned()
        .collect()
}

async fn until_answers(cluster: &Cluster, status: u16) {
    eventually("the route gives the expected answer", async || {
        let reply = cluster.get(HOST, "/").await;
        if reply.status == status {
            Ok(())
        } else {
            Err(reply)
        }
    })
    .await;
}

#[tokio::test]
async fn a_service_that_is_not_ready_gets_no_requests_and_is_not_restarted() {
    let cluster = cluster(1).await;
    cluster
        .apply(&manifest(
            "  env: { LISTEN_AFTER_MS: \"300\" }\n  readiness: { http: { port: 8080, path: /healthz }, interval: 50ms, failureThreshold: 2 }\n",
        ))
        .await;
    assert_eq!(
        cluster.get(HOST, "/").await.text(),
        "1\n",
        "`apply --wait` waits"
    );

    assert_eq!(cluster.get(HOST, "/sick?800").await.status, 200);
    until_answers(&cluster, 503).await;
    let refused = cluster.get(HOST, "/").await;
    assert!(
        refused.status != 503 || refused.header("retry-after").is_some(),
        "{refused:?}"
    );
    let told = events(&cluster, "NotReady").await;
    let message = told[0]["message"].as_str().unwrap();
    let expected = "its readiness probe failed 2 times in a row: \
                    GET /healthz on port 8080: it answered 503 Service Unavailable";
    assert!(
        told.iter().any(|event| event["message"] == expected),
        "{message}"
    );
    until_answers(&cluster, 200).await;
    let replica = cluster.replica("moody").await;
    assert_eq!(
        (&replica["restarts"], &replica["ready"]),
        (&0.into(), &true.into())
    );
}

#[tokio::test]
async fn a_service_that_fails_its_liveness_probe_is_restarted() {
    let cluster = cluster(1).await;
    cluster
        .apply(&manifest(
            "  restart: { initialBackoff: 10ms }\n  liveness: { http: { port: 8080, path: /healthz }, interval: 50ms, timeout: 100ms, failureThreshold: 2 }\n",
        ))
        .await;
    assert_eq!(cluster.get(HOST, "/").await.text(), "1\n");
    assert_eq!(cluster.get(HOST, "/hang").await.status, 200);
    let replica = eventually("it was restarted", async || {
        let replica = cluster.replica("moody").await;
        let again = replica["restarts"] == 1 && replica["ready"] == true;
        if again { Ok(replica) } else { Err(replica) }
    })
    .await;
    let exit = &replica["lastExit"];
    assert_eq!(exit["reason"], "UNHEALTHY", "{exit:#}");
    let message = exit["message"].as_str().unwrap();
    assert!(
        message.contains("2 times in a row: GET /healthz on port 8080: no answer within 100ms"),
        "{message}"
    );
    assert_eq!(
        cluster.get(HOST, "/").await.text(),
        "1\n",
        "it has a fresh memory"
    );
    for reason in ["Unhealthy", "Killed"] {
        assert_eq!(events(&cluster, reason).await.len(), 1, "{reason}");
    }
    let describe = cluster
        .warren(&["describe", "workload", "moody"])
        .await
        .ok();
    assert!(describe.contains("UNHEALTHY"), "{describe}");
}

/// A service that needs a while to listen is given its start period, and no more.
#[tokio::test]
async fn failures_within_the_start_period_do_not_count() {
    let cluster = cluster(1).await;
    let liveness = |start: &str| {
        manifest(&format!(
            "  env: {{ LISTEN_AFTER_MS: \"600\" }}\n  restart: {{ initialBackoff: 10ms, maxRestarts: 2 }}\n  liveness: {{ tcp: {{ port: 8080 }}, interval: 50ms, failureThreshold: 1, startPeriod: {start} }}\n"
        ))
    };
    cluster.apply(&liveness("20s")).await;
    let replica = cluster.replica("moody").await;
    assert_eq!(replica["restarts"], 0, "{replica:#}");

    let impatient = cluster.try_apply(&liveness("0s")).await;
    impatient.refused(
        1,
        &[
            "FAILED",
            "its liveness probe failed: connect to TCP port 8080: nothing listens there",
        ],
    );
}

#[tokio::test]
async fn probes_use_the_grpc_health_service() {
    let cluster = cluster(1).await;
    cluster
        .apply(&manifest(
            "  readiness: { grpc: { port: 8080, service: shop.v1.Cart }, interval: 50ms, failureThreshold: 1 }\n",
        ))
        .await;
    assert_eq!(cluster.get(HOST, "/sick?60000").await.status, 200);
    until_answers(&cluster, 503).await;
    let describe = cluster
        .warren(&["describe", "workload", "moody"])
        .await
        .ok();
    let why = "its readiness probe failed: gRPC health of `shop.v1.Cart` on port 8080: it answered NOT_SERVING";
    assert!(describe.contains(why), "{describe}");
}

#[tokio::test]
async fn apply_reports_why_a_probe_never_succeeds() {
    let cluster = cluster(1).await;
    let file = cluster.lab.write(
        "moody.yaml",
        manifest("  readiness: { http: { port: 81 }, interval: 50ms }\n"),
    );
    let answer = cluster
        .warren(&["apply", "-f", &file, "--wait", "--timeout", "2s"])
        .await;
    answer.refused(
        1,
        &["its readiness probe failed 3 times in a row: GET / on port 81: nothing listens there"],
    );
}
