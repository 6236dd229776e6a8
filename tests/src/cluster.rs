//! A control plane and workers, each a process of its own.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::ExitStatus,
};

use serde_json::Value;
use tokio::process::Command;

use crate::{Answer, Lab, MemoryGroup, Process, Reply, eventually};

pub struct Cluster {
    pub control: Control,
    pub workers: Vec<Worker>,
    /// Last, so that it outlives what writes into it.
    pub lab: Lab,
}

pub struct Control {
    pub process: Process,
    pub url: String,
    flags: Vec<String>,
}

pub struct Worker {
    pub name: String,
    pub process: Process,
    /// Where it answers HTTP.
    pub http: SocketAddr,
    /// Where it answers for health.
    pub listen: SocketAddr,
}

/// An address of 127.0.0.0/8 that this process has for itself: what is bound there, given back and
/// bound again is not taken by a client of another test in between.
pub fn own_loopback() -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high | 1, low, 1)
}

// === impl Cluster ===

impl Cluster {
    /// With so many workers, named `w1`, `w2`, ..., all of which have joined.
    pub async fn start(lab: Lab, workers: usize) -> Self {
        Self::start_with(lab, workers, &[], &[]).await
    }

    /// The same, with further flags for the control plane and for each worker.
    pub async fn start_with(
        lab: Lab,
        workers: usize,
        control_flags: &[&str],
        worker_flags: &[&str],
    ) -> Self {
        let control = Control::start(&lab, control_flags).await;
        let mut cluster = Self {
            control,
            workers: Vec::new(),
            lab,
        };
        for number in 1..=workers {
            let name = format!("w{number}");
            let worker = Worker::start(&cluster.lab, &cluster.control.url, &name, worker_flags);
            cluster.workers.push(worker.await);
        }
        eventually("all workers have joined", async || {
            let known = cluster
                .warren(&["get", "workers", "-o", "json"])
                .await
                .json();
            let ready = list(&known)
                .filter(|worker| worker["ready"] == true)
                .count();
            if ready == workers { Ok(()) } else { Err(known) }
        })
        .await;
        cluster
    }

    /// Where the only worker, or the first, answers HTTP.
    pub fn http(&self) -> SocketAddr {
        self.workers[0].http
    }

    pub async fn get(&self, host: &str, path: &str) -> Reply {
        crate::get(self.http(), host, path).await
    }

    /// A client command, as somebody would write it who has set WARREN_SERVER.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab.command(arguments);
        command.env("WARREN_SERVER", &self.control.url);
        command
    }

    /// Runs a client command to its end.
    pub async fn warren(&self, arguments: &[&str]) -> Answer {
        self.lab.ask(arguments, self.command(arguments)).await
    }

    /// Starts a client command that goes on.
    pub fn follow(&self, name: &str, arguments: &[&str]) -> Process {
        self.lab.start(name, self.command(arguments))
    }

    /// Applies a manifest, and waits until it is ready.
    pub async fn apply(&self, manifest: &str) {
        self.try_apply(manifest).await.ok();
    }

    /// Applies a manifest and waits for how it goes.
    pub async fn try_apply(&self, manifest: &str) -> Answer {
        let file = self.lab.write("applied.yaml", manifest);
        self.warren(&["apply", "-f", &file, "--wait", "--timeout", "50s"])
            .await
    }

    pub async fn workload(&self, name: &str) -> Value {
        self.warren(&["get", "workloads", name, "-o", "json"])
            .await
            .json()
    }

    /// A workload's replicas.
    pub async fn replicas(&self, name: &str) -> Vec<Value> {
        let answer = self.warren(&["get", "replicas", name, "-o", "json"]).await;
        list(&answer.json()).cloned().collect()
    }

    /// A workload's only replica, but for those that are on their way out.
    pub async fn replica(&self, name: &str) -> Value {
        let mut replicas = self.replicas(name).await;
        replicas.retain(|replica| replica["phase"] != "STOPPING" && replica["phase"] != "STOPPED");
        assert_eq!(replicas.len(), 1, "{replicas:#?}");
        replicas.remove(0)
    }

    /// Where the worker offers the first published port of a workload's only replica.
    pub async fn published(&self, name: &str) -> SocketAddr {
        let replica = self.replica(name).await;
        let address = replica["endpoints"][0]["address"].as_str();
        let address = address.unwrap_or_else(|| panic!("no endpoint in {replica:#}"));
        address.parse().expect("an address")
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("a list is an array").iter()
}

// === impl Control ===

impl Control {
    async fn start(lab: &Lab, flags: &[&str]) -> Self {
        let any = format!("{}:0", own_loopback());
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        Self::start_at(lab, &any, flags).await
    }

    async fn start_at(lab: &Lab, listen: &str, flags: Vec<String>) -> Self {
        let data = lab.path("control");
        let mut command = lab.command(&["control", "--listen", listen, "--data"]);
        command.arg(data).args(&flags);
        let process = lab.start("control", command);
        let line = process.said_line("listening on ").await;
        let url = line.strip_prefix("warren control listening on ");
        let url = url.unwrap_or_else(|| panic!("no address in `{line}`"));
        Self {
            url: url.to_owned(),
            process,
            flags,
        }
    }

    /// Once it was killed: again on the same data, at the same address.
    pub async fn start_again(&mut self, lab: &Lab) {
        let listen = self.url.trim_start_matches("http://").to_owned();
        *self = Self::start_at(lab, &listen, self.flags.clone()).await;
    }
}

// === impl Worker ===

impl Worker {
    pub async fn start(lab: &Lab, control: &str, name: &str, flags: &[&str]) -> Self {
        Self::start_on(lab, control, name, name, flags).await
    }

    /// On the data directory of another name.
    pub async fn start_on(
        lab: &Lab,
        control: &str,
        name: &str,
        data: &str,
        flags: &[&str],
    ) -> Self {
        Self::started(lab, name, Self::command(lab, control, name, data, flags)).await
    }

    /// With its memory bounded by a control group.
    pub async fn start_in(
        group: &MemoryGroup,
        lab: &Lab,
        control: &str,
        name: &str,
        flags: &[&str],
    ) -> Self {
        let command = Self::command(lab, control, name, name, flags);
        Self::started(lab, name, group.run(&command)).await
    }

    async fn started(lab: &Lab, name: &str, command: Command) -> Self {
        let process = lab.start(name, command);
        let line = process.said_line("listening on ").await;
        let (http, listen) = line
            .strip_prefix(&format!("warren worker {name}: http on "))
            .and_then(|rest| rest.split_once(", listening on "))
            .unwrap_or_else(|| panic!("no addresses in `{line}`"));
        Self {
            name: name.to_owned(),
            http: http.parse().expect("an address"),
            listen: listen.parse().expect("an address"),
            process,
        }
    }

    /// How a worker is started, on ports that are free.
    pub fn command(lab: &Lab, control: &str, name: &str, data: &str, flags: &[&str]) -> Command {
        let data = lab.worker_data(data);
        let any = "127.0.0.1:0";
        let mut command = lab.command(&["worker", "--control", control, "--name", name]);
        command.args(["--http", any, "--listen", any, "--data"]);
        command.arg(data).args(flags);
        command
    }

    /// As a service manager stops it.
    pub async fn stop(&mut self) -> ExitStatus {
        self.process.terminate().await
    }
}
