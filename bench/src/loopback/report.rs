//! Prints the measurements as a table or as JSON.

#![expect(clippy::print_stdout, reason = "this is the program's output")]

use serde::Serialize;

use crate::{machine::Machine, stats::Summary};

use super::{
    Plan, Programs, Series, Side, Unit,
    idle::{self, Idle},
};

/// A round trip should take at most this fraction of the kernel's, with the same guests.
const ROUND_TRIP_GOAL: f64 = 0.25;
/// Throughput should be at least this multiple of the kernel's, with the same guests.
const THROUGHPUT_GOAL: f64 = 5.0;

#[derive(Serialize)]
pub struct Report {
    machine: Machine,
    rounds: u32,
    millis: u128,
    /// In the order of the table.
    rows: Vec<Row>,
    idle: Vec<IdleRow>,
}

/// The same programs over both networks.
#[derive(Serialize)]
struct Row {
    case: &'static str,
    programs: Programs,
    unit: Unit,
    workload: Option<Figure>,
    kernel: Option<Figure>,
    /// Workload divided by kernel, by round.
    ratio: Option<Summary>,
    /// `None` if there is no goal.
    goal: Option<Goal>,
}

#[derive(Serialize)]
struct Figure {
    #[serde(flatten)]
    value: Summary,
    /// Microseconds of CPU time per round trip, connection or MiB.
    cpu_us: f64,
}

#[derive(Serialize)]
struct Goal {
    ratio: f64,
    met: bool,
}

#[derive(Serialize)]
struct IdleRow {
    programs: Programs,
    network: &'static str,
    #[serde(flatten)]
    idle: Idle,
}

// === impl Report ===

impl Report {
    pub fn new(machine: Machine, plan: &Plan, series: &[Series], idle: Vec<(Side, Idle)>) -> Self {
        let rows = series.iter().filter_map(|s| Row::new(s, series)).collect();
        let idle = idle
            .into_iter()
            .map(|(side, idle)| IdleRow {
                programs: side.programs(),
                network: match side.beside() {
                    Some(_) => "workload",
                    None => "kernel",
                },
                idle,
            })
            .collect();
        Self {
            machine,
            rounds: plan.rounds,
            millis: plan.time.as_millis(),
            rows,
            idle,
        }
    }

    pub fn print_json(&self) -> anyhow::Result<()> {
        println!("{}", serde_json::to_string_pretty(self)?);
        Ok(())
    }

    pub fn print_table(&self) {
        let machine = &self.machine;
        println!(
            "{}, {} cores ({}), Linux {}: medians of {} rounds of {} ms\n",
            machine.time,
            machine.cores,
            machine.processor,
            machine.kernel,
            self.rounds,
            self.millis
        );
        println!(
            "{:<24}{:<20}{:>11}{:>11}{:>8}  {:<13}{:>18}",
            "", "", "workload", "kernel", "ratio", "(quartiles)", "CPU us: w / k"
        );
        if cfg!(debug_assertions) {
            println!("built without --release: these figures are meaningless\n");
        }
        let mut case = "";
        for row in &self.rows {
            let title = match row.case == case {
                true => String::new(),
                false => format!("{}, {}", row.case, row.unit.name()),
            };
            if !title.is_empty() {
                println!("{title}");
            }
            case = row.case;
            row.print();
        }
        if self.idle.is_empty() {
            return;
        }
        println!(
            "{}: bytes of the process per connection, and a round trip of 64 bytes at the same time, us",
            idle::NAME
        );
        for row in &self.idle {
            println!(
                "{:<24}{:<20}{:>11}{:>11.0}{:>8.1}",
                "",
                row.programs.name(),
                row.network,
                row.idle.bytes,
                row.idle.round_trip
            );
        }
    }
}

// === impl Row ===

impl Row {
    /// Returns the row of a side over the workload network, or of one over the kernel's loopback
    /// without a counterpart.
    fn new(series: &Series, all: &[Series]) -> Option<Self> {
        let find = |side| {
            all.iter()
                .find(|s| s.side == side && s.case.name == series.case.name)
        };
        let (workload, kernel) = match series.side.beside() {
            Some(beside) => (Some(series), find(beside)),
            None if all.iter().any(|s| s.side.beside() == Some(series.side)) => return None,
            None => (None, Some(series)),
        };
        let ratio = workload
            .zip(kernel)
            .and_then(|(w, k)| Summary::of_ratios(&w.values, &k.values));
        let programs = series.side.programs();
        Some(Self {
            case: series.case.name,
            programs,
            unit: series.case.unit,
            workload: workload.and_then(Figure::new),
            kernel: kernel.and_then(Figure::new),
            goal: ratio.and_then(|ratio| Goal::new(programs, series.case.unit, ratio.median)),
            ratio,
        })
    }

    fn print(&self) {
        let value = |figure: &Option<Figure>| match figure {
            None => "-".to_owned(),
            Some(figure) => format!("{:.*}", self.unit.digits(), figure.value.median),
        };
        let cpu = |figure: &Option<Figure>| match figure {
            None => "-".to_owned(),
            Some(figure) => format!("{:.1}", figure.cpu_us),
        };
        let (ratio, quarters) = match self.ratio {
            None => (String::new(), String::new()),
            Some(r) => (
                format!("{:.2}", r.median),
                format!("({:.2}-{:.2})", r.low, r.high),
            ),
        };
        let goal = match &self.goal {
            None => String::new(),
            Some(goal) => format!(
                "  goal {}: {}",
                goal.ratio,
                if goal.met { "met" } else { "missed" }
            ),
        };
        println!(
            "{:<24}{:<20}{:>11}{:>11}{ratio:>8}  {quarters:<13}{:>18}{goal}",
            "",
            self.programs.name(),
            value(&self.workload),
            value(&self.kernel),
            format!("{} / {}", cpu(&self.workload), cpu(&self.kernel)),
        );
    }
}

// === impl Figure ===

impl Figure {
    fn new(series: &Series) -> Option<Self> {
        Some(Self {
            value: Summary::of(series.values.iter().copied())?,
            cpu_us: Summary::of(series.cpu.iter().copied())?.median,
        })
    }
}

// === impl Goal ===

impl Goal {
    /// Goals apply to guests, which workloads consist of.
    fn new(programs: Programs, unit: Unit, measured: f64) -> Option<Self> {
        if programs == Programs::Host {
            return None;
        }
        let (ratio, met) = match unit {
            Unit::Micros => (ROUND_TRIP_GOAL, measured <= ROUND_TRIP_GOAL),
            Unit::GibPerSecond => (THROUGHPUT_GOAL, measured >= THROUGHPUT_GOAL),
            Unit::PerSecond => return None,
        };
        Some(Self { ratio, met })
    }
}

// === impl Programs ===

impl Programs {
    fn name(self) -> &'static str {
        match self {
            Self::P2 => "guests, WASI 0.2",
            Self::P3 => "guests, WASI 0.3",
            Self::Host => "tasks of the host",
        }
    }
}

// === impl Unit ===

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Micros => "us",
            Self::GibPerSecond => "GiB/s",
            Self::PerSecond => "per second",
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::Micros | Self::GibPerSecond => 2,
            Self::PerSecond => 0,
        }
    }
}
