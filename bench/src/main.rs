//! Benchmarks that put Warren beside what it replaces, in one process and one run: figures of another day, machine or
//! build say little about a ratio. And figures of a whole worker, as its users see it.

mod applies;
mod clients;
mod cluster;
mod density;
mod guests;
mod host;
mod kernel;
mod loopback;
mod machine;
mod restart;
mod scale;
mod stats;
mod workload;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::runtime::Builder;

use loopback::{Plan, Side};

#[derive(Parser)]
#[command(name = "warren-bench", about, version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The workload network beside the kernel's loopback: round trips, throughput, connections
    Loopback {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
        /// Rounds; each measures every case on every side once
        #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rounds: u32,
        /// What one measurement takes, in milliseconds
        #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u64).range(1..=60_000))]
        millis: u64,
        /// Only these sides
        #[arg(long, value_enum, value_delimiter = ',')]
        only: Vec<Side>,
        /// Only cases whose name contains this
        #[arg(long)]
        case: Option<String>,
    },
    /// How soon a service that traps accepts connections again
    Restart {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
        /// So many restarts, of which each takes a second
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        restarts: u32,
    },
    /// How many idle services fit on a worker: memory of each, and how soon all of them are ready
    Density {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
        /// So many services; a worker takes 1,000
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..=1_000))]
        services: u32,
    },
    /// How many applies a second are acknowledged, each after it was flushed
    Applies {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
        /// For each number of clients
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
        seconds: u32,
    },
    /// A control plane with very many workloads and workers: applies, changes, a lost worker, watches
    Scale {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
        /// So many workloads of one replica
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(200..=100_000))]
        workloads: u32,
        /// So many simulated workers
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(2..=5_000))]
        workers: u32,
        /// So many clients that watch
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=5_000))]
        watchers: u32,
    },
    /// One side's idle connections, in a process of its own: its memory is what is measured
    #[command(hide = true)]
    Idle {
        #[arg(long, value_enum)]
        side: Side,
        #[arg(long)]
        millis: u64,
        #[arg(long)]
        cache: PathBuf,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    // The processes of a cluster are this program under another name: what is measured is what was just built.
    if cluster::is_warren() {
        return Ok(warren::main());
    }
    let cli = Cli::parse();
    let runtime = Builder::new_multi_thread()
        .worker_threads(warren_worker::runtime::threads())
        .enable_all()
        .build()?;
    match cli.command {
        Command::Restart { json, restarts } => runtime.block_on(restart::run(restarts, json))?,
        Command::Density { json, services } => runtime.block_on(density::run(services, json))?,
        Command::Applies { json, seconds } => runtime.block_on(applies::run(seconds, json))?,
        Command::Scale {
            json,
            workloads,
            workers,
            watchers,
        } => {
            let plan = scale::Plan {
                workloads,
                workers,
                watchers,
            };
            runtime.block_on(scale::run(plan, json))?;
        }
        Command::Loopback {
            json,
            rounds,
            millis,
            only,
            case,
        } => {
            let plan = Plan {
                rounds,
                time: Duration::from_millis(millis),
                sides: only,
                case,
            };
            runtime.block_on(inside(loopback::run(plan, json)))?;
        }
        Command::Idle {
            side,
            millis,
            cache,
        } => {
            let time = Duration::from_millis(millis);
            let child = async move { loopback::idle::run_child(side, time, &cache).await };
            runtime.block_on(inside(child))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs on one of the runtime's threads, as everything in a worker: the one that waits for it is not part of it.
async fn inside(
    measurement: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) -> anyhow::Result<()> {
    tokio::spawn(measurement)
        .await
        .context("the benchmark broke off")?
}
