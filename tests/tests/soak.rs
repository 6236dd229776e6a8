//! All beasts of the zoo at once: those that spin take both cores, the others fall over and are
//! started again. A neighbour that behaves well is answered in time, and no process ends.
//!
//! `WARREN_SOAK_SECONDS` says for how long, and `WARREN_PROGRAM` names the `warren` that is asked:
//! a release build, because the times are those of a release. A binary of its own and ignored, so
//! that nothing else runs beside it: `.ci/run` does so for a minute, `.ci/long` for ten.
#![allow(clippy::unwrap_used)]

use std::{
    env,
    fmt::Write as _,
    net::SocketAddr,
    thread::available_parallelism,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};
use warren_tests::{Cluster, Lab, Neighbour, example, guest, open, try_get};

mod beasts;

use beasts::Beast;

/// Above the 99th percentile of the neighbour's answers.
const IN_TIME: Duration = Duration::from_millis(50);
/// What all guests of the worker have together, of which an eighth may stay mapped for the next
/// ones.
const MEMORY: u64 = 8 << 30;
/// What the worker itself may have: the kept eighth, and what does not grow with its guests.
const OWN: u64 = MEMORY / 8 + (256 << 20);
/// Between two requests to the neighbour.
const EVERY: Duration = Duration::from_millis(50);
/// Between two requests to a beast that answers at once.
const PAUSE: Duration = Duration::from_millis(200);

/// Whose answers are not read: it has one without end.
const FLOOD: &str = "panicking";
/// Clients that do not read what they asked for, and clients that never ask the whole of it.
const SLOW: usize = 10;

