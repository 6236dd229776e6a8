//! Components that take a compiler more than it has.

use std::{fmt::Write as _, fs, time::SystemTime};

use serde_json::Value;
use warren_tests::{Cluster, Neighbour, Worker, eventually};

use super::{BEAST, EVERY, Zoo, text};
use crate::lab;

#[path = "../../beasts/bomb.rs"]
mod bomb;

/// Little enough for a bomb to fill it soon, and more than honest guests here need.
const MEMORY: &str = "--compile-memory=96MiB";

/// A bomb of a size that a control plane refuses by itself.
const ADMITTED: &str = "--artifact-limit=function-size=64MiB";

/// A number that no earlier run of this test had: compiled code is kept from run to run.
fn unique() -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("the clock is set").subsec_nanos() ^ std::process::id() << 8
}

fn bomb(branches: usize) -> String {
    bomb::bomb(branches, unique())
}

/// Many functions of the size that compilers make, and much data. It runs until it is stopped.
fn honest(functions: usize, data: usize) -> String {
    let mut fields = format!("(memory 512) (global i32 (i32.const {}))\n", unique());
    for number in 0..functions {
        let _ = writeln!(
            fields,
            "(func (param i32) (result i32) local.get 0 i32.const {number} i32.add i32.load local.get 0 i32.mul \
             (if (result i32) (i32.eqz) (then i32.const 1) (else local.get 0 i32.const 7 i32.div_u)))"
        );
    }
    let _ = writeln!(fields, "(data (i32.const 0) \"{}\")", "d".repeat(data));
    fields.push_str("(func (export \"run\") (result i32) (loop (br 0)) unreachable)");
    text::service(&fields)
}

fn manifest(component: &str, replicas: u32) -> String {
    format!(
        "name: {BEAST}\nreplicas: {replicas}\nservice:\n  component: {component}\n  stopGrace: 0s\n"
    )
}

async fn admit(cluster: &Cluster, manifest: &str) {
    let file = cluster.lab.write("beast.yaml", manifest);
    cluster.warren(&["apply", "-f", &file]).await.ok();
}

fn write(cluster: &Cluster, name: &str, text: &str) -> String {
    let bytes = wat::parse_str(text).expect("the component is well-formed");
    cluster.lab.write(&format!("{name}.wasm"), bytes)
}

fn condition<'a>(of: &'a Value, kind: &str) -> &'a Value {
    let conditions = of["conditions"].as_array().expect("it has conditions");
    let mut conditions = conditions.iter();
    conditions
        .find(|held| held["type"] == kind)
        .unwrap_or(&Value::Null)
}

/// The replicas of the beast, once they are as they should be.
async fn replicas(cluster: &Cluster, what: &str, are_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    eventually(what, async || {
        let replicas = cluster.replicas(BEAST).await;
        if are_so(&replicas) {
            Ok(replicas)
        } else {
            Err(replicas)
        }
    })
    .await
}

fn has_failed(replica: &Value) -> bool {
    replica["phase"] == "FAILED" && condition(replica, "Started")["reason"] == "CompileFailed"
}

fn has_no_compiler(replica: &Value) -> bool {
    let scheduled = condition(replica, "Scheduled");
    scheduled["status"] == "FALSE" && scheduled["reason"] == "CompileFailed"
}

/// The processes that compile for a process.
fn compilers(of: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("there is /proc").flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let compiles = |process: &u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let words = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let parent = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.split(' ').nth(1));
        parent == Some(&*of.to_string()) && words.contains("\0__compile\0")
    };
    processes.filter(compiles).collect()
}

async fn compiler(of: &Worker) -> u32 {
    eventually("a compiler runs", async || {
        compilers(of.process.id()).pop().ok_or(())
    })
    .await
}

