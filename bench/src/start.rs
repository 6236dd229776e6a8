//! The time from the start of a process to the first answer, beside `wasmtime serve`.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use warren_tests::guest;

use crate::{cluster, machine::Machine, peers::Wasmtime, stats::Summary};

/// The time limit of a start; the first one compiles.
const PATIENCE: Duration = Duration::from_secs(120);
/// The delay between two attempts to connect.
const PAUSE: Duration = Duration::from_micros(100);
const HOST: &str = "start.localhost";

/// The programs that are started in turn.
struct Starts {
    warren: PathBuf,
    manifest: PathBuf,
    home: PathBuf,
    wasmtime: Option<PathBuf>,
    component: String,
}

/// A program that is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Side {
    /// `warren dev` on a data directory that is new each time, with compiled code at hand.
    Warren,
    /// `wasmtime serve` with its cache of compiled code.
    Serve,
}

/// A process that ends with its value.
struct Running(Child);

#[derive(Serialize)]
struct Report {
    machine: Machine,
    component: &'static str,
    wasmtime: Option<String>,
    rounds: u32,
    /// In milliseconds.
    warren: Summary,
    serve: Option<Summary>,
    /// Computed within each round.
    ratio: Option<Summary>,
}

pub async fn run(rounds: u32, wasmtime: PathBuf, json: bool) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let found = match Wasmtime::find(&wasmtime).await {
        Ok(found) => Some(found),
        Err(why) => {
            skipped(&why);
            None
        }
    };
    let component = guest("answers-p2");
    let manifest = scratch.path().join("warren.yaml");
    std::fs::write(
        &manifest,
        format!(
            "name: start\ncomponents:\n- name: web\n  component: {component}\n  \
             routes: [ {{ host: {HOST}, path: / }} ]\n"
        ),
    )?;
    let starts = Starts {
        warren: cluster::program(scratch.path())?,
        manifest,
        home: scratch.path().to_owned(),
        wasmtime: found.is_some().then_some(wasmtime),
        component,
    };
    // A blocking thread, so that no timer of a runtime distorts the measurement.
    let (warren, serve) =
        tokio::task::spawn_blocking(move || starts.measure(rounds as usize)).await??;
    let report = Report {
        machine: Machine::here(),
        component: "answers-p2",
        wasmtime: found.map(|wasmtime| wasmtime.version),
        rounds,
        ratio: Summary::of_ratios(&warren, &serve),
        serve: Summary::of(serve),
        warren: Summary::of(warren).context("nothing was measured")?,
    };
    report.print(json)
}

#[expect(clippy::print_stderr, reason = "a warning is not part of the output")]
fn skipped(why: &str) {
    eprintln!("SKIPPED: wasmtime: {why}");
}

// === impl Starts ===

impl Starts {
    /// Returns the times of both sides in milliseconds, those of the second one only where it is
    /// installed.
    fn measure(&self, rounds: usize) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
        let sides: &[Side] = match self.wasmtime {
            Some(_) => &[Side::Warren, Side::Serve],
            None => &[Side::Warren],
        };
        // The first start of each compiles.
        for side in sides {
            self.once(*side)?;
        }
        let (mut warren, mut serve) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            for turn in 0..sides.len() {
                let side = sides[(round + turn) % sides.len()];
                let took = self.once(side)?.as_secs_f64() * 1e3;
                match side {
                    Side::Warren => warren.push(took),
                    Side::Serve => serve.push(took),
                }
            }
        }
        Ok((warren, serve))
    }

    /// Starts the program, waits until it answers with 200, and ends it.
    fn once(&self, side: Side) -> anyhow::Result<Duration> {
        // Free when it was chosen; a program that finds it taken ends, which is an error here.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = self.command(side, address);
        command
            .env("XDG_CACHE_HOME", self.home.join("cache"))
            .env("XDG_DATA_HOME", self.home.join("share"))
            .env("HOME", &self.home)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let began = Instant::now();
        let mut running = Running(command.spawn()?);
        while !answers(address) {
            ensure!(running.0.try_wait()?.is_none(), "{side:?} ended at once");
            ensure!(began.elapsed() < PATIENCE, "{side:?} did not answer");
            thread::sleep(PAUSE);
        }
        Ok(began.elapsed())
    }

    fn command(&self, side: Side, address: SocketAddr) -> Command {
        let http = address.to_string();
        let serve = self
            .wasmtime
            .as_deref()
            .unwrap_or_else(|| Path::new("wasmtime"));
        match side {
            Side::Warren => {
                let mut command = Command::new(&self.warren);
                command.args(["dev", "--listen", "127.0.0.1:0", "--http", &http]);
                command.arg(&self.manifest);
                command
            }
            Side::Serve => {
                let mut command = Command::new(serve);
                command.args([
                    "serve",
                    "-Scli",
                    "-Ccache",
                    "--addr",
                    &http,
                    &self.component,
                ]);
                command
            }
        }
    }
}

/// Returns whether a request is answered with 200.
fn answers(address: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).take(1024).read_line(&mut line)?;
        std::io::Result::Ok(line)
    };
    ask().is_ok_and(|line| line.starts_with("HTTP/1.1 200 "))
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// === impl Report ===

impl Report {
    #[expect(clippy::print_stdout, reason = "this is the program's output")]
    fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        println!("{} starts of each, until the first 200", self.rounds);
        let sides = [
            ("warren dev", Some(self.warren)),
            ("wasmtime serve", self.serve),
        ];
        for (name, summary) in sides {
            let Some(Summary { median, low, high }) = summary else {
                continue;
            };
            println!("{name:16} {median:.1} ms ({low:.1} to {high:.1})");
        }
        if let Some(Summary { median, low, high }) = self.ratio {
            println!("{:16} {median:.2} ({low:.2} to {high:.2})", "ratio");
        }
        Ok(())
    }
}
