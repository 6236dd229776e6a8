//! Measures how soon a service that traps accepts connections again, as a client of its published
//! port sees it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use warren_model::spec::LEAST_BACKOFF_OF_A_LOOP;
use warren_tests::guest;

use crate::{cluster, machine::Machine, stats::Spread};

/// The exact minimum delay before the restart of a service that keeps trapping right after its
/// start, if its manifest asks for less.
const BACKOFF: Duration = LEAST_BACKOFF_OF_A_LOOP;
/// Without the backoff, in milliseconds.
const GOAL: f64 = 10.0;
/// The delay between two attempts to connect.
const PAUSE: Duration = Duration::from_micros(100);
/// The time limit after which a service that does not come back ends the benchmark.
const PATIENCE: Duration = Duration::from_secs(30);
/// The number of restarts before the measurement, after which the delay has reached [`BACKOFF`].
const WARM_UP: usize = 40;

#[derive(Serialize)]
struct Report {
    machine: Machine,
    component_bytes: u64,
    restarts: u32,
    /// From the last byte of a service that is about to trap to the first byte of its next run, in
    /// milliseconds.
    all: Spread,
    /// The same without the backoff.
    without_backoff: Spread,
    goal_met: bool,
}

pub async fn run(restarts: u32, json: bool) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let cluster = cluster::start(scratch.path(), 1).await?;
    let component = guest("trapper");
    cluster
        .apply(&format!(
            "name: trapper\nreplicas: 1\nservice:\n  component: {component}\n  \
             publish: [ {{ port: 8080, listen: \"127.0.0.1:0\" }} ]\n  \
             restart: {{ initialBackoff: 1ms, maxBackoff: 1ms, maxRestarts: 4000000000 }}\n"
        ))
        .await;
    let port = cluster.published("trapper").await;
    let lives = WARM_UP + restarts as usize;
    // A blocking thread, so that no timer of a runtime distorts the measurement.
    let waits = tokio::task::spawn_blocking(move || measure(port, lives)).await??;
    let counted = cluster.replica("trapper").await["restarts"].as_u64();
    ensure!(
        counted.is_some_and(|counted| counted >= lives as u64),
        "the worker counted {counted:?} restarts instead of {lives}"
    );

    let spread = |less: Duration| {
        let waits = waits.iter().skip(WARM_UP);
        Spread::of(waits.map(|wait| wait.saturating_sub(less).as_secs_f64() * 1e3))
            .context("no restart was measured")
    };
    let report = Report {
        machine: Machine::here(),
        component_bytes: fs::metadata(&component)?.len(),
        restarts,
        all: spread(Duration::ZERO)?,
        without_backoff: spread(BACKOFF)?,
        goal_met: spread(BACKOFF)?.p99 < GOAL,
    };
    report.print(json)
}

/// Measures from each end of the service to its next greeting.
fn measure(port: SocketAddr, lives: usize) -> anyhow::Result<Vec<Duration>> {
    let mut waits = Vec::with_capacity(lives);
    let mut ended = greeted(port, Instant::now())?.1;
    while waits.len() < lives {
        let (answered, next_end) = greeted(port, ended)?;
        waits.push(answered - ended);
        ended = next_end;
    }
    Ok(waits)
}

/// Connects until the service sends its greeting. Returns when its first byte arrived, and when it
/// closed the connection, which is right before it traps.
fn greeted(port: SocketAddr, since: Instant) -> anyhow::Result<(Instant, Instant)> {
    loop {
        if let Some(times) = greet(port) {
            return Ok(times);
        }
        ensure!(
            since.elapsed() < PATIENCE,
            "the service did not come back within {PATIENCE:?}"
        );
        thread::sleep(PAUSE);
    }
}

fn greet(port: SocketAddr) -> Option<(Instant, Instant)> {
    let mut stream = TcpStream::connect(port).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"hi\n").ok()?;
    let mut said = [0; 6];
    stream.read_exact(&mut said[..1]).ok()?;
    let answered = Instant::now();
    stream.read_exact(&mut said[1..]).ok()?;
    let at_end = matches!(stream.read(&mut [0]), Ok(0));
    (at_end && said == *b"hello\n").then(|| (answered, Instant::now()))
}

// === impl Report ===

impl Report {
    #[expect(clippy::print_stdout, reason = "this is the program's output")]
    fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        let kib = self.component_bytes >> 10;
        println!(
            "{} restarts of a component of {kib} KiB, from its trap to its next answer",
            self.restarts
        );
        for (name, spread) in [
            ("with the backoff of 1 s", self.all),
            ("without it", self.without_backoff),
        ] {
            let Spread { median, p99, most } = spread;
            println!("{name:26} median {median:.2} ms, p99 {p99:.2} ms, longest {most:.2} ms");
        }
        let met = if self.goal_met { "met" } else { "missed" };
        println!("goal: p99 below {GOAL} ms without the backoff: {met}");
        Ok(())
    }
}
