//! Compares the workload network with the kernel's loopback.
//!
//! Plain loops instead of a benchmark library, because ratios matter, on machines that are also
//! used otherwise. Every round measures all sides once, each for a fraction of a second and in
//! another order, and a ratio is computed within its round. A library that finishes one side before
//! it begins the next compares two states of the machine.

pub mod idle;
mod report;

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;
use warren_net::Scope;
use warren_worker::runtime::{Runtime, compile::CompileSettings};

use crate::{
    guests::{Client, Did, Generation, Guest, Server, Serving},
    host::{self, Kernel},
    kernel,
    machine::{Machine, cpu_time},
    workload::{self, Workload},
};

/// What is measured.
pub struct Plan {
    pub rounds: u32,
    /// The duration of one measurement.
    pub time: Duration,
    /// Empty for all sides.
    pub sides: Vec<Side>,
    /// A part of the names of the wanted cases.
    pub case: Option<String>,
}

/// Programs, and the network between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Side {
    Workload,
    Kernel,
    #[value(name = "workload-p3")]
    WorkloadP3,
    #[value(name = "kernel-p3")]
    KernelP3,
    HostWorkload,
    HostKernel,
}

/// The programs that communicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Programs {
    #[serde(rename = "guests, WASI 0.2")]
    P2,
    #[serde(rename = "guests, WASI 0.3")]
    P3,
    #[serde(rename = "tasks of the host")]
    Host,
}

/// Something that a client and a server do together.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub name: &'static str,
    pub unit: Unit,
    server: Server,
    client: Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Microseconds each: less is better.
    #[serde(rename = "us")]
    Micros,
    /// More is better.
    #[serde(rename = "GiB/s")]
    GibPerSecond,
    /// More is better.
    #[serde(rename = "1/s")]
    PerSecond,
}

/// All rounds of one case on one side.
pub struct Series {
    pub case: Case,
    pub side: Side,
    /// In the case's unit, by round.
    pub values: Vec<f64>,
    /// Microseconds of CPU time per round trip, connection or MiB, by round.
    pub cpu: Vec<f64>,
}

/// Everything that can be measured, prepared.
pub struct Sides {
    workload: Workload,
    scope: Scope,
    p2: Guest,
    p3: Guest,
}

const CASES: [Case; 4] = [
    Case {
        name: "round trip, 1 byte",
        unit: Unit::Micros,
        server: Server::Echo,
        client: Client::Ping(1),
    },
    Case {
        name: "round trip, 64 bytes",
        unit: Unit::Micros,
        server: Server::Echo,
        client: Client::Ping(64),
    },
    Case {
        name: "64 KiB chunks one way",
        unit: Unit::GibPerSecond,
        server: Server::Sink,
        client: Client::Send,
    },
    Case {
        name: "connect and close",
        unit: Unit::PerSecond,
        server: Server::Close,
        client: Client::Connect,
    },
];

pub async fn run(plan: Plan, json: bool) -> anyhow::Result<()> {
    let machine = Machine::here();
    let cache = tempfile::tempdir().context("cannot create a directory for compiled code")?;
    let sides = Sides::new(cache.path()).await?;
    let series = measure(&plan, &sides).await?;
    let idle = idle::run(&plan, cache.path()).await?;
    let report = report::Report::new(machine, &plan, &series, idle);
    match json {
        true => report.print_json(),
        false => {
            report.print_table();
            Ok(())
        }
    }
}

async fn measure(plan: &Plan, sides: &Sides) -> anyhow::Result<Vec<Series>> {
    let mut all = Vec::new();
    for case in CASES {
        for &side in Side::value_variants() {
            if plan.wants(side) && plan.wants_case(case.name) && side.has(case) {
                let serving = sides.serve(side, case.server).await?;
                all.push((serving, Series::new(case, side)));
            }
        }
    }
    for round in 0..plan.rounds as usize {
        let count = all.len();
        for step in 0..count {
            // A different side begins each round, so that no side always follows the same one.
            let (serving, series) = &mut all[(round + step) % count];
            let before = cpu_time();
            let did = sides
                .run(
                    series.side,
                    series.case.client,
                    serving.port,
                    plan.time,
                    || {},
                )
                .await
                .with_context(|| format!("{}, {:?}", series.case.name, series.side))?;
            series.add(did, cpu_time() - before);
        }
    }
    Ok(all.into_iter().map(|(_, series)| series).collect())
}

