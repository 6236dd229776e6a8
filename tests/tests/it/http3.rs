//! HTTP components of WASI 0.3: fresh for each request, or one for many where the manifest says so.

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use warren_tests::{Reply, guest, open, request, within};

use crate::cluster;

const HOST: &str = "new.localhost";

fn manifest(more: &str) -> String {
    let component = guest("p3-http");
    format!(
        "name: new\ncomponents:\n- name: api\n  component: {component}\n  routes: [ {{ host: {HOST} }} ]\n{more}"
    )
}

#[tokio::test]
async fn every_request_has_a_fresh_instance() {
    let cluster = cluster(1).await;
    cluster.apply(&manifest("")).await;
    for _ in 0..5 {
        assert_eq!(cluster.get(HOST, "/count").await.text(), "1\n");
    }
    let target = cluster.get(HOST, "/target?x=1").await.text();
    assert_eq!(target, "new.localhost /target?x=1\n");
    assert_eq!(cluster.get(HOST, "/nowhere").await.status, 404);
    let head = request(cluster.http(), Method::HEAD, HOST, "/", Bytes::new()).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let cluster = cluster(1).await;
    cluster.apply(&manifest("")).await;
    let body: Vec<u8> = (0..5 << 20).map(|at: u32| (at % 251) as u8).collect();
    let sent = Bytes::from(body);
    let reply = request(cluster.http(), Method::POST, HOST, "/echo", sent.clone()).await;
    assert!(reply.whole && reply.body == sent, "{}", reply.body.len());

    // The answer begins before the request has ended.
    let mut open = open(cluster.http(), HOST, "/upper", "first").await;
    let frame = within("the first piece", open.response.body_mut().frame()).await;
    assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "FIRST");
    drop(open.body);
    assert!(within("the end", Reply::read(open.response)).await.whole);

    let large = cluster.get(HOST, "/bytes?20000000").await;
    assert!(large.whole && large.body.len() == 20_000_000);
}

#[tokio::test]
async fn a_failing_request_fails_alone_and_never_looks_complete() {
    let cluster = cluster(1).await;
    cluster
        .apply(&manifest("  limits: { timeout: 300ms }\n"))
        .await;
    for (path, status) in [
        ("/", 200),
        ("/trap", 500),
        ("/error", 500),
        ("/wait?5000", 504),
        ("/spin", 504),
    ] {
        assert_eq!(cluster.get(HOST, path).await.status, status, "{path}");
        assert_eq!(
            cluster.get(HOST, "/").await.text(),
            "hello\n",
            "after {path}"
        );
    }
    let late = cluster.get(HOST, "/drip?1000").await;
    assert_eq!(late.status, 200);
    assert!(!late.whole && !late.body.is_empty(), "{late:?}");
    let logs = cluster.warren(&["logs", "new"]).await.ok();
    assert!(logs.contains("did not answer within 300ms"), "{logs}");
}

#[tokio::test]
async fn a_body_cut_off_by_a_trap_does_not_look_complete() {
    let cluster = cluster(1).await;
    cluster.apply(&manifest("")).await;
    let mut open = open(cluster.http(), HOST, "/trap-in-body", "first").await;
    let frame = within("the first half", open.response.body_mut().frame()).await;
    let half = frame.unwrap().unwrap().into_data().unwrap();
    assert_eq!(half, "half of the ans");
    drop(open.body);
    let rest = within("the end", Reply::read(open.response)).await;
    assert!(!rest.whole && rest.body.is_empty(), "{rest:?}");
    let logs = cluster.warren(&["logs", "new"]).await.ok();
    assert!(logs.contains("asked to, in the body"), "{logs}");
}

#[tokio::test]
async fn one_instance_serves_many_where_the_manifest_says_so() {
    let cluster = cluster(1).await;
    cluster
        .apply(&manifest("  reuse: { requests: 8, concurrency: 4 }\n"))
        .await;
    let mut counts = Vec::new();
    for _ in 0..16 {
        counts.push(cluster.get(HOST, "/count").await.text().trim().to_owned());
    }
    let expected: Vec<String> = (0..16).map(|n| (n % 8 + 1).to_string()).collect();
    assert_eq!(counts, expected, "eight requests an instance");

    // Four at once in one instance, the others in another.
    let http = cluster.http();
    let waits = (0..8).map(|_| tokio::spawn(warren_tests::get(http, HOST, "/wait?300")));
    let mut together = 0;
    for wait in waits.collect::<Vec<_>>() {
        let text = wait.await.unwrap().text();
        let open: u32 = text.split(' ').next().unwrap().parse().unwrap();
        assert!(open <= 4, "{text}");
        together = together.max(open);
    }
    assert!(together > 1, "no two requests were in one instance");
}

#[tokio::test]
async fn a_trap_in_a_shared_instance_ends_it_and_the_next_request_has_another() {
    let cluster = cluster(1).await;
    cluster
        .apply(&manifest(
            "  reuse: { requests: 1000, concurrency: 8 }\n  limits: { timeout: 2s }\n",
        ))
        .await;
    assert_eq!(cluster.get(HOST, "/count").await.text(), "1\n");
    assert_eq!(cluster.get(HOST, "/count").await.text(), "2\n");
    assert_eq!(cluster.get(HOST, "/trap").await.status, 500);
    assert_eq!(cluster.get(HOST, "/count").await.text(), "1\n");
    // A client that goes away takes its instance with it once nobody else is in there.
    let drip = open(cluster.http(), HOST, "/drip?1000", "").await;
    drop(drip);
    warren_tests::eventually("a fresh instance", async || {
        let count = cluster.get(HOST, "/count").await.text();
        if count == "1\n" { Ok(()) } else { Err(count) }
    })
    .await;
    // One that spins holds up its instance alone, and for its timeout alone.
    let http = cluster.http();
    let spin = tokio::spawn(warren_tests::get(http, HOST, "/spin"));
    assert_eq!(spin.await.unwrap().status, 504);
    assert_eq!(cluster.get(HOST, "/").await.text(), "hello\n");
}

#[tokio::test]
async fn outgoing_requests_reach_only_the_workloads_own_service() {
    let cluster = cluster(1).await;
    let (service, component) = (guest("web"), guest("p3-http"));
    cluster
        .apply(&format!(
            "name: new\nservice:\n  component: {service}\n  args: [ \"8080\" ]\ncomponents:\n- name: api\n  component: {component}\n  routes: [ {{ host: {HOST} }} ]\n"
        ))
        .await;
    let own = cluster.get(HOST, "/fetch?http://localhost:8080/").await;
    assert_eq!(own.status, 200, "{own:?}");
    assert!(!own.body.is_empty());
    let outside = cluster.get(HOST, "/fetch?http://192.0.2.1/").await;
    assert_eq!(outside.status, 500, "{outside:?}");
}

#[tokio::test]
async fn an_instance_of_0_2_cannot_be_reused() {
    let cluster = cluster(1).await;
    let component = guest("http-echo");
    let refused = cluster
        .try_apply(&format!(
            "name: old\ncomponents:\n- name: api\n  component: {component}\n  routes: [ {{ host: {HOST} }} ]\n  reuse: {{}}\n"
        ))
        .await;
    refused.refused(1, &["reuse", "wasi:http/handler", "0.3"]);
}
