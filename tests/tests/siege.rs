//! A fleet of three workers with 2 GiB of memory each, and somebody who may apply anything: every
//! beast, one after another, then all at once. No worker is lost, and the fifty workloads of others
//! miss nothing.
//!
//! `WARREN_SIEGE_SECONDS` says for how long, and `WARREN_PROGRAM` names the `warren` under siege, a
//! release build. A binary of its own and ignored, so that nothing else runs beside it: `.ci/run`
//! does so for a minute, `.ci/long` for ten.
#![allow(clippy::unwrap_used)]

use std::{env, io::Write as _, net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{task::JoinSet, time::sleep};
use warren_tests::{Cluster, Lab, MemoryGroup, Neighbour, Record, Worker, eventually, try_get};

mod beasts;

use beasts::Beast;

const WORKERS: usize = 3;
const MEMORY: u64 = 2 << 30;
const NEIGHBOURS: usize = 50;
/// Between two requests to each neighbour.
const EVERY: Duration = Duration::from_secs(1);
/// Between two requests to a beast that answers at once.
const PAUSE: Duration = Duration::from_millis(100);

fn seconds() -> Duration {
    let seconds = env::var("WARREN_SIEGE_SECONDS");
    Duration::from_secs(seconds.map_or(60, |seconds| seconds.parse().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute of the whole machine and a release build: see .ci/run"]
async fn a_fleet_survives_every_beast_being_applied() {
    let groups: Result<Vec<_>, _> = (0..WORKERS).map(|_| MemoryGroup::new(MEMORY)).collect();
    let groups = match groups {
        Ok(groups) => groups,
        Err(error) => {
            // Past the test runner. Some containers give no control groups, whatever is installed.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: the siege needs control groups with a memory controller: {error}"
            );
            return;
        }
    };
    let lab = Lab::new(
        &env::var("WARREN_PROGRAM").unwrap(),
        concat!(env!("CARGO_TARGET_TMPDIR"), "/warren-tests"),
    );
    let mut cluster = Cluster::start(lab, 0).await;
    for (number, group) in (1..).zip(&groups) {
        let (lab, name) = (&cluster.lab, format!("w{number}"));
        let worker = Worker::start_in(group, lab, &cluster.control.url, &name, &[]);
        cluster.workers.push(worker.await);
    }
    let processes = processes(&mut cluster);
    let neighbours = settle(&cluster).await;

    let beasts = beasts::all(&cluster.lab, 3);
    let share = seconds() / 2 / u32::try_from(beasts.len()).unwrap();
    for beast in &beasts {
        let clients = release(&cluster, beast).await;
        sleep(share).await;
        drop(clients);
        let delete = [
            "delete",
            "workload",
            &beast.name,
            "--wait",
            "--timeout",
            "50s",
        ];
        cluster.warren(&delete).await.ok();
    }
    let mut clients = Vec::new();
    for beast in &beasts {
        clients.push(release(&cluster, beast).await);
    }
    sleep(seconds() / 2).await;
    drop(clients);

    let records: Vec<Record> = neighbours.into_iter().map(Neighbour::leave).collect();
    for (number, group) in (1..).zip(&groups) {
        eprintln!("w{number}: at most {} MiB", group.peak() >> 20);
        assert_eq!(group.kills(), 0, "the kernel killed a process of w{number}");
    }
    let slowest = records.iter().map(|record| record.percentile(99)).max();
    let answers: usize = records.iter().map(|record| record.latencies.len()).sum();
    eprintln!("{answers} answers of {NEIGHBOURS} workloads, the slowest p99 {slowest:.1?}");
    for record in &records {
        record.assert_served();
    }
    assert_eq!(self::processes(&mut cluster), processes);
    none_was_lost(&cluster).await;
    // Removed before the groups, which must be empty by then.
    drop(cluster);
    eventually("the groups are empty", async || {
        match groups.iter().all(MemoryGroup::is_empty) {
            true => Ok(()),
            false => Err("a process is left"),
        }
    })
    .await;
}

/// Of the control plane and all workers, which must be alive.
fn processes(cluster: &mut Cluster) -> Vec<u32> {
    let workers = cluster.workers.iter_mut().map(|worker| &mut worker.process);
    std::iter::once(&mut cluster.control.process)
        .chain(workers)
        .map(|process| {
            assert!(process.is_alive(), "a process has died");
            process.id()
        })
        .collect()
}

/// Applies the workloads of others and begins to ask each, at one worker or another.
async fn settle(cluster: &Cluster) -> Vec<Neighbour> {
    let names: Vec<String> = (0..NEIGHBOURS)
        .map(|number| format!("other-{number}"))
        .collect();
    let manifests: Vec<String> = names
        .iter()
        .map(|name| Neighbour::manifest_of(name))
        .collect();
    cluster.apply(&manifests.join("---\n")).await;
    let mut asked = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let http = cluster.workers[number % WORKERS].http;
        eventually(
            &format!("{http} has the route of {name}"),
            async || match try_get(http, &format!("{name}.localhost"), "/").await {
                Ok(reply) if reply.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            },
        )
        .await;
        asked.push(Neighbour::ask_one(name, http, EVERY));
    }
    asked
}

/// Applies a beast, which may never be ready, and asks it what makes it hostile until the clients
/// are dropped.
async fn release(cluster: &Cluster, beast: &Beast) -> JoinSet<()> {
    let file = cluster.lab.write("beast.yaml", &beast.manifest);
    let applied = cluster.warren(&["apply", "-f", &file]).await;
    // One that is refused at once has done what it could.
    if applied.code != Some(0) {
        eprintln!("{} is refused: {}", beast.name, applied.stderr.trim());
    }
    let mut clients = JoinSet::new();
    for (path, at_once) in &beast.asked {
        for number in 0..*at_once {
            let http = cluster.workers[number % WORKERS].http;
            clients.spawn(ask_again(http, format!("{}.localhost", beast.name), path));
        }
    }
    clients
}

async fn ask_again(http: SocketAddr, host: String, path: &'static str) {
    loop {
        // Whatever comes of it.
        let _ = try_get(http, &host, path).await;
        sleep(PAUSE).await;
    }
}

/// That every worker's session held throughout, and nothing of others was started a second time.
async fn none_was_lost(cluster: &Cluster) {
    let workers = cluster
        .warren(&["get", "workers", "-o", "json"])
        .await
        .json();
    for worker in workers.as_array().unwrap() {
        assert_eq!(worker["ready"], true, "{worker:#}");
    }
    let replicas = cluster
        .warren(&["get", "replicas", "-o", "json"])
        .await
        .json();
    let of_others = |replica: &&Value| {
        let name = replica["workload"].as_str().unwrap();
        name.starts_with("other-")
    };
    let others: Vec<&Value> = replicas
        .as_array()
        .unwrap()
        .iter()
        .filter(of_others)
        .collect();
    assert_eq!(others.len(), NEIGHBOURS);
    for replica in others {
        assert_eq!(replica["phase"], "RUNNING", "{replica:#}");
        assert_eq!(replica["restarts"], 0, "{replica:#}");
        assert!(replica["lastExit"].is_null(), "{replica:#}");
    }
}
