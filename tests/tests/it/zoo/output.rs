//! Guests that write too much, and clients and guests that are too slow.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};
use warren_tests::{Open, open, try_get, within};

use super::{HOST, Zoo, component, service};

const GIBIBYTE: u64 = 1 << 30;
/// What a worker may grow by while much passes through it.
const ROOM: u64 = 64 << 20;

fn resident(zoo: &Zoo) -> u64 {
    zoo.cluster.workers[0].process.resident()
}

#[tokio::test]
async fn log_flood() {
    let zoo = Zoo::open().await;
    let before = resident(&zoo);
    zoo.admit(&service("logs", "")).await;
    // The newest line tells how many before it were not kept.
    zoo.log_has("lines were not kept)").await;
    zoo.goes_on().await;
    let after = resident(&zoo);
    assert!(after < before + ROOM, "from {before} to {after} bytes");
    zoo.put_down().await;

    zoo.cluster
        .apply(&component("  limits: { timeout: 1s }\n", ""))
        .await;
    let reply = zoo.ask("/logs").await;
    assert_eq!(reply.status, 504, "{reply:?}");
    zoo.log_has("of a flood").await;
    zoo.close().await;
}

#[tokio::test]
async fn a_line_without_end() {
    let zoo = Zoo::open().await;
    let before = resident(&zoo);
    zoo.admit(&service("line", "")).await;
    zoo.beast("it runs", |replica| replica["phase"] == "RUNNING")
        .await;
    zoo.goes_on().await;
    let after = resident(&zoo);
    assert!(after < before + ROOM, "from {before} to {after} bytes");
    // It ends with its guest; until then it is not one.
    zoo.put_down().await;
    zoo.close().await;
}

#[tokio::test]
async fn a_gibibyte_to_one_who_reads() {
    let zoo = Zoo::open().await;
    zoo.cluster
        .apply(&crate::http_echo("  limits: { timeout: 5m }\n"))
        .await;
    let before = resident(&zoo);
    let path = format!("/big/{GIBIBYTE}");
    let Open { response, body } = open(zoo.cluster.http(), "echo.localhost", &path, "").await;
    drop(body);
    assert_eq!(response.status(), 200);
    let (mut bytes, mut most) = (0, 0);
    let mut body = response.into_body();
    while let Some(frame) = within("a piece or the end", body.frame()).await {
        let data = frame.unwrap().into_data().unwrap_or_default();
        let passed = bytes / ROOM;
        bytes += data.len() as u64;
        if bytes / ROOM > passed {
            most = most.max(resident(&zoo));
        }
    }
    assert_eq!(bytes, GIBIBYTE);
    assert!(most < before + ROOM, "from {before} to {most} bytes");
    zoo.close().await;
}

#[tokio::test]
async fn a_gibibyte_to_those_who_do_not_read() {
    let zoo = Zoo::open().await;
    zoo.cluster
        .apply(&component("  limits: { timeout: 2s }\n", ""))
        .await;
    let before = resident(&zoo);
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(open(zoo.cluster.http(), HOST, "/flood", "").await);
    }
    zoo.goes_on().await;
    let during = resident(&zoo);
    assert!(during < before + ROOM, "from {before} to {during} bytes");
    zoo.log_has("invocation failed: it did not finish its answer within 2s")
        .await;
    // What came is no whole answer.
    for one in held {
        assert!(is_broken(one.response.into_body()).await);
    }
    assert_eq!(zoo.ask("/").await.text(), "hello\n");
    zoo.close().await;
}

async fn is_broken(mut body: Incoming) -> bool {
    loop {
        match within("a piece or the end", body.frame()).await {
            Some(Ok(_)) => {}
            Some(Err(_)) => return true,
            None => return false,
        }
    }
}

/// Each to the end of the worker's patience, all at once: clients that send a byte of a request now
/// and then, a component and a service that send a byte of an answer.
#[tokio::test]
async fn slow_clients_and_guests() {
    const CLIENTS: usize = 200;
    let zoo = Zoo::open().await;
    let front = component("  limits: { timeout: 2s }\n", "");
    let (_, components) = front.split_once("components:\n").unwrap();
    let route = "  routes: [ { host: drip.localhost, path: /, port: 8080 } ]\n";
    let both = service("drip", route);
    zoo.cluster
        .apply(&format!("{both}components:\n{components}"))
        .await;
    let http = zoo.cluster.http();

    // The head of a service's answer has a time.
    let from_service = tokio::spawn(async move {
        let answer = try_get(http, "drip.localhost", "/");
        timeout(Duration::from_secs(100), answer).await
    });
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(drip(http));
    }
    // A component's whole answer has one, and what came is no whole answer.
    let one = open(http, HOST, "/drip", "").await;
    assert_eq!(one.response.status(), 200);
    zoo.goes_on().await;
    assert!(is_broken(one.response.into_body()).await);
    zoo.log_has("invocation failed: it did not finish its answer within 2s")
        .await;
    while let Some(held_for) = clients.join_next().await {
        let held_for = held_for.unwrap();
        let patience = Duration::from_secs(25)..Duration::from_secs(55);
        assert!(patience.contains(&held_for), "{held_for:?}");
    }
    let reply = from_service.await.unwrap().unwrap().unwrap();
    assert_eq!(reply.status, 504, "{reply:?}");
    let text = String::from_utf8_lossy(&reply.body);
    assert!(text.contains("it did not begin to answer within"), "{text}");
    zoo.close().await;
}

/// For how long the ingress bears it.
async fn drip(to: SocketAddr) -> Duration {
    let began = Instant::now();
    let mut stream = TcpStream::connect(to).await.unwrap();
    let head = "GET / HTTP/1.1\r\nHost: neighbour.localhost\r\nX-Slow: ";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut from, mut into) = stream.split();
    let slowly = async {
        while into.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(500)).await;
        }
    };
    let mut answer = Vec::new();
    let until_closed = async {
        // However it ends: what counts is that it does.
        let _ = from.read_to_end(&mut answer).await;
    };
    tokio::select! {
        () = within("its end", until_closed) => {}
        () = slowly => {}
    }
    began.elapsed()
}
