//! Any worker answers for every route: requests that go on to a worker with a ready replica.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use warren_tests::{Cluster, Reply, eventually, get, guest, open, request, within};

use crate::{cluster, http_echo, lab};

/// The worker that runs the workload's only replica, and one that does not.
async fn places(cluster: &Cluster, name: &str) -> (usize, usize) {
    let replica = cluster.replica(name).await;
    let worker = replica["worker"].as_str().unwrap();
    let mut workers = cluster.workers.iter();
    let with = workers.position(|known| known.name == worker).unwrap();
    (with, (with + 1) % cluster.workers.len())
}

/// Returns once the worker knows the way.
async fn answered(cluster: &Cluster, worker: usize, host: &str, path: &str) -> Reply {
    let http = cluster.workers[worker].http;
    eventually("the worker answers for the route", async || {
        let reply = get(http, host, path).await;
        if reply.status == 200 {
            Ok(reply)
        } else {
            Err(reply)
        }
    })
    .await
}

#[tokio::test]
async fn a_worker_without_a_replica_forwards_to_one_that_has_it() {
    let cluster = cluster(2).await;
    cluster.apply(&http_echo("")).await;
    let host = "echo.localhost";
    let (_, without) = places(&cluster, "echo").await;
    answered(&cluster, without, host, "/").await;
    let http = cluster.workers[without].http;
    let headers = get(http, host, "/headers").await.text();
    assert!(
        headers.contains("x-forwarded-for: 127.0.0.1\n"),
        "{headers}"
    );
    assert!(
        headers.contains("x-forwarded-host: echo.localhost\n"),
        "{headers}"
    );
    assert!(headers.contains("x-forwarded-proto: http\n"), "{headers}");
    assert!(!headers.contains("warren-"), "{headers}");

    let body: Vec<u8> = (0..3 << 20).map(|at: u32| (at % 251) as u8).collect();
    let sent = Bytes::from(body);
    let reply = request(http, Method::POST, host, "/echo", sent.clone()).await;
    assert!(
        reply.whole && reply.body == sent,
        "{} bytes came back",
        reply.body.len()
    );
    // Both ways at once.
    let mut streamed = open(http, host, "/echo", "first").await;
    let frame = within("the first piece", streamed.response.body_mut().frame()).await;
    assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "first");
    drop(streamed.body);
    assert!(
        within("the end", Reply::read(streamed.response))
            .await
            .whole
    );
    // What breaks there breaks here.
    assert_eq!(get(http, host, "/panic").await.status, 500);
    assert_eq!(get(http, host, "/status/418").await.status, 418);

    let nobody = get(http, "nobody.localhost", "/").await;
    assert_eq!(nobody.status, 404, "{nobody:?}");
    cluster
        .warren(&["delete", "workload", "echo", "--wait"])
        .await
        .ok();
    eventually("the route is gone everywhere", async || {
        let reply = get(http, host, "/").await;
        if reply.status == 404 {
            Ok(())
        } else {
            Err(reply)
        }
    })
    .await;
}

