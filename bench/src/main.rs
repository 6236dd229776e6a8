//! Benchmarks that put Warren beside what it replaces, in one process and one run: figures of another day, machine or
//! build say little about a ratio.

mod guests;
mod host;
mod kernel;
mod loopback;
mod machine;
mod stats;
mod workload;

use std::{path::PathBuf, time::Duration};

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

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = Builder::new_multi_thread()
        .worker_threads(warren_worker::runtime::threads())
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // On one of the runtime's threads, as everything in a worker: this one is not part of it.
        tokio::spawn(async move {
            match cli.command {
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
                    loopback::run(plan, json).await
                }
                Command::Idle {
                    side,
                    millis,
                    cache,
                } => loopback::idle::run_child(side, Duration::from_millis(millis), &cache).await,
            }
        })
        .await?
    })
}
