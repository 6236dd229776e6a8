//! Services that crash and are restarted.

use std::{io, net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use warren_tests::{Cluster, eventually, guest, within};

use crate::cluster;

/// The trapper greets its first client and traps; the component beside it passes the greeting on.
fn trapper(initial_backoff: &str) -> String {
    let (trapper, front) = (guest("trapper"), guest("trapper-front"));
    format!(
        "name: trapper\n\
         replicas: 1\n\
         service: {{ component: {trapper}, restart: {{ initialBackoff: {initial_backoff} }} }}\n\
         components:\n\
         - {{ name: front, component: {front}, routes: [ {{ host: trapper.localhost, path: / }} ] }}\n"
    )
}

/// Waits until the service runs its life number `restarts`, counted from 0.
async fn alive(cluster: &Cluster, restarts: u32) -> Value {
    eventually(
        &format!("the service is ready after {restarts} restarts"),
        async || {
            let replica = cluster.replica("trapper").await;
            let alive = replica["ready"] == true && replica["restarts"] == restarts;
            if alive { Ok(replica) } else { Err(replica) }
        },
    )
    .await
}

#[tokio::test]
async fn a_service_that_traps_is_restarted_with_growing_delays() {
    const LIVES: u32 = 4;
    let cluster = cluster(1).await;
    cluster.apply(&trapper("100ms")).await;
    let events = cluster.follow("events", &["events", "trapper", "-w", "-o", "json"]);
    let first = alive(&cluster, 0).await;
    assert!(first["lastExit"].is_null(), "{first:#}");
    let mut ends = Vec::new();
    for life in 0..LIVES {
        // Each life has bound port 8080 anew, and answers one client.
        let reply = cluster.get("trapper.localhost", "/").await;
        assert_eq!(reply.text(), "hello\n", "life {life}");
        let replica = alive(&cluster, life + 1).await;
        assert_eq!(
            replica["id"], first["id"],
            "restarted in place, not replaced"
        );
        assert_eq!(replica["phase"], "RUNNING");
        let exit = &replica["lastExit"];
        assert_eq!(exit["reason"], "TRAPPED", "{exit:#}");
        // By its name in the guest's source: demangled, from the component's name section.
        let message = exit["message"].as_str().unwrap();
        assert!(message.contains("!trapper::fall_over"), "{exit:#}");
        ends.push(exit["time"].as_str().unwrap().to_owned());
        let exits = replica["lastExits"].as_array().unwrap();
        let times: Vec<&Value> = exits.iter().map(|exit| &exit["time"]).collect();
        let newest_first: Vec<&String> = ends.iter().rev().collect();
        assert_eq!(times, newest_first, "{exits:#?}");
        for exit in exits {
            assert_eq!(exit["reason"], "TRAPPED", "{exit:#}");
            assert!(
                exit["message"]
                    .as_str()
                    .unwrap()
                    .contains("trapper::fall_over"),
                "{exit:#}"
            );
            assert!(
                exit["runDuration"].as_str().unwrap().ends_with('s'),
                "{exit:#}"
            );
        }
    }
    ends.dedup();
    assert_eq!(
        ends.len(),
        LIVES as usize,
        "an end was reported twice: {ends:?}"
    );

    let waits = events
        .said("of each restart", |lines| {
            let waits: Vec<Duration> = lines.iter().filter_map(|line| wait(line)).collect();
            (waits.len() >= LIVES as usize).then_some(waits)
        })
        .await;
    let mut expected = Duration::from_millis(100);
    for wait in waits {
        // Jitter is a tenth either way.
        assert!(
            wait >= expected.mul_f64(0.89) && wait <= expected.mul_f64(1.11),
            "{wait:?}"
        );
        expected *= 2;
    }

    // Told again and again to who watches, and kept once.
    let kept = cluster
        .warren(&["events", "trapper", "-o", "json"])
        .await
        .json();
    let kept = kept.as_array().unwrap();
    let of = |reason: &str| -> Vec<&Value> {
        let its = kept.iter().filter(|event| event["reason"] == reason);
        its.map(|event| &event["count"]).collect()
    };
    for reason in ["Exited", "Backoff"] {
        assert_eq!(of(reason), [&Value::from(LIVES)], "{reason}: {kept:#?}");
    }
    for reason in ["Started", "Ready"] {
        assert_eq!(of(reason), [&Value::from(LIVES + 1)], "{reason}: {kept:#?}");
    }
}

/// How long an event says that the service waits: `starting again in 98.5ms, restart 1 of ...`.
fn wait(event: &str) -> Option<Duration> {
    let event: Value = serde_json::from_str(event).unwrap();
    let (_, wait) = event["message"]
        .as_str()?
        .split_once("starting again in ")?;
    let (wait, _) = wait.split_once(',')?;
    let (number, unit) = match wait.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (wait.strip_suffix('s')?, 1.0),
    };
    Some(Duration::from_secs_f64(number.parse::<f64>().ok()? * unit))
}

