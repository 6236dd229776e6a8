//! HTTP that guests send, and what they are told, and others, when they may not.

use std::collections::HashSet;

use serde_json::Value;
use warren_tests::{Cluster, eventually, guest};

use crate::cluster;

/// A service that is an HTTP server, and components of both versions of WASI that fetch what they
/// are asked for.
fn manifest(more: &str) -> String {
    let (web, old, new) = (guest("web"), guest("http-echo"), guest("p3-http"));
    format!(
        "name: site\nreplicas: 1\nservice:\n  component: {web}\n  args: [ \"8080\" ]\n  \
         restart: {{ initialBackoff: 10ms }}\n  \
         routes: [ {{ host: web.localhost, port: 8080 }} ]\ncomponents:\n\
         - name: old\n  component: {old}\n  routes: [ {{ host: old.localhost }} ]\n{more}\
         - name: new\n  component: {new}\n  routes: [ {{ host: new.localhost }} ]\n"
    )
}

/// From which port the service saw the request come.
fn port(answer: &str) -> u16 {
    let from = answer.split(" from 127.0.0.1:").nth(1);
    let port = from.and_then(|rest| rest.lines().next());
    let port = port.unwrap_or_else(|| panic!("no port in {answer}"));
    port.parse().unwrap()
}

async fn refused(cluster: &Cluster) -> Vec<Value> {
    let events = cluster.warren(&["events", "site", "-o", "json"]).await;
    let events = events.json();
    let events = events.as_array().unwrap().iter();
    events
        .filter(|one| one["reason"] == "Refused")
        .cloned()
        .collect()
}

#[tokio::test]
async fn components_reach_their_own_service_over_kept_connections() {
    let cluster = cluster(1).await;
    cluster.apply(&manifest("")).await;
    let mut before = HashSet::new();
    for host in ["old.localhost", "new.localhost"] {
        let mut ports = HashSet::new();
        for _ in 0..5 {
            let reply = cluster.get(host, "/fetch?http://localhost:8080/").await;
            assert_eq!(reply.status, 200, "{host}: {reply:?}");
            ports.insert(port(&reply.text()));
        }
        assert_eq!(ports.len(), 1, "{host}");
        before.extend(ports);
    }
    assert_eq!(before.len(), 2, "each component has its own");
    let grpc = cluster
        .get("new.localhost", "/fetch-grpc?http://localhost:8080/s/m")
        .await;
    assert!(grpc.text().contains("HTTP/2.0 from 127.0.0.1:"), "{grpc:?}");

    // A service that was started again is reached again, and over no connection of before.
    let _ = cluster.get("web.localhost", "/exit").await;
    eventually("it runs again", async || {
        let replica = cluster.replica("site").await;
        let is_back = replica["restarts"] == 1 && replica["ready"] == true;
        if is_back { Ok(()) } else { Err(replica) }
    })
    .await;
    for host in ["old.localhost", "new.localhost"] {
        let reply = cluster.get(host, "/fetch?http://localhost:8080/").await;
        assert_eq!(reply.status, 200, "{host}: {reply:?}");
        assert!(!before.contains(&port(&reply.text())), "{host}: {reply:?}");
    }
}

#[tokio::test]
async fn denied_egress_is_an_error_code_one_event_and_a_count() {
    let cluster = cluster(1).await;
    cluster
        .apply(&manifest("  egress: [ \"198.51.100.0/24:80\" ]\n"))
        .await;
    let (first, second) = ("http://192.0.2.1:8080/", "http://198.51.100.1:81/");
    for url in [first, second, first, first] {
        let reply = cluster.get("old.localhost", &format!("/fetch?{url}")).await;
        let told = reply.text();
        assert_eq!(told, "error ErrorCode::HttpRequestDenied\n", "{url}");
    }
    let events = eventually("both are reported, with the full count", async || {
        let events = refused(&cluster).await;
        let counts: Vec<_> = events.iter().map(|one| one["count"].as_u64()).collect();
        let is_told = events.len() == 2 && counts.contains(&Some(3)) && counts.contains(&Some(1));
        if is_told { Ok(events) } else { Err(events) }
    })
    .await;
    for (place, count) in [("192.0.2.1:8080", 3), ("198.51.100.1:81", 1)] {
        let words = format!(
            "component `old` was not allowed to connect to TCP {place}: egress does not allow {place}"
        );
        let event = events.iter().find(|one| one["count"] == count).unwrap();
        let message = event["message"].as_str().unwrap();
        assert!(message.starts_with(&words), "{message}");
        assert_eq!(event["type"], "WARNING");
    }
    let table = cluster.warren(&["events", "site"]).await.ok();
    let lines = table.lines().filter(|line| line.contains("Refused"));
    assert_eq!(lines.count(), 2, "{table}");
}