#[tokio::test]
async fn streams_upgrades_and_grpc_reach_a_service_elsewhere() {
    let cluster = cluster(2).await;
    let web = guest("web");
    cluster
        .apply(&format!(
            "name: web\nservice:\n  component: {web}\n  args: [ \"8080\" ]\n  routes:\n  \
             - {{ host: web.localhost, port: 8080 }}\n  - {{ host: h2.localhost, port: 8080, protocol: h2c }}\n"
        ))
        .await;
    let (_, without) = places(&cluster, "web").await;
    answered(&cluster, without, "web.localhost", "/").await;
    let http = cluster.workers[without].http;

    let told = get(http, "web.localhost", "/").await.text();
    assert_eq!(
        told.matches("x-forwarded-for: 127.0.0.1").count(),
        1,
        "{told}"
    );
    // A stream of events comes as it is made, and ends with its client.
    for host in ["web.localhost", "h2.localhost"] {
        let mut events = open(http, host, "/events", "").await;
        let mut seen = String::new();
        while !seen.contains("data: 3\n") {
            let frame = within("an event", events.response.body_mut().frame()).await;
            let data = frame.unwrap().unwrap().into_data().unwrap();
            seen += std::str::from_utf8(&data).unwrap();
        }
        drop(events);
    }
    eventually("the service learns that its clients are gone", async || {
        let logs = cluster.warren(&["logs", "web"]).await.ok();
        if logs.matches("events: the client is gone").count() == 2 {
            Ok(())
        } else {
            Err(logs)
        }
    })
    .await;

    let stream = TcpStream::connect(http).await.unwrap();
    let upgrade = tokio_tungstenite::client_async("ws://web.localhost/ws", stream);
    let (mut socket, response) = within("the upgrade", upgrade).await.unwrap();
    assert_eq!(response.status(), 101);
    let large = "y".repeat(300_000);
    for text in ["one", "two", &large] {
        socket.send(Message::text(text)).await.unwrap();
        let back = within("the echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(back.into_text().unwrap(), text);
    }
    socket.close(None).await.unwrap();
    while let Some(message) = within("the end", socket.next()).await {
        assert!(message.unwrap().is_close());
    }

    // As gRPC clients do: HTTP/2 with prior knowledge, and trailers.
    let stream = TcpStream::connect(http).await.unwrap();
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let call = Request::post("http://web.localhost/echo")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(b"\0\0\0\0\x02hi")));
    let response = within("an answer", client.send_request(call.unwrap()))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let whole = within("its trailers", response.into_body().collect())
        .await
        .unwrap();
    assert!(whole.trailers().is_some(), "they came with it");
    assert_eq!(whole.to_bytes(), &b"\0\0\0\0\x02hi"[..]);
}

#[tokio::test]
async fn a_worker_that_is_killed_costs_no_request_where_another_has_a_replica() {
    // Nothing is replaced meanwhile.
    let patient = ["--worker-timeout", "120s"];
    let mut cluster = Cluster::start_with(lab(), 3, &patient, &[]).await;
    let component = guest("http-echo");
    cluster
        .apply(&format!(
            "name: echo\nreplicas: 2\ncomponents:\n- {{ name: web, component: {component}, routes: [ {{ host: echo.localhost }} ] }}\n"
        ))
        .await;
    let host = "echo.localhost";
    let with: Vec<String> = cluster
        .replicas("echo")
        .await
        .iter()
        .map(|replica| replica["worker"].as_str().unwrap().to_owned())
        .collect();
    let without = cluster
        .workers
        .iter()
        .position(|w| !with.contains(&w.name))
        .unwrap();
    answered(&cluster, without, host, "/").await;
    let http = cluster.workers[without].http;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load: Vec<_> = (0..4)
        .map(|_| {
            let stopped = stopped.clone();
            tokio::spawn(async move {
                let mut answers = 0_usize;
                while !*stopped.borrow() {
                    let reply = get(http, host, "/wait/5").await;
                    assert_eq!(reply.status, 200, "after {answers} answers: {reply:?}");
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let victim = cluster
        .workers
        .iter_mut()
        .find(|w| w.name == with[0])
        .unwrap();
    victim.process.kill().await;
    // For as long as the control plane still names it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop.send_replace(true);
    for load in load {
        assert!(within("the load", load).await.unwrap() > 10);
    }
    // With the other one gone too there is nobody, which is said at once.
    let last = cluster
        .workers
        .iter_mut()
        .find(|w| w.name == with[1])
        .unwrap();
    last.process.kill().await;
    let reply = get(http, host, "/").await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
}

#[tokio::test]
async fn workers_keep_forwarding_while_the_control_plane_is_down() {
    let mut cluster = cluster(2).await;
    cluster.apply(&http_echo("")).await;
    let (with, without) = places(&cluster, "echo").await;
    answered(&cluster, without, "echo.localhost", "/").await;
    cluster.control.process.kill().await;
    let reply = get(cluster.workers[without].http, "echo.localhost", "/").await;
    assert_eq!(reply.text(), "hello\n");
    // A worker never forwards a request that was forwarded to it, so two workers with old tables
    // do not send it back and forth.
    cluster.workers[with].process.kill().await;
    eventually("no replica can be reached", async || {
        let reply = get(cluster.workers[without].http, "echo.localhost", "/").await;
        match reply.status.as_u16() {
            503 => Ok(()),
            // It was sent before the worker noticed that the connection had ended.
            502 => Err(reply),
            _ => panic!("{reply:?}"),
        }
    })
    .await;
}
