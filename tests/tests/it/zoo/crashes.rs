//! Services that crash as soon as they are started, over and over.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::time::sleep;
use warren_tests::{eventually, guest};

use super::Zoo;

const LOOPS: usize = 60;
/// For how long they are watched.
const WATCHED: Duration = Duration::from_secs(10);
/// The control plane takes a worker for lost after ten seconds without a heartbeat.
const LATE: Duration = Duration::from_secs(6);

/// One manifest of all of them.
fn loops() -> String {
    let guest = guest("std-net");
    let mut manifest = String::new();
    for number in 0..LOOPS {
        let _ = write!(
            manifest,
            "---\nname: loop-{number}\nreplicas: 1\nservice:\n  component: {guest}\n  args: [ exit, err ]\n  \
             restart: {{ initialBackoff: 1ms, maxBackoff: 1ms, maxRestarts: 4294967295 }}\n"
        );
    }
    manifest
}

/// How often each of them was started again.
async fn restarts(zoo: &Zoo) -> Vec<u64> {
    let get = ["get", "replicas", "-o", "json"];
    let replicas = zoo.cluster.warren(&get).await.json();
    let loops = replicas.as_array().unwrap().iter();
    let loops = loops.filter(|it| it["workload"].as_str().unwrap().starts_with("loop-"));
    loops.map(|it| it["restarts"].as_u64().unwrap()).collect()
}

async fn worker(zoo: &Zoo) -> Value {
    let get = ["get", "workers", "w1", "-o", "json"];
    zoo.cluster.warren(&get).await.json()
}

/// What the control plane and the worker have written on stderr, in bytes.
fn logged(zoo: &Zoo) -> usize {
    let (control, worker) = (
        &zoo.cluster.control.process,
        &zoo.cluster.workers[0].process,
    );
    control.stderr().len() + worker.stderr().len()
}

#[tokio::test]
async fn sixty_crash_loops() {
    let zoo = Zoo::open().await;
    let quiet = logged(&zoo);
    zoo.admit(&loops()).await;
    // Past what they may do at once.
    eventually("all of them crash again and again", async || {
        let restarts = restarts(&zoo).await;
        let all = restarts.len() == LOOPS && restarts.iter().all(|times| *times > 20);
        if all { Ok(()) } else { Err(restarts) }
    })
    .await;

    let (began, before) = (Instant::now(), restarts(&zoo).await);
    let cpu = zoo.cluster.control.process.cpu();
    let (mut heard, mut last, mut longest) = (Value::Null, began, Duration::ZERO);
    while began.elapsed() < WATCHED {
        let worker = worker(&zoo).await;
        assert_eq!(worker["ready"], true, "{worker:#}");
        if worker["lastHeartbeat"] != heard {
            heard = worker["lastHeartbeat"].clone();
            last = Instant::now();
        }
        longest = longest.max(last.elapsed());
        sleep(Duration::from_millis(200)).await;
    }
    let took = began.elapsed();
    let cpu = zoo.cluster.control.process.cpu() - cpu;
    assert!(longest < LATE, "no heartbeat for {longest:?}");
    assert!(
        cpu < took / 2,
        "the control plane took {cpu:?} within {took:?}"
    );

    // A restart each 100 ms, then one a second; and a report of it may be a second old.
    let after = restarts(&zoo).await;
    let most = u64::try_from(took.as_millis()).unwrap() / 100 + 20;
    for (before, after) in before.iter().zip(&after) {
        assert!(
            after > before && after - before <= most,
            "{before} and then {after}"
        );
    }
    let bytes = logged(&zoo) - quiet;
    assert!(bytes < LOOPS * 20_000, "{bytes} bytes of Warren's own log");
    // What was left out is counted, by the next line of its kind.
    eventually("the log says how much was left out", async || {
        let log = zoo.cluster.workers[0].process.stderr();
        match log.contains("left out before it") {
            true => Ok(()),
            false => Err(super::tail(&log)),
        }
    })
    .await;
    // Of each there are a few events, however often it crashed.
    let events = ["events", "loop-7", "-o", "json"];
    let events = zoo.cluster.warren(&events).await.json();
    let events = events.as_array().unwrap();
    assert!(events.len() < 20, "{events:#?}");
    let exited = events.iter().find(|event| event["reason"] == "Exited");
    assert!(exited.unwrap()["count"].as_u64().unwrap() > 20);
    zoo.goes_on().await;
    zoo.close().await;
}
