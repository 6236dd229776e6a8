//! Connections that are open and do nothing: what they keep in memory, and what they cost those that work.

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

/// As many as are opened.
pub const CONNECTIONS: usize = 1_000;
pub const NAME: &str = "1,000 idle connections";

/// What one side's process told.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Idle {
    /// Memory of the process for each connection: both ends, and the guests' share. What the kernel keeps is not in it.
    pub bytes: f64,
    /// A round trip of 64 bytes beside them, in microseconds.
    pub round_trip: f64,
}

/// Each side in a process of its own: memory that one side has given back is taken by the next without a trace.
pub async fn run(plan: &Plan, cache: &Path) -> anyhow::Result<Vec<(Side, Idle)>> {
    let mut all = Vec::new();
    for &side in Side::value_variants() {
        if !plan.wants(side) || !plan.wants_case(NAME) || side.programs() == Programs::P3 {
            continue;
        }
        let name = side.to_possible_value().context("a side has a name")?;
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

/// In such a process.
pub async fn run_child(side: Side, time: Duration, cache: &Path) -> anyhow::Result<()> {
    let sides = Sides::new(cache).await?;
    // Code, stacks and instances are there before it counts.
    hold(&sides, side, 0, Duration::from_millis(1)).await?;
    let before = resident()?;
    let (after, round_trip) = hold(&sides, side, CONNECTIONS, time).await?;
    let idle = Idle {
        bytes: after.saturating_sub(before) as f64 / CONNECTIONS as f64,
        round_trip,
    };
    println_json(&idle)
}

/// Resident bytes while they are open, and microseconds for a round trip.
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
    let held = held.context("the client never said that its connections stand")??;
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
