//! All beasts of the zoo at once: those that spin take both cores, the others fall over and are started again. A neighbour
//! that behaves well is answered in time, and no process ends.
//!
//! `WARREN_SOAK_SECONDS` says for how long, and `WARREN_PROGRAM` names the `warren` that is asked: a release build, because
//! the times are those of a release. A binary of its own and ignored, so that nothing else runs beside it:
//! `.ci/run` does so for a minute, `.ci/long` for ten.
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

/// Above the 99th percentile of the neighbour's answers.
const IN_TIME: Duration = Duration::from_millis(50);
/// What the worker may grow by once all beasts have begun: they have limits of about 1 GiB together, fill and empty them.
const GROWTH: u64 = 512 << 20;
/// Between two requests to the neighbour.
const EVERY: Duration = Duration::from_millis(50);
/// Between two requests to a beast that answers at once.
const PAUSE: Duration = Duration::from_millis(200);

/// Services that go on for ever, whatever it costs; so does `spin`, once for each core and once more.
const ENDLESS: [&str; 3] = ["logs", "line", "sockets"];
/// Services that end at once, and are started again.
const RESTARTED: [&str; 5] = ["alloc", "overflow", "panic", "drop", "exit"];
/// What is asked of each of two HTTP components all the time, so many times at once.
const ASKED: [(&str, usize); 9] = [
    ("/spin", 2),
    ("/wit/spin", 2),
    ("/wit/trap-plain", 1),
    ("/wit/trap-result", 1),
    ("/alloc", 1),
    ("/overflow", 1),
    ("/logs", 1),
    ("/sockets", 1),
    ("/panic", 1),
];
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
    let mut cluster = Cluster::start(lab, 1).await;
    cluster.apply(&Neighbour::manifest()).await;
    let beasts = admit(&cluster).await;
    let processes = [&cluster.control.process, &cluster.workers[0].process].map(|one| one.id());
    let memory = cluster.workers[0].process.resident();

    let http = cluster.http();
    let (neighbour, began) = (Neighbour::ask(http, EVERY), Instant::now());
    let mut clients = JoinSet::new();
    for beast in ["front-1", "front-2"] {
        for (path, at_once) in ASKED {
            for _ in 0..at_once {
                clients.spawn(ask_again(http, format!("{beast}.localhost"), path));
            }
        }
        for _ in 0..SLOW {
            clients.spawn(does_not_read(http, format!("{beast}.localhost")));
            clients.spawn(drips(http));
        }
    }
    sleep(seconds()).await;
    clients.shutdown().await;
    let took = began.elapsed();
    let record = neighbour.leave();
    eprintln!("{took:.0?} beside {beasts} hostile workloads: {record}");

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
    let grown = cluster.workers[0].process.resident().saturating_sub(memory);
    eprintln!("the worker grew by {} MiB", grown >> 20);
    assert!(grown < GROWTH, "the worker grew by {grown} bytes");
    were_hostile(&cluster, took).await;
}

/// Applies all beasts and waits until each has begun; tells how many there are.
async fn admit(cluster: &Cluster) -> usize {
    let (hostile, types) = (guest("hostile"), guest("types"));
    let http = guest("hostile-http");
    let cores = available_parallelism().unwrap().get();
    let spins = (0..=cores).map(|number| (format!("spin-{number}"), "spin"));
    let endless = ENDLESS.map(|name| (name.to_owned(), name));
    let restarted = RESTARTED.map(|name| (name.to_owned(), name));
    let mut manifests = Vec::new();
    for (name, how) in spins.chain(endless).chain(restarted) {
        let code = if how == "exit" { ", \"3\"" } else { "" };
        manifests.push(format!(
            "name: {name}\nreplicas: 1\nservice:\n  component: {hostile}\n  args: [ {how}{code} ]\n  \
             restart: {{ initialBackoff: 100ms, maxBackoff: 500ms, maxRestarts: 4000000000 }}\n"
        ));
    }
    for name in ["front-1", "front-2"] {
        manifests.push(format!(
            "name: {name}\nreplicas: 1\ncomponents:\n\
             - name: front\n  component: {http}\n  limits: {{ timeout: 5s }}\n  \
               routes: [ {{ host: {name}.localhost, path: / }} ]\n\
             - name: kitchen\n  component: {types}\n  limits: {{ timeout: 3s }}\n"
        ));
    }
    // Compiled before the first of them takes the cores.
    for component in [&hostile, &http, &types, &example("counter")] {
        cluster.warren(&["push", component]).await.ok();
    }
    let mut all = String::new();
    for manifest in &manifests {
        writeln!(all, "---\n{manifest}").unwrap();
    }
    let file = cluster.lab.write("beasts.yaml", all);
    cluster.warren(&["apply", "-f", &file]).await.ok();
    warren_tests::eventually("every beast has begun", async || {
        let answer = cluster.warren(&["get", "replicas", "-o", "json"]).await;
        let replicas = answer.json();
        let replicas = replicas.as_array().unwrap();
        let begun = replicas
            .iter()
            .filter(|one| one["phase"] == "RUNNING" || !one["lastExit"].is_null())
            .count();
        if begun > manifests.len() {
            Ok(())
        } else {
            Err(format!("{begun} have"))
        }
    })
    .await;
    manifests.len()
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
        ("exit", "EXITED"),
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
