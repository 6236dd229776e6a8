//! A control plane with very many workloads and workers: the cost of a change and of a lost worker.
//!
//! The control plane is a separate process with a store on disk; the workers are simulated, over
//! real sessions. The cost of a change is measured with few workloads and with all of them: it must
//! not grow with those that did not change.

mod fleet;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use tokio::time::timeout;

use crate::{
    clients::{Clients, name},
    cluster,
    machine::Machine,
    stats::Spread,
};
use fleet::Fleet;

/// The time limit of each step.
const PATIENCE: Duration = Duration::from_secs(600);
/// The number of workloads when changes are measured for the first time.
const FEW: u32 = 100;
/// The number of changes that are measured, one after the other.
const CHANGES: u32 = 200;

#[derive(Clone, Copy)]
pub struct Plan {
    pub workloads: u32,
    pub workers: u32,
    /// The number of watches in the last step.
    pub watchers: u32,
}

#[derive(Serialize)]
struct Report {
    machine: Machine,
    workloads: u32,
    workers: u32,
    watchers: u32,
    /// Applies that were acknowledged, each after it was flushed.
    applies_per_second: f64,
    /// From the first apply until the last replica was assigned, in seconds.
    placed_after: f64,
    /// From the apply of a new revision until its worker receives it, with few workloads and with
    /// all, in milliseconds.
    change_among_few: Spread,
    change_among_all: Spread,
    /// The number of replicas of the lost worker.
    lost: usize,
    /// From the loss until all of them were assigned to other workers, including the worker
    /// timeout, in seconds.
    replaced_after: f64,
    worker_timeout: f64,
    /// Resident memory of the control plane, in bytes.
    control_bytes: u64,
    /// Applies that change something, without watches and with many.
    unwatched_per_second: f64,
    watched_per_second: f64,
}

pub async fn run(plan: Plan, json: bool) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let cluster = cluster::start(scratch.path(), 0).await?;
    let url = cluster.control.url.clone();
    let clients = Arc::new(Clients::connect(&cluster, 1).await?);
    let mut fleet = bound(Fleet::join(&url, plan.workers)).await?;

    bound(clients.apply_all(0..FEW, 1)).await?;
    bound(fleet.holds(FEW as usize)).await?;
    let change_among_few = changes(&clients, &mut fleet, 2).await?;

    let began = Instant::now();
    bound(clients.apply_all(FEW..plan.workloads, 1)).await?;
    let applied = f64::from(plan.workloads - FEW) / began.elapsed().as_secs_f64();
    bound(fleet.holds(plan.workloads as usize)).await?;
    let placed_after = began.elapsed().as_secs_f64();
    fleet.drain();
    let change_among_all = changes(&clients, &mut fleet, 2 + CHANGES).await?;
    let control_bytes = cluster.control.process.resident();

    let lost = fleet.lose()?;
    let began = Instant::now();
    for _ in 0..lost {
        bound(async { fleet.assigned.recv().await.context("the fleet has ended") }).await?;
    }
    let replaced_after = began.elapsed().as_secs_f64();

    let some = 0..plan.workloads.min(2_000);
    let unwatched_per_second = rate(&clients, some.clone(), 1_000).await?;
    let watchers = bound(clients.watch(plan.watchers, FEW)).await?;
    let watched_per_second = rate(&clients, some.clone(), 1_001).await?;
    // Each has seen the last change of its workload.
    bound(watchers.see(1_001)).await?;

    let report = Report {
        machine: Machine::here(),
        workloads: plan.workloads,
        workers: plan.workers,
        watchers: plan.watchers,
        applies_per_second: applied,
        placed_after,
        change_among_few,
        change_among_all,
        lost,
        replaced_after,
        worker_timeout: 10.0,
        control_bytes,
        unwatched_per_second,
        watched_per_second,
    };
    report.print(json)
}

/// Changes one workload after the other.
async fn changes(clients: &Clients, fleet: &mut Fleet, first: u32) -> anyhow::Result<Spread> {
    fleet.drain();
    let mut took = Vec::new();
    for change in 0..CHANGES {
        let name = name(change % FEW);
        let began = Instant::now();
        let revision = clients.apply(0, &name, first + change).await?.revision;
        let received = async {
            loop {
                let assigned = fleet.assigned.recv().await.context("the fleet has ended")?;
                if assigned.workload == name && assigned.revision == revision {
                    return Ok(assigned.at);
                }
            }
        };
        took.push((bound(received).await? - began).as_secs_f64() * 1e3);
    }
    Spread::of(took).context("no change was measured")
}

/// Returns the number of applies per second that change something.
async fn rate(
    clients: &Arc<Clients>,
    workloads: std::ops::Range<u32>,
    version: u32,
) -> anyhow::Result<f64> {
    let began = Instant::now();
    let applies = workloads.len() as f64;
    bound(clients.apply_all(workloads, version)).await?;
    Ok(applies / began.elapsed().as_secs_f64())
}

async fn bound<T>(step: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    timeout(PATIENCE, step)
        .await
        .context("a step took too long")?
}

// === impl Report ===

impl Report {
    #[expect(clippy::print_stdout, reason = "this is the program's output")]
    fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        let spread = |spread: &Spread| {
            format!(
                "median {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
                spread.median, spread.p99, spread.most
            )
        };
        println!("{} workloads on {} workers", self.workloads, self.workers);
        println!(
            "applied, flushed              {:.0} a second",
            self.applies_per_second
        );
        println!("time until all are placed     {:.2} s", self.placed_after);
        println!(
            "a change among {FEW}           {}",
            spread(&self.change_among_few)
        );
        println!(
            "a change among all            {}",
            spread(&self.change_among_all)
        );
        println!(
            "a worker is lost with {:<4}    all are placed elsewhere after {:.2} s, including the timeout of {} s",
            self.lost, self.replaced_after, self.worker_timeout
        );
        println!(
            "memory of the control plane   {:.1} MiB",
            self.control_bytes as f64 / f64::from(1 << 20)
        );
        println!(
            "changes without watches       {:.0} a second",
            self.unwatched_per_second
        );
        println!(
            "changes with {:<5} watchers   {:.0} a second",
            self.watchers, self.watched_per_second
        );
        ensure!(self.lost > 0, "the lost worker held no replicas");
        Ok(())
    }
}
