//! Benchmarks that compare Warren with what it replaces, in one process and one run, because
//! figures of another day, machine or build say little about a ratio. Others measure a whole worker
//! as its users see it.

mod applies;
mod budget;
mod clients;
mod cluster;
mod density;
mod guests;
mod host;
mod http;
mod kernel;
mod load;
mod loopback;
mod machine;
mod peers;
mod restart;
mod scale;
mod start;
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
    /// Compare the workload network with the kernel's loopback: round trips, throughput,
    /// connections
    Loopback {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
        /// Number of rounds; each measures every case once on every side
        #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rounds: u32,
        /// Duration of one measurement, in milliseconds
        #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u64).range(1..=60_000))]
        millis: u64,
        /// Only these sides
        #[arg(long, value_enum, value_delimiter = ',')]
        only: Vec<Side>,
        /// Only cases whose name contains this
        #[arg(long)]
        case: Option<String>,
    },
    /// Measure how soon a service that traps accepts connections again
    Restart {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
        /// Number of restarts, each of which takes a second
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        restarts: u32,
    },
    /// Measure many idle services on a worker: memory of each, and the time until all are ready
    Density {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
        /// Number of services; a worker takes at most 1,000
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..=1_000))]
        services: u32,
    },
    /// Measure how many applies a second are acknowledged, each after it was flushed
    Applies {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
        /// Duration for each number of clients, in seconds
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
        seconds: u32,
    },
    /// Measure a control plane with very many workloads and workers: applies, changes, a lost
    /// worker, watches
    Scale {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
        /// Number of workloads, each with one replica
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(200..=100_000))]
        workloads: u32,
        /// Number of simulated workers
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(2..=5_000))]
        workers: u32,
        /// Number of clients that watch
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=5_000))]
        watchers: u32,
    },
    /// Measure HTTP requests beside `wasmtime serve` and a native server: throughput, latency, CPU
    Http {
        /// Print JSON instead of tables
        #[arg(long)]
        json: bool,
        /// Number of rounds; each measures every case once on every side [default: 7, quick: 3]
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rounds: Option<u32>,
        /// Duration of one measurement, in milliseconds [default: 2000, quick: 1000]
        #[arg(long, value_parser = clap::value_parser!(u64).range(50..=600_000))]
        millis: Option<u64>,
        /// Fewer cases and rounds
        #[arg(long)]
        quick: bool,
        /// Only cases whose name contains this, such as `raw / c=64`
        #[arg(long)]
        case: Option<String>,
        /// The program to compare with; without it, Warren is only compared with a native server
        #[arg(long, default_value = "wasmtime")]
        wasmtime: PathBuf,
        /// A further HTTP component, as NAME=FILE
        #[arg(long, value_parser = named_file)]
        guest: Vec<(String, String)>,
    },
    /// Measure the time from the start of `warren dev` to its first answer, beside `wasmtime serve`
    Start {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
        /// Number of rounds; each starts every program once
        #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rounds: u32,
        /// The program to compare with
        #[arg(long, default_value = "wasmtime")]
        wasmtime: PathBuf,
    },
    /// Repeat one operation, for a program that counts instructions: see `.ci/budget`
    #[command(hide = true)]
    Budget {
        #[arg(long, value_enum)]
        what: budget::What,
        #[arg(long)]
        rounds: u32,
    },
    /// Serve HTTP without WebAssembly, as a process of its own because its CPU time is measured
    #[command(hide = true)]
    Hyper,
    /// Measure the idle connections of one side, in a process of its own because its memory is
    /// measured
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
    // A worker starts its own program again to compile, whatever its name is.
    if let Some(code) = warren_worker::compile_if_asked(std::env::args_os()) {
        return Ok(code);
    }
    // The processes of a cluster are this program under another name, so that they are of the same
    // build.
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
        Command::Http {
            json,
            rounds,
            millis,
            quick,
            case,
            wasmtime,
            guest,
        } => {
            let (default_rounds, default_millis) = if quick { (3, 1_000) } else { (7, 2_000) };
            let plan = http::Plan {
                rounds: rounds.unwrap_or(default_rounds),
                time: Duration::from_millis(millis.unwrap_or(default_millis)),
                quick,
                case,
                wasmtime,
                guests: guest,
            };
            runtime.block_on(http::run(plan, json))?;
        }
        Command::Start {
            json,
            rounds,
            wasmtime,
        } => runtime.block_on(start::run(rounds, wasmtime, json))?,
        // It has a runtime of one thread; the threads of this one sleep.
        Command::Budget { what, rounds } => budget::run(what, rounds)?,
        Command::Hyper => runtime.block_on(inside(peers::serve_natively()))?,
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

/// Runs on one of the runtime's threads, like everything in a worker. The thread that waits for it
/// is not part of the runtime.
async fn inside(
    measurement: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) -> anyhow::Result<()> {
    tokio::spawn(measurement)
        .await
        .context("the benchmark panicked")?
}

fn named_file(argument: &str) -> Result<(String, String), String> {
    let (name, file) = argument.split_once('=').ok_or("it is not NAME=FILE")?;
    let path = std::fs::canonicalize(file).map_err(|error| format!("`{file}`: {error}"))?;
    Ok((name.to_owned(), path.display().to_string()))
}
