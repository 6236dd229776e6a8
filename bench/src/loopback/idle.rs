//! Idle connections: the memory that they take, and what they cost the connections that work.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use clap::ValueEnum as _;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::{
    guests::{Client, Server},
    machine::resident,
};

use super::{Plan, Programs, Side, Sides};

/// The number of idle connections.
pub const CONNECTIONS: usize = 1_000;
pub const NAME: &str = "1,000 idle connections";

/// The result of one side's process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Idle {
    /// Memory of the process per connection: both ends, including the guests' share, but not the
    /// memory of the kernel.
    pub bytes: f64,
    /// A round trip of 64 bytes while they are open, in microseconds.
    pub round_trip: f64,
}

/// Runs each side in a process of its own, because memory that one side has freed would be reused
/// by the next unnoticed.
pub async fn run(plan: &Plan, cache: &Path) -> anyhow::Result<Vec<(Side, Idle)>> {
    let mut all = Vec::new();
    for &side in Side::value_variants() {
        if !plan.wants(side) || !plan.wants_case(NAME) || side.programs() == Programs::P3 {
            continue;
        }
        let name = side.to_possible_value().context("the side has no name")?;
        let output = Command::new(std::env::current_exe()?)
            .args(["idle", "--side", name.get_name()])
            .args(["--millis", &plan.time.as_millis().to_string()])
            .arg("--cache")
            .arg(cache)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await?;
        if !output.status.success() {
            bail!(
                "the process that measures {side:?} failed: {}",
                output.status
            );
        }
        all.push((side, serde_json::from_slice(&output.stdout)?));
    }
    Ok(all)
}

/// Runs one side in such a process.
pub async fn run_child(side: Side, time: Duration, cache: &Path) -> anyhow::Result<()> {
    let sides = Sides::new(cache).await?;
    // So that code, stacks and instances exist before the measurement.
    hold(&sides, side, 0, Duration::from_millis(1)).await?;
    let before = resident()?;
    let (after, round_trip) = hold(&sides, side, CONNECTIONS, time).await?;
    let idle = Idle {
        bytes: after.saturating_sub(before) as f64 / CONNECTIONS as f64,
        round_trip,
    };
    println_json(&idle)
}

/// Returns the resident bytes while they are open, and the microseconds for a round trip.
async fn hold(
    sides: &Sides,
    side: Side,
    count: usize,
    time: Duration,
) -> anyhow::Result<(u64, f64)> {
    let serving = sides.serve(side, Server::Hold(count)).await?;
    let mut held = None;
    let client = Client::Idle(count);
    let did = sides
        .run(side, client, serving.port, time, || held = Some(resident()))
        .await?;
    let held = held.context("the client never reported that its connections are open")??;
    Ok((held, did.took.as_secs_f64() * 1e6 / did.count as f64))
}

#[expect(
    clippy::print_stdout,
    reason = "what the process that started it reads"
)]
fn println_json(idle: &Idle) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(idle)?);
    Ok(())
}