#[tokio::test]
async fn describe_says_why_a_service_crashed() {
    let cluster = cluster(1).await;
    cluster.apply(&trapper("100ms")).await;
    assert_eq!(
        cluster.get("trapper.localhost", "/").await.text(),
        "hello\n"
    );
    alive(&cluster, 1).await;
    let text = cluster
        .warren(&["describe", "workload", "trapper"])
        .await
        .ok();
    for words in [
        "restarted once",
        "TRAPPED",
        // The function, from the name section, and what it said last.
        "fall_over",
        "| about to fall over",
        "the trapper fell over",
        "Exited",
        "Backoff",
        "starting again in",
        "of at most 10 within 5m",
    ] {
        assert!(text.contains(words), "`{words}` is missing in\n{text}");
    }
}

#[tokio::test]
async fn routes_of_a_service_that_is_down_answer_with_retry_after() {
    let cluster = cluster(1).await;
    cluster
        .apply(&trapper("5m").replace("initialBackoff: 5m", "initialBackoff: 5m, maxBackoff: 5m"))
        .await;
    assert_eq!(
        cluster.get("trapper.localhost", "/").await.text(),
        "hello\n"
    );
    let replica = eventually("the service waits", async || {
        let replica = cluster.replica("trapper").await;
        if replica["phase"] == "BACKOFF" {
            Ok(replica)
        } else {
            Err(replica)
        }
    })
    .await;
    assert_eq!(replica["ready"], false);
    let reply = cluster.get("trapper.localhost", "/").await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
    let workload = cluster.workload("trapper").await;
    assert_eq!(workload["status"]["readyReplicas"], 0, "{workload:#}");
}

#[tokio::test]
async fn a_published_port_stays_bound_while_its_service_is_down() {
    let cluster = cluster(1).await;
    let guest = guest("trapper");
    let manifest = |backoff: &str| {
        format!(
            "name: trapper\nreplicas: 1\nservice:\n  component: {guest}\n  \
             publish: [ {{ port: 8080, listen: \"127.0.0.1:0\" }} ]\n  \
             restart: {{ initialBackoff: {backoff}, maxBackoff: 5m }}\n"
        )
    };
    cluster.apply(&manifest("5m")).await;
    let port = cluster.published("trapper").await;
    let (said, client) = greet(port).await.unwrap();
    assert_eq!(said, "hello\n");
    let down = eventually("the service waits", async || {
        let replica = cluster.replica("trapper").await;
        if replica["phase"] == "BACKOFF" {
            Ok(replica)
        } else {
            Err(replica)
        }
    })
    .await;
    assert_eq!(down["endpoints"][0]["address"], port.to_string());
    // The guest saw the client itself, and not some address of the worker's.
    let logs = cluster.warren(&["logs", "trapper"]).await.ok();
    assert!(
        logs.contains(&format!("{client} connected")),
        "{client} is missing in {logs}"
    );
    let refused = greet(port).await.unwrap_err();
    assert_ne!(
        refused.kind(),
        io::ErrorKind::ConnectionRefused,
        "the port is not bound"
    );

    // With a short wait the same port answers again by itself.
    cluster.apply(&manifest("1ms")).await;
    let port = cluster.published("trapper").await;
    for life in 1..=3 {
        assert_eq!(greet(port).await.unwrap().0, "hello\n");
        alive(&cluster, life).await;
        assert_eq!(cluster.published("trapper").await, port);
    }
}

/// Connects, says hi, and returns all that came back and the address that it came from. A
/// connection that is reset at once may already be so when connecting returns.
pub(crate) async fn greet(port: SocketAddr) -> io::Result<(String, SocketAddr)> {
    let talk = async {
        let mut stream = TcpStream::connect(port).await?;
        stream.write_all(b"hi\n").await?;
        let mut said = String::new();
        stream.read_to_string(&mut said).await?;
        Ok((said, stream.local_addr()?))
    };
    within("the end of a connection", talk).await
}

#[tokio::test]
async fn a_service_that_ends_too_often_fails_and_is_replaced() {
    let cluster = cluster(1).await;
    let guest = guest("std-net");
    let manifest = format!(
        "name: short\nreplicas: 1\nservice:\n  component: {guest}\n  args: [ exit, err ]\n  \
         restart: {{ initialBackoff: 1ms, maxBackoff: 1ms, maxRestarts: 3 }}\n"
    );
    let answer = cluster.try_apply(&manifest).await;
    answer.refused(
        1,
        &["short", "FAILED", "restarted 3 times", "EXITED with code 1"],
    );
    let first = cluster.replicas("short").await;
    let id = first.iter().find(|one| one["phase"] == "FAILED").unwrap()["id"].clone();
    eventually("another replica takes its place", async || {
        let replicas = cluster.replicas("short").await;
        let other = replicas.iter().any(|one| one["id"] != id);
        if other { Ok(()) } else { Err(replicas) }
    })
    .await;
}

#[tokio::test]
async fn a_service_that_succeeds_completes_where_its_policy_says_so() {
    let cluster = cluster(1).await;
    let guest = guest("std-net");
    cluster
        .apply(&format!(
            "name: job\nreplicas: 1\nservice:\n  component: {guest}\n  args: [ exit, ok ]\n  restart: {{ policy: on-failure }}\n"
        ))
        .await;
    let replica = cluster.replica("job").await;
    assert_eq!(replica["phase"], "COMPLETED", "{replica:#}");
    assert_eq!(replica["restarts"], 0);
    assert_eq!(replica["lastExit"]["reason"], "EXITED");
    assert_eq!(replica["lastExit"]["code"], 0);
}