async fn gone(process: u32) {
    let stat = format!("/proc/{process}/stat");
    eventually("the compiler is gone", async || {
        match fs::read_to_string(&stat) {
            Ok(stat) if !stat.contains(") Z ") => Err(stat),
            _ => Ok(()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_bomb_fails_with_the_limit_and_the_remedy_and_no_other_worker_is_tried() {
    let mut cluster = Cluster::start_with(lab(), 2, &[ADMITTED], &[MEMORY]).await;
    cluster.apply(&Neighbour::manifest()).await;
    let neighbour = Neighbour::ask(cluster.http(), EVERY);
    neighbour.is_answered(1).await;
    let processes = cluster.workers.iter().map(|it| it.process.id());
    let processes: Vec<_> = processes.collect();

    let file = write(&cluster, "bomb", &bomb(60_000));
    admit(&cluster, &manifest(&file, 1)).await;
    let failed = replicas(
        &cluster,
        "it fails on one worker and gets no other",
        |all| all.len() == 1 && has_failed(&all[0]) && has_no_compiler(&all[0]),
    )
    .await;
    let started = condition(&failed[0], "Started")["message"]
        .as_str()
        .unwrap();
    for words in [
        "more than 96MiB of memory",
        "--compile-memory",
        "raise the limit",
    ] {
        assert!(started.contains(words), "{started}");
    }
    let scheduled = condition(&failed[0], "Scheduled")["message"].as_str();
    assert_eq!(scheduled, Some("2 workers: 2 cannot compile it"));
    let workload = cluster.workload(BEAST).await;
    let ready = &condition(&workload["status"], "Ready")["message"];
    assert!(
        ready.as_str().unwrap().contains("--compile-memory"),
        "{ready}"
    );

    // What is made of it from now on waits, and says why. A command that waits gives up.
    cluster.warren(&["scale", BEAST, "3"]).await.ok();
    let all = replicas(&cluster, "no other is placed", |all| {
        all.len() == 3 && all.iter().all(has_no_compiler)
    })
    .await;
    assert_eq!(
        all.iter().filter(|it| it["worker"] == "").count(),
        2,
        "{all:#?}"
    );
    let other = manifest(&file, 1).replace(BEAST, "other");
    let refused = cluster.try_apply(&other).await;
    refused.refused(1, &["cannot compile it", "--compile-memory"]);

    neighbour.is_answered(1).await;
    neighbour.leave().assert_served();
    let now: Vec<_> = cluster.workers.iter().map(|it| it.process.id()).collect();
    assert_eq!(now, processes);
    assert!(cluster.workers.iter_mut().all(|it| it.process.is_alive()));

    // A worker that is started again does no harm, and is not tried either.
    for number in 0..2 {
        cluster.workers[number].stop().await;
        let (control, name) = (cluster.control.url.clone(), format!("w{}", number + 1));
        let started = Worker::start(&cluster.lab, &control, &name, &[MEMORY]).await;
        cluster.workers[number] = started;
    }
    eventually("the neighbour is answered", async || {
        let reply = cluster.get("neighbour.localhost", "/").await;
        if reply.status == 200 {
            Ok(())
        } else {
            Err(reply)
        }
    })
    .await;
    let workers = cluster.workers.iter();
    assert!(
        workers
            .map(|it| compilers(it.process.id()))
            .all(|it| it.is_empty())
    );

    // One that allows more is tried.
    let more = ["--compile-memory=2GiB"];
    let third = Worker::start(&cluster.lab, &cluster.control.url, "w3", &more).await;
    cluster.workers.push(third);
    replicas(&cluster, "all are on the third", |all| {
        let there = all.iter().filter(|it| it["worker"] == "w3");
        there.count() == 3
    })
    .await;
}

#[tokio::test]
async fn a_bomb_that_takes_too_long_is_ended_beside_a_neighbour_that_misses_nothing() {
    // The neighbour's code is in the cache when the time is short.
    Zoo::open().await.close().await;
    let zoo = Zoo::open_with(
        &[ADMITTED],
        &["--compile-memory=4GiB", "--compile-timeout=1s"],
    )
    .await;
    let file = write(&zoo.cluster, "bomb", &bomb(60_000));
    admit(&zoo.cluster, &manifest(&file, 1)).await;
    // On a machine that gives it no CPU it is tried again.
    let is_late = |replica: &Value| {
        let why = condition(replica, "Started")["message"].as_str();
        let limit = "more than 1s of CPU time, the limit of --compile-timeout";
        has_failed(replica) && why.is_some_and(|why| why.contains(limit))
    };
    replicas(&zoo.cluster, "it fails", |all| all.iter().any(is_late)).await;
    // Nothing is left of it, and a small one is compiled.
    assert_eq!(compilers(zoo.process), [0; 0]);
    zoo.put_down().await;
    let small = write(&zoo.cluster, "small", &honest(1, 1));
    zoo.cluster.apply(&manifest(&small, 1)).await;
    zoo.close().await;
}

#[tokio::test]
async fn a_large_ordinary_component_is_compiled_by_default() {
    let zoo = Zoo::open().await;
    let file = write(&zoo.cluster, "honest", &honest(20_000, 16 << 20));
    zoo.cluster.apply(&manifest(&file, 1)).await;
    zoo.close().await;
}

#[tokio::test]
async fn a_compilation_ends_with_its_workload_and_with_its_worker() {
    let mut cluster = Cluster::start_with(lab(), 1, &[ADMITTED], &["--compile-memory=4GiB"]).await;
    let file = write(&cluster, "bomb", &bomb(200_000));
    admit(&cluster, &manifest(&file, 1)).await;
    let process = compiler(&cluster.workers[0]).await;
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    assert!(status.contains("Name:"), "it was gone at once");
    let delete = ["delete", "workload", BEAST, "--wait"];
    cluster.warren(&delete).await.ok();
    gone(process).await;
    assert!(cluster.workers[0].process.is_alive());

    admit(&cluster, &manifest(&file, 1)).await;
    let process = compiler(&cluster.workers[0]).await;
    // Below everything else, and the first to go when memory runs out.
    eventually("the compiler runs at the lowest priority", async || {
        let stat =
            fs::read_to_string(format!("/proc/{process}/stat")).map_err(|e| e.to_string())?;
        let niceness = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.split(' ').nth(16));
        let score = fs::read_to_string(format!("/proc/{process}/oom_score_adj"));
        let gave_way = niceness == Some("10") && score.is_ok_and(|score| score.trim() == "1000");
        if gave_way { Ok(()) } else { Err(stat) }
    })
    .await;
    cluster.workers[0].process.kill().await;
    gone(process).await;
}

/// One workload never has every place of the compilers.
#[tokio::test]
async fn a_small_component_is_compiled_while_a_large_one_is() {
    let zoo = Zoo::open_with(&[ADMITTED], &["--compile-memory=4GiB"]).await;
    let file = write(&zoo.cluster, "bomb", &bomb(200_000));
    admit(&zoo.cluster, &manifest(&file, 1)).await;
    let large = compiler(&zoo.cluster.workers[0]).await;
    let small = write(&zoo.cluster, "small", &honest(1, 1));
    let small = manifest(&small, 1).replace(BEAST, "small");
    zoo.cluster.apply(&small).await;
    assert!(
        compilers(zoo.process).contains(&large),
        "the large one had ended before the small one was there"
    );
    zoo.put_down().await;
    zoo.close().await;
}