fn seconds() -> Duration {
    let seconds = env::var("WARREN_SOAK_SECONDS");
    Duration::from_secs(seconds.map_or(60, |seconds| seconds.parse().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute of the whole machine and a release build: see .ci/run"]
async fn a_neighbour_is_served_in_time_beside_all_beasts() {
    let program = env::var("WARREN_PROGRAM").unwrap();
    let lab = Lab::new(
        &program,
        concat!(env!("CARGO_TARGET_TMPDIR"), "/warren-tests"),
    );
    let memory = format!("--memory={MEMORY}");
    let mut cluster = Cluster::start_with(lab, 1, &[], &[&memory]).await;
    cluster.apply(&Neighbour::manifest()).await;
    let beasts = beasts(&cluster.lab);
    admit(&cluster, &beasts).await;
    let processes = [&cluster.control.process, &cluster.workers[0].process].map(|one| one.id());

    let http = cluster.http();
    let (neighbour, began) = (Neighbour::ask(http, EVERY), Instant::now());
    let mut clients = JoinSet::new();
    for beast in &beasts {
        for (path, at_once) in &beast.asked {
            for _ in 0..*at_once {
                clients.spawn(ask_again(http, format!("{}.localhost", beast.name), path));
            }
        }
    }
    for _ in 0..SLOW {
        clients.spawn(does_not_read(http, format!("{FLOOD}.localhost")));
        clients.spawn(drips(http));
    }
    sleep(seconds()).await;
    clients.shutdown().await;
    let took = began.elapsed();
    let record = neighbour.leave();
    eprintln!(
        "{took:.0?} beside {} hostile workloads: {record}",
        beasts.len()
    );

    record.assert_served();
    assert!(record.percentile(99) < IN_TIME, "{record}");
    let Cluster {
        control, workers, ..
    } = &mut cluster;
    let now = [&mut control.process, &mut workers[0].process].map(|process| {
        assert!(process.is_alive(), "a process has died");
        process.id()
    });
    assert_eq!(now, processes);
    let (has, may) = (
        cluster.workers[0].process.resident(),
        promised(&beasts) + OWN,
    );
    eprintln!("the worker has {} of at most {} MiB", has >> 20, may >> 20);
    assert!(has < may, "the worker has {has} bytes, and may have {may}");
    were_hostile(&cluster, took).await;
}

/// Every beast, and more that spin than there are cores.
fn beasts(lab: &Lab) -> Vec<Beast> {
    let cores = available_parallelism().unwrap().get();
    let spins = (0..=cores).map(|number| beasts::service(&format!("spin-{number}"), "spin", 1));
    beasts::all(lab, 1).into_iter().chain(spins).collect()
}

/// What the worker has promised to all guests at the most, by `docs/operations.md`: to each
/// instance that there may be at once its limit, and to each guest a budget for what the worker
/// holds for it.
fn promised(beasts: &[Beast]) -> u64 {
    const SERVICE: u64 = (64 + 64) << 20;
    const COMPONENT: u64 = 32 << 20;
    let components = |at_once: usize| COMPONENT * (at_once as u64 + 1);
    let of_beasts = beasts.iter().map(|beast| match &beast.asked[..] {
        [] => SERVICE,
        asked => {
            let asked: usize = asked.iter().map(|(_, at_once)| at_once).sum();
            let slow = if beast.name == FLOOD { SLOW } else { 0 };
            // The front, and the kitchen that it calls.
            2 * components(asked + slow)
        }
    });
    let neighbour = SERVICE + components(8);
    of_beasts.sum::<u64>() + neighbour
}

/// Applies all beasts and waits until each has begun, or was given up.
async fn admit(cluster: &Cluster, beasts: &[Beast]) {
    let (hostile, types) = (guest("hostile"), guest("types"));
    let http = guest("hostile-http");
    // Compiled before the first of them takes the cores.
    for component in [&hostile, &http, &types, &example("counter")] {
        cluster.warren(&["push", component]).await.ok();
    }
    let mut all = String::new();
    for beast in beasts {
        writeln!(all, "---\n{}", beast.manifest).unwrap();
    }
    let file = cluster.lab.write("beasts.yaml", all);
    cluster.warren(&["apply", "-f", &file]).await.ok();
    warren_tests::eventually("every beast has begun", async || {
        let answer = cluster.warren(&["get", "replicas", "-o", "json"]).await;
        let replicas = answer.json();
        let replicas = replicas.as_array().unwrap();
        let begun = replicas
            .iter()
            .filter(|one| {
                let phase = &one["phase"];
                phase == "RUNNING" || phase == "FAILED" || !one["lastExit"].is_null()
            })
            .count();
        // All of them and the neighbour, but for the bomb, which may be compiled for long.
        if begun >= beasts.len() {
            Ok(())
        } else {
            Err(format!("{begun} have"))
        }
    })
    .await;
}

/// That the beasts did what they are for: else all this shows nothing.
async fn were_hostile(cluster: &Cluster, took: Duration) {
    let replicas = cluster
        .warren(&["get", "replicas", "-o", "json"])
        .await
        .json();
    let of = |name: &str| {
        let all = replicas.as_array().unwrap();
        let one = all.iter().find(|replica| replica["workload"] == name);
        one.unwrap_or_else(|| panic!("no {name}")).clone()
    };
    for (name, reason) in [
        ("alloc", "OUT_OF_MEMORY"),
        ("overflow", "TRAPPED"),
        ("panic", "TRAPPED"),
        ("drop", "TRAPPED"),
        ("exit-3", "EXITED"),
    ] {
        let replica = of(name);
        assert_eq!(replica["lastExit"]["reason"], reason, "{replica:#}");
        let restarts = replica["restarts"].as_u64().unwrap();
        eprintln!("{name}: {restarts} restarts");
        assert!(restarts >= 3, "{replica:#}");
    }
    for name in ["spin-0", "spin-1", "logs", "line", "sockets", "neighbour"] {
        let replica = of(name);
        assert_eq!(replica["phase"], "RUNNING", "{replica:#}");
        assert_eq!(replica["restarts"], 0, "{replica:#}");
    }
    let all = replicas.as_array().unwrap().iter();
    let computed: f64 = all.map(cpu_seconds).sum();
    let cores = computed / took.as_secs_f64();
    eprintln!("all guests had {cores:.1} cores");
    // Of what is left, the worker itself has some, and the neighbour's client.
    let most = available_parallelism().unwrap().get() as f64;
    assert!(cores > most / 2.0, "the cores were not spun");
}

/// What the replica computed in all, as of its worker's last heartbeat.
fn cpu_seconds(replica: &Value) -> f64 {
    let time = replica["usage"]["cpuTime"].as_str();
    let seconds = time.and_then(|time| time.strip_suffix('s'));
    seconds.map_or(0.0, |seconds| seconds.parse().unwrap())
}

/// Asks for the same again and again, whatever the answer is.
async fn ask_again(http: SocketAddr, host: String, path: &'static str) {
    loop {
        let _ = try_get(http, &host, path).await;
        sleep(PAUSE).await;
    }
}

/// Asks for a gibibyte, and reads none of it.
async fn does_not_read(http: SocketAddr, host: String) {
    loop {
        let one = open(http, &host, "/flood", "").await;
        sleep(Duration::from_secs(6)).await;
        drop(one);
    }
}

/// Begins a request, and never comes to its end.
async fn drips(http: SocketAddr) {
    loop {
        let Ok(mut stream) = TcpStream::connect(http).await else {
            continue;
        };
        let head = "GET / HTTP/1.1\r\nHost: neighbour.localhost\r\nX-Slow: ";
        let begun = stream.write_all(head.as_bytes());
        // To the end of the ingress's patience.
        if timeout(PAUSE, begun).await.is_ok_and(|begun| begun.is_ok()) {
            while stream.write_all(b"x").await.is_ok() {
                sleep(PAUSE).await;
            }
        }
    }
}
