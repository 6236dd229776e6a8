//! HTTP components, and their isolation from each other.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use warren_tests::{Reply, eventually, get, open, request, within};

use crate::{cluster, http_echo};

const HOST: &str = "echo.localhost";

#[tokio::test]
async fn bodies_stream_through_a_component() {
    let cluster = cluster(1).await;
    cluster.apply(&http_echo("")).await;
    let body: Vec<u8> = (0..5 << 20).map(|at: u32| (at % 251) as u8).collect();
    let sent = Bytes::from(body);
    let reply = request(cluster.http(), Method::POST, HOST, "/echo", sent.clone()).await;
    assert_eq!(reply.status, 200);
    assert!(
        reply.whole && reply.body == sent,
        "{} bytes came back",
        reply.body.len()
    );

    // The answer begins before the request has ended.
    let mut open = open(cluster.http(), HOST, "/echo", "first").await;
    assert_eq!(open.response.status(), 200);
    let frame = within("the first piece", open.response.body_mut().frame()).await;
    assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "first");
    drop(open.body);
    assert!(within("the end", Reply::read(open.response)).await.whole);
}

#[tokio::test]
async fn a_component_that_fails_fails_one_request() {
    let cluster = cluster(1).await;
    cluster
        .apply(&http_echo("  env: { GREETING: hello }\n"))
        .await;
    for (path, status) in [
        ("/", 200),
        ("/panic", 500),
        ("/alloc/64", 500),
        ("/status/418", 418),
    ] {
        assert_eq!(cluster.get(HOST, path).await.status, status, "{path}");
        assert_eq!(
            cluster.get(HOST, "/").await.text(),
            "hello\n",
            "after {path}"
        );
    }
    // The limit is that of one instance: below it there is memory.
    assert_eq!(cluster.get(HOST, "/alloc/16").await.text(), "ok 16\n");
    let env = cluster.get(HOST, "/env").await.text();
    assert_eq!(
        env, "GREETING=hello\n",
        "the environment must be exactly what the manifest says"
    );
    let headers = cluster.get(HOST, "/headers").await.text();
    assert!(headers.contains("x-forwarded-for: 127.0.0.1"), "{headers}");
    let replica = cluster.replica("echo").await;
    assert_eq!(
        (&replica["ready"], &replica["restarts"]),
        (&true.into(), &0.into())
    );
}

#[tokio::test]
async fn a_component_that_spins_is_ended_and_delays_no_one_else() {
    let cluster = cluster(1).await;
    cluster
        .apply(&http_echo("  limits: { timeout: 300ms }\n"))
        .await;
    let began = Instant::now();
    let http = cluster.http();
    let spins: Vec<_> = (0..4)
        .map(|_| tokio::spawn(get(http, HOST, "/spin")))
        .collect();
    assert_eq!(cluster.get(HOST, "/").await.text(), "hello\n");
    for spin in spins {
        let reply = spin.await.unwrap();
        assert_eq!(reply.status, 504, "{reply:?}");
        assert!(began.elapsed() >= Duration::from_millis(300));
    }
    assert_eq!(cluster.get(HOST, "/").await.text(), "hello\n");
}

#[tokio::test]
async fn a_truncated_body_never_looks_complete() {
    let cluster = cluster(1).await;
    cluster
        .apply(&http_echo("  limits: { timeout: 300ms }\n"))
        .await;
    let whole = cluster.get(HOST, "/big/1000000").await;
    assert!(
        whole.whole && whole.body.len() == 1_000_000,
        "{}",
        whole.body.len()
    );

    // Far more than can be sent within the timeout.
    let mut open = open(cluster.http(), HOST, "/big/1000000000000", "").await;
    drop(open.body);
    assert_eq!(open.response.status(), 200);
    let mut bytes = 0;
    let broken = loop {
        match within("a piece or the end", open.response.body_mut().frame()).await {
            Some(Ok(frame)) => bytes += frame.into_data().map_or(0, |data| data.len()),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(bytes > 0, "nothing came");
    assert!(broken, "{bytes} bytes came with a clean end");
}

#[tokio::test]
async fn requests_beyond_the_concurrency_limit_get_retry_after() {
    let cluster = cluster(1).await;
    cluster
        .apply(&http_echo("  limits: { concurrency: 1 }\n"))
        .await;
    let first = open(cluster.http(), HOST, "/echo", "held").await;
    assert_eq!(first.response.status(), 200);
    // One may wait; of two at once, the other is told to come back.
    let mut second = tokio::spawn(get(cluster.http(), HOST, "/"));
    let mut third = tokio::spawn(get(cluster.http(), HOST, "/"));
    let (refused, waiting) = tokio::select! {
        refused = &mut second => (refused, third),
        refused = &mut third => (refused, second),
    };
    let refused = refused.unwrap();
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    drop(first.body);
    assert_eq!(within("its turn", waiting).await.unwrap().status, 200);
    let first = within("the end", Reply::read(first.response)).await;
    assert!(first.whole && first.body == "held");
    let free = async || {
        let reply = cluster.get(HOST, "/").await;
        if reply.status == 200 {
            Ok(())
        } else {
            Err(reply)
        }
    };
    eventually("the slot is free once the body has ended", free).await;

    // A client that goes away gives its slot back too.
    let gone = open(cluster.http(), HOST, "/echo", "held").await;
    assert_eq!(gone.response.status(), 200);
    drop(gone);
    eventually("the slot is free once the client has gone", free).await;
}

#[tokio::test]
async fn hosts_and_paths_choose_the_component() {
    let cluster = cluster(1).await;
    cluster.apply(&http_echo("")).await;
    let file = warren_tests::guest("http-echo");
    cluster
        .apply(&format!(
            "name: paths\nreplicas: 1\ncomponents:\n\
             - {{ name: status, component: {file}, env: {{ WHO: status }}, routes: [ {{ host: paths.localhost, path: /env }} ] }}\n\
             - {{ name: any, component: {file}, env: {{ WHO: any }}, routes: [ {{ path: /env }} ] }}\n"
        ))
        .await;
    assert_eq!(
        cluster.get("paths.localhost", "/env").await.text(),
        "WHO=status\n"
    );
    assert_eq!(
        cluster.get("PATHS.localhost:8000", "/env").await.text(),
        "WHO=status\n"
    );
    assert_eq!(
        cluster.get("elsewhere.localhost", "/env").await.text(),
        "WHO=any\n"
    );
    // A host's own routes come first, though another has the longer path.
    assert_eq!(cluster.get(HOST, "/env").await.text(), "");
    assert_eq!(
        cluster.get("paths.localhost", "/environment").await.status,
        404
    );
}
