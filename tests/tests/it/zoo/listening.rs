//! Services that do not listen, listen late, or stop answering.

use warren_tests::{eventually, guest};

use super::{BEAST, HOST, Zoo, service};

const ROUTE: &str = "  routes: [ { host: beast.localhost, path: /, port: 8080 } ]\n";

/// A condition's status and reason.
fn condition<'a>(replica: &'a serde_json::Value, kind: &str) -> (&'a str, &'a str) {
    let all = replica["conditions"].as_array().unwrap();
    let one = all.iter().find(|condition| condition["type"] == kind);
    let one = one.unwrap_or_else(|| panic!("no {kind} in {replica:#}"));
    (
        one["status"].as_str().unwrap(),
        one["reason"].as_str().unwrap(),
    )
}

fn moody(more: &str) -> String {
    let moody = guest("moody");
    format!("name: {BEAST}\nreplicas: 1\nservice:\n  component: {moody}\n{ROUTE}{more}")
}

#[tokio::test]
async fn never() {
    let zoo = Zoo::open().await;
    zoo.admit(&service("silent", ROUTE)).await;
    zoo.beast("it runs", |replica| replica["phase"] == "RUNNING")
        .await;
    let reply = zoo.ask("/").await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    zoo.goes_on().await;
    let replica = zoo.cluster.replica(BEAST).await;
    assert_eq!(replica["ready"], false, "{replica:#}");
    assert_eq!(condition(&replica, "Ready"), ("FALSE", "NotListening"));

    // With a probe it is not left like that.
    let probe = "  liveness: { tcp: { port: 8080 }, interval: 50ms, failureThreshold: 2, startPeriod: 0s }\n  restart: { initialBackoff: 1h, maxBackoff: 1h }\n";
    zoo.admit(&service("silent", &format!("{ROUTE}{probe}")))
        .await;
    let words = ["TCP port 8080: nothing listens there"];
    zoo.last_exit("UNHEALTHY", &words).await;
    zoo.close().await;
}

#[tokio::test]
async fn late() {
    let zoo = Zoo::open().await;
    let late = "  env: { LISTEN_AFTER_MS: \"3000\" }\n";
    zoo.admit(&moody(late)).await;
    let replica = zoo.beast("it runs", |replica| replica["phase"] == "RUNNING");
    let replica = replica.await;
    assert_eq!(condition(&replica, "Ready"), ("FALSE", "NotListening"));
    assert_eq!(zoo.ask("/").await.status, 503);
    let told = eventually("it listens", async || {
        let reply = zoo.ask("/").await;
        match reply.status.as_u16() {
            200 => Ok(zoo.cluster.replica(BEAST).await),
            _ => Err(reply),
        }
    });
    let replica = told.await;
    assert_eq!(
        (&replica["ready"], &replica["restarts"]),
        (&true.into(), &0.into()),
        "{replica:#}"
    );
    zoo.close().await;
}

#[tokio::test]
async fn no_longer() {
    let zoo = Zoo::open().await;
    let probe = "  liveness: { http: { port: 8080, path: /healthz }, interval: 50ms, timeout: 200ms, failureThreshold: 3 }\n  restart: { initialBackoff: 1h, maxBackoff: 1h }\n";
    zoo.cluster.apply(&moody(probe)).await;
    assert_eq!(zoo.ask("/hang").await.status, 200);
    let words = ["GET /healthz on port 8080: no answer within 200ms"];
    zoo.last_exit("UNHEALTHY", &words).await;
    assert_eq!(zoo.ask("/").await.status, 503, "{HOST}");
    zoo.goes_on().await;
    zoo.close().await;
}
