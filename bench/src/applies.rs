//! Measures how many applies a control plane acknowledges per second. Each is flushed to its store
//! on disk first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::{
    clients::{Clients, name},
    cluster,
    machine::Machine,
    stats::Spread,
};

/// The numbers of concurrent clients: one shows the cost of a flush, many show what shared flushes
/// save.
const CLIENTS: [u32; 3] = [1, 16, 128];
/// The number of workloads, which are changed in turn.
const WORKLOADS: u32 = 1_000;
const GOAL: f64 = 1_000.0;

#[derive(Serialize)]
struct Report {
    machine: Machine,
    seconds: f64,
    cases: Vec<Case>,
    /// Judged by the case with the most clients.
    goal_met: bool,
}

#[derive(Serialize)]
struct Case {
    clients: u32,
    applies_per_second: f64,
    /// Applies in the slowest whole second.
    slowest_second: u32,
    /// From the request to its answer, in milliseconds.
    latency: Spread,
}

pub async fn run(seconds: u32, json: bool) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let cluster = cluster::start(scratch.path(), 0).await?;
    let clients = Arc::new(Clients::connect(&cluster, 0).await?);
    clients.apply_all(0..WORKLOADS, 0).await?;
    let next = Arc::new(AtomicU32::new(WORKLOADS));
    let mut cases = Vec::new();
    for at_once in CLIENTS {
        cases.push(
            case(
                &clients,
                &next,
                at_once,
                Duration::from_secs(seconds.into()),
            )
            .await?,
        );
    }
    let last = cases.last().context("no case was measured")?;
    let report = Report {
        machine: Machine::here(),
        seconds: seconds.into(),
        goal_met: last.applies_per_second >= GOAL,
        cases,
    };
    report.print(json)
}

/// Runs this many clients, each with one request at a time.
async fn case(
    clients: &Arc<Clients>,
    next: &Arc<AtomicU32>,
    at_once: u32,
    time: Duration,
) -> anyhow::Result<Case> {
    let began = Instant::now();
    let mut loops = JoinSet::new();
    for client in 0..at_once {
        let (clients, next) = (Arc::clone(clients), Arc::clone(next));
        loops.spawn(async move {
            let mut answers = Vec::new();
            while began.elapsed() < time {
                let version = next.fetch_add(1, Ordering::Relaxed);
                let asked = Instant::now();
                let name = name(version % WORKLOADS);
                clients.apply(client as usize, &name, version).await?;
                answers.push((began.elapsed(), asked.elapsed().as_secs_f64() * 1e3));
            }
            anyhow::Ok(answers)
        });
    }
    let mut latencies = Vec::new();
    let mut by_second = vec![0_u32; usize::try_from(time.as_secs())?];
    for answers in loops.join_all().await {
        for (at, latency) in answers? {
            latencies.push(latency);
            if let Some(second) = by_second.get_mut(usize::try_from(at.as_secs())?) {
                *second += 1;
            }
        }
    }
    Ok(Case {
        clients: at_once,
        applies_per_second: latencies.len() as f64 / began.elapsed().as_secs_f64(),
        slowest_second: by_second
            .into_iter()
            .min()
            .context("no whole second was measured")?,
        latency: Spread::of(latencies).context("no apply was answered")?,
    })
}

// === impl Report ===

impl Report {
    #[expect(clippy::print_stdout, reason = "this is the program's output")]
    fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
        } else {
            println!("clients  applies/second    slowest second  median      p99         longest");
            for case in &self.cases {
                println!(
                    "{:<8} {:<17.0} {:<15} {:<8.2} ms {:<8.2} ms {:.2} ms",
                    case.clients,
                    case.applies_per_second,
                    case.slowest_second,
                    case.latency.median,
                    case.latency.p99,
                    case.latency.most
                );
            }
            let met = if self.goal_met { "met" } else { "missed" };
            println!("the goal of {GOAL} a second is {met}");
        }
        ensure!(!self.cases.is_empty(), "no case was measured");
        Ok(())
    }
}