// === impl Plan ===

impl Plan {
    pub fn wants(&self, side: Side) -> bool {
        self.sides.is_empty() || self.sides.contains(&side)
    }

    pub fn wants_case(&self, name: &str) -> bool {
        self.case
            .as_ref()
            .is_none_or(|part| name.contains(part.as_str()))
    }
}

// === impl Side ===

impl Side {
    pub fn programs(self) -> Programs {
        match self {
            Self::Workload | Self::Kernel => Programs::P2,
            Self::WorkloadP3 | Self::KernelP3 => Programs::P3,
            Self::HostWorkload | Self::HostKernel => Programs::Host,
        }
    }

    /// Returns its counterpart over the kernel's loopback, unless it is one itself.
    pub fn beside(self) -> Option<Self> {
        match self {
            Self::Workload => Some(Self::Kernel),
            Self::WorkloadP3 => Some(Self::KernelP3),
            Self::HostWorkload => Some(Self::HostKernel),
            Self::Kernel | Self::KernelP3 | Self::HostKernel => None,
        }
    }

    /// Connections cost the same in both WASI versions: the 0.3 guest only transfers bytes.
    fn has(self, case: Case) -> bool {
        self.programs() != Programs::P3 || matches!(case.client, Client::Ping(_) | Client::Send)
    }
}

// === impl Series ===

impl Series {
    fn new(case: Case, side: Side) -> Self {
        Self {
            case,
            side,
            values: Vec::new(),
            cpu: Vec::new(),
        }
    }

    fn add(&mut self, did: Did, cpu: Duration) {
        let each = did.took.as_secs_f64() / did.count as f64;
        let (value, cpu_of) = match self.case.unit {
            Unit::Micros => (each * 1e6, 1.0),
            Unit::PerSecond => (1.0 / each, 1.0),
            Unit::GibPerSecond => (1.0 / each / f64::from(1 << 30), f64::from(1 << 20)),
        };
        self.values.push(value);
        self.cpu
            .push(cpu.as_secs_f64() * 1e6 / did.count as f64 * cpu_of);
    }
}

// === impl Sides ===

impl Sides {
    /// Prepares all sides. `cache` is the directory for compiled code.
    pub async fn new(cache: &Path) -> anyhow::Result<Self> {
        let runtime = Arc::new(Runtime::new(
            cache,
            u64::MAX,
            u64::MAX,
            CompileSettings::in_process(),
        )?);
        let p2 = Generation::P2.load(&runtime).await?;
        let p3 = Generation::P3.load(&runtime).await?;
        Ok(Self {
            workload: Workload::new(runtime),
            scope: workload::network().scope(),
            p2,
            p3,
        })
    }

    pub async fn serve(&self, side: Side, server: Server) -> anyhow::Result<Serving> {
        match side {
            Side::Workload => self.workload.serve(&self.p2, server).await,
            Side::WorkloadP3 => self.workload.serve(&self.p3, server).await,
            Side::Kernel => kernel::serve(Generation::P2, &self.p2, server).await,
            Side::KernelP3 => kernel::serve(Generation::P3, &self.p3, server).await,
            Side::HostWorkload => host::serve(&self.scope, server).await,
            Side::HostKernel => host::serve(&Kernel, server).await,
        }
    }

    /// Runs one measurement. `holding` is called when a client reports that its idle connections
    /// are open.
    pub async fn run(
        &self,
        side: Side,
        client: Client,
        port: u16,
        time: Duration,
        holding: impl FnMut(),
    ) -> anyhow::Result<Did> {
        let (p2, p3) = (&self.p2, &self.p3);
        match side {
            Side::Workload => self.workload.run(p2, client, port, time, holding).await,
            Side::WorkloadP3 => self.workload.run(p3, client, port, time, holding).await,
            Side::Kernel => kernel::run(Generation::P2, p2, client, port, time, holding).await,
            Side::KernelP3 => kernel::run(Generation::P3, p3, client, port, time, holding).await,
            Side::HostWorkload => host::run(&self.scope, client, port, time, holding).await,
            Side::HostKernel => host::run(&Kernel, client, port, time, holding).await,
        }
    }
}
