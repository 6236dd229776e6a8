//! Many idle services on one worker: the cost of each, and the time until all are ready.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use tokio::time::{sleep, timeout};
use warren_tests::{Cluster, example};

use crate::{cluster, machine::Machine};

/// The time limit until all of them are ready.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long they are observed while they are idle.
const IDLE: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Report {
    machine: Machine,
    services: u32,
    /// From the start of `warren apply` to its end, when the last service is ready, in seconds.
    ready_after: f64,
    /// Resident memory of the worker with one service, in bytes.
    worker_bytes: u64,
    /// The growth for each additional service.
    service_bytes: f64,
    /// Threads of the worker.
    threads: usize,
    /// The share of one core that the worker uses while all services are idle.
    idle_cores: f64,
    /// The growth of the control plane, in bytes per service.
    control_bytes: f64,
}

pub async fn run(services: u32, json: bool) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let cluster = cluster::start(scratch.path(), 1).await?;
    // So that the code is compiled and mapped before the measurement.
    start(&cluster, 1).await?;
    let (worker, control) = (&cluster.workers[0].process, &cluster.control.process);
    let before = (worker.resident(), control.resident());
    let began = Instant::now();
    start(&cluster, services).await?;
    let ready_after = began.elapsed().as_secs_f64();

    let used = cluster::cpu_time(worker.id())?;
    sleep(IDLE).await;
    let idle_cores = (cluster::cpu_time(worker.id())? - used).as_secs_f64() / IDLE.as_secs_f64();
    let replicas = cluster.replicas("idle").await;
    let well = |replica: &&serde_json::Value| replica["ready"] == true && replica["restarts"] == 0;
    let ready = replicas.iter().filter(well).count();
    ensure!(
        ready == services as usize,
        "{ready} of {services} services are ready and were never restarted"
    );
    let each = |after: u64, before: u64| {
        after.saturating_sub(before) as f64 / f64::from(services.saturating_sub(1))
    };
    let report = Report {
        machine: Machine::here(),
        services,
        ready_after,
        worker_bytes: before.0,
        service_bytes: each(worker.resident(), before.0),
        threads: std::fs::read_dir(format!("/proc/{}/task", worker.id()))?.count(),
        idle_cores,
        control_bytes: each(control.resident(), before.1),
    };
    report.print(json)
}

/// Applies this many replicas of an echo server, and waits for them.
async fn start(cluster: &Cluster, services: u32) -> anyhow::Result<()> {
    let echo = example("echo");
    // The scheduler counts the limit: 1,000 times the default is more than most machines have.
    let manifest = format!(
        "name: idle\nreplicas: {services}\nservice: {{ component: {echo}, limits: {{ memory: 8MiB }} }}\n"
    );
    let file = cluster.lab.write("idle.yaml", manifest);
    let seconds = format!("{}s", PATIENCE.as_secs());
    let mut apply = cluster.command(&["apply", "-f", &file, "--wait", "--timeout", &seconds]);
    let output = timeout(PATIENCE, apply.output()).await;
    let output = output.context("`warren apply` did not end in time")??;
    ensure!(
        output.status.success(),
        "`warren apply` failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

// === impl Report ===

impl Report {
    #[expect(clippy::print_stdout, reason = "this is the program's output")]
    fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        let kib = |bytes: f64| bytes / 1024.0;
        println!("{} idle services on one worker", self.services);
        println!("ready after                   {:.2} s", self.ready_after);
        println!(
            "memory of each, worker        {:.1} KiB",
            kib(self.service_bytes)
        );
        println!(
            "memory of each, control plane {:.1} KiB",
            kib(self.control_bytes)
        );
        println!(
            "the worker with one service   {:.1} MiB",
            kib(self.worker_bytes as f64) / 1024.0
        );
        println!("threads of the worker         {}", self.threads);
        println!("CPU of the worker, idle       {:.2} cores", self.idle_cores);
        Ok(())
    }
}
