//! The figures of the requests, and how the sides compare.

use std::{fmt::Write as _, time::Duration};

use anyhow::Context as _;
use serde::Serialize;

use crate::{load::Outcome, machine::Machine, stats::Summary};

#[derive(Serialize)]
pub struct Report {
    pub machine: Machine,
    /// The version of wasmtime, unless it was not found.
    pub wasmtime: Option<String>,
    pub rounds: u32,
    /// The duration of one measurement.
    pub seconds: f64,
    pub cases: Vec<Measured>,
}

/// The figures of one side in one round.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub requests_per_second: f64,
    /// In microseconds.
    pub p50: f64,
    pub p99: f64,
    /// CPU time of the server's processes for each request, in microseconds.
    pub cpu: f64,
    pub failed: u64,
}

#[derive(Serialize)]
pub struct Measured {
    pub name: String,
    pub sides: Vec<SideSummary>,
    /// The first side in proportion to each of the others.
    pub ratios: Vec<Ratios>,
}

#[derive(Serialize)]
pub struct SideSummary {
    pub name: &'static str,
    pub requests_per_second: Summary,
    pub p50_us: Summary,
    pub p99_us: Summary,
    pub cpu_us: Summary,
    /// Over all rounds.
    pub failed: u64,
}

/// Each is computed within a round.
#[derive(Serialize)]
pub struct Ratios {
    pub to: &'static str,
    pub requests_per_second: Summary,
    pub p50: Summary,
    pub p99: Summary,
    pub cpu: Summary,
}

type Column = fn(&Figures) -> f64;
const REQUESTS: Column = |figures| figures.requests_per_second;
const P50: Column = |figures| figures.p50;
const P99: Column = |figures| figures.p99;
const CPU: Column = |figures| figures.cpu;

// === impl Figures ===

impl Figures {
    pub fn of(outcome: &Outcome, cpu: Duration) -> Self {
        let answered = outcome.answered as f64;
        Self {
            requests_per_second: answered / outcome.took.as_secs_f64(),
            p50: outcome.latency.median,
            p99: outcome.latency.p99,
            cpu: cpu.as_secs_f64() * 1e6 / answered,
            failed: outcome.failed,
        }
    }
}

// === impl Measured ===

impl Measured {
    /// Summarises the rounds of each side.
    pub fn new(name: String, sides: Vec<(&'static str, Vec<Figures>)>) -> anyhow::Result<Self> {
        let none = "nothing was measured";
        let column = |rounds: &[Figures], column: Column| -> Vec<f64> {
            rounds.iter().map(column).collect()
        };
        let (_, first) = sides.first().context(none)?;
        let mut ratios = Vec::new();
        for (to, rounds) in &sides[1..] {
            let ratio = |of: Column| {
                Summary::of_ratios(&column(first, of), &column(rounds, of)).context(none)
            };
            ratios.push(Ratios {
                to,
                requests_per_second: ratio(REQUESTS)?,
                p50: ratio(P50)?,
                p99: ratio(P99)?,
                cpu: ratio(CPU)?,
            });
        }
        let mut summaries = Vec::new();
        for (name, rounds) in &sides {
            let summary = |of: Column| Summary::of(column(rounds, of)).context(none);
            summaries.push(SideSummary {
                name,
                requests_per_second: summary(REQUESTS)?,
                p50_us: summary(P50)?,
                p99_us: summary(P99)?,
                cpu_us: summary(CPU)?,
                failed: rounds.iter().map(|figures| figures.failed).sum(),
            });
        }
        Ok(Self {
            name,
            sides: summaries,
            ratios,
        })
    }

    /// Returns the medians of each side, and what the first side is in proportion to the others.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{}\n  {:24} {:>10} {:>10} {:>10} {:>10} {:>7}\n",
            self.name, "", "req/s", "p50 us", "p99 us", "CPU us", "failed"
        );
        for side in &self.sides {
            let _ = writeln!(
                text,
                "  {:24} {:>10.0} {:>10.0} {:>10.0} {:>10.1} {:>7}",
                side.name,
                side.requests_per_second.median,
                side.p50_us.median,
                side.p99_us.median,
                side.cpu_us.median,
                side.failed
            );
        }
        let first = self.sides.first().map_or("", |side| side.name);
        for ratios in &self.ratios {
            let _ = writeln!(
                text,
                "  {first} / {}: req/s {}, p50 {}, p99 {}, CPU {}",
                ratios.to,
                quartiles(ratios.requests_per_second),
                quartiles(ratios.p50),
                quartiles(ratios.p99),
                quartiles(ratios.cpu)
            );
        }
        text
    }
}

fn quartiles(ratio: Summary) -> String {
    format!(
        "{:.2} ({:.2} to {:.2})",
        ratio.median, ratio.low, ratio.high
    )
}

// === impl Report ===

impl Report {
    /// Prints the JSON, or what has not been printed case by case.
    #[expect(clippy::print_stdout, reason = "this is the program's output")]
    pub fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        let Machine {
            time,
            cores,
            processor,
            kernel,
        } = &self.machine;
        let wasmtime = self.wasmtime.as_deref().unwrap_or("no wasmtime");
        println!(
            "{time}, {cores} cores ({processor}), Linux {kernel}, {wasmtime}, {} rounds of {} s each",
            self.rounds, self.seconds
        );
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn figures(requests_per_second: f64) -> Figures {
        Figures {
            requests_per_second,
            p50: 1e6 / requests_per_second,
            p99: 2e6 / requests_per_second,
            cpu: 3e6 / requests_per_second,
            failed: 1,
        }
    }

    #[test]
    fn ratios_are_of_the_first_side_to_the_others_in_the_same_round() {
        let ours = [100.0, 1000.0, 300.0].map(figures).to_vec();
        let theirs = [50.0, 500.0, 150.0].map(figures).to_vec();
        let measured = Measured::new("case".into(), vec![("ours", ours), ("theirs", theirs)]);
        let measured = measured.unwrap();
        let ratios = &measured.ratios[0];
        assert_eq!(ratios.to, "theirs");
        assert_eq!(
            (
                ratios.requests_per_second.low,
                ratios.requests_per_second.high
            ),
            (2.0, 2.0)
        );
        assert_eq!((ratios.cpu.low, ratios.cpu.high), (0.5, 0.5));
        assert_eq!(measured.sides[0].failed, 3);
        let table = measured.table();
        assert!(
            table.contains("ours / theirs: req/s 2.00 (2.00 to 2.00), p50 0.50"),
            "{table}"
        );
    }
}
