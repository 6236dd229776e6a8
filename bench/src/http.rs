//! HTTP requests that Warren, `wasmtime serve` and a native server answer, in alternating rounds.

mod report;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use warren_tests::{Cluster, guest};

use crate::{
    cluster,
    load::{Load, Protocol},
    machine::Machine,
    peers::{Flags, Peer, Wasmtime},
};

use report::{Figures, Measured, Report};

/// A load on every server before the measurement.
const WARM_UP: Duration = Duration::from_millis(300);
/// The port of the service that [`FRONT`] connects to.
const PORT: &str = "8080";
/// A component that connects to its service and waits for a line for each request.
const FRONT: &str = "trapper-front";
const SERVICE: &str = "tokio-echo";

/// The plan of a run.
pub struct Plan {
    pub rounds: u32,
    pub time: Duration,
    pub quick: bool,
    /// Only cases whose name contains this.
    pub case: Option<String>,
    pub wasmtime: PathBuf,
    /// Further components, measured with requests for `/`: their names and files.
    pub guests: Vec<(String, String)>,
}

/// A server that answers the requests of a case.
#[derive(Clone)]
struct Side {
    name: &'static str,
    address: SocketAddr,
    /// The processes that do the work.
    processes: Vec<u32>,
}

/// The same requests for several servers. The first one is what the others are compared with.
struct Case {
    name: String,
    host: String,
    path: &'static str,
    protocol: Protocol,
    connections: usize,
    sides: Vec<Side>,
}

/// Everything that runs during the benchmark.
struct Servers {
    cluster: Cluster,
    hyper: Peer,
    /// Servers of the guests, and at last the service of [`FRONT`].
    peers: Vec<Peer>,
    /// The sides for each workload.
    sides: BTreeMap<String, Vec<Side>>,
}

pub async fn run(plan: Plan, json: bool) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let wasmtime = match Wasmtime::find(&plan.wasmtime).await {
        Ok(wasmtime) => Some(wasmtime),
        Err(why) => {
            note(&format!("SKIPPED: wasmtime: {why}"));
            None
        }
    };
    let cluster = cluster::start(scratch.path(), 2).await?;
    let servers = Servers::start(cluster, wasmtime.as_ref(), &plan.guests).await?;
    let mut cases = servers.cases(&plan);
    if let Some(only) = &plan.case {
        cases.retain(|case| case.name.contains(only.as_str()));
    }
    let mut measured = Vec::new();
    for case in &cases {
        measured.push(case.measure(&plan).await?);
        progress(measured.last(), json)?;
    }
    Report {
        machine: Machine::here(),
        wasmtime: wasmtime.map(|wasmtime| wasmtime.version),
        rounds: plan.rounds,
        seconds: plan.time.as_secs_f64(),
        cases: measured,
    }
    .print(json)
}

#[expect(clippy::print_stderr, reason = "a warning is not part of the output")]
fn note(what: &str) {
    eprintln!("{what}");
}

/// Prints a case when it is done, because all of them take minutes.
#[expect(clippy::print_stdout, reason = "this is the program's output")]
fn progress(done: Option<&Measured>, json: bool) -> anyhow::Result<()> {
    match done {
        Some(measured) if !json => println!("{}", measured.table()),
        _ => {}
    }
    Ok(())
}

// === impl Servers ===

impl Servers {
    async fn start(
        cluster: Cluster,
        wasmtime: Option<&Wasmtime>,
        further: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let mut servers = Self {
            cluster,
            hyper: Peer::hyper().await?,
            peers: Vec::new(),
            sides: BTreeMap::new(),
        };
        let mut guests = vec![
            ("raw".to_owned(), guest("answers-p2")),
            ("wstd".to_owned(), guest("http-echo")),
        ];
        guests.extend(further.iter().cloned());
        for (name, component) in &guests {
            let manifest = format!(
                "name: {name}\ncomponents:\n- name: web\n  component: {component}\n  \
                 routes: [ {{ host: {name}.localhost, path: / }} ]\n"
            );
            servers.apply(name, &manifest).await?;
            if let Some(wasmtime) = wasmtime {
                servers.peer(wasmtime, name, component).await?;
            }
        }
        let (front, service) = (guest(FRONT), guest(SERVICE));
        let manifest = format!(
            "name: front\nservice: {{ component: {service}, args: [ \"{PORT}\" ] }}\n\
             components:\n- name: web\n  component: {front}\n  \
             routes: [ {{ host: front.localhost, path: / }} ]\n"
        );
        servers.apply("front", &manifest).await?;
        if let Some(wasmtime) = wasmtime {
            servers.kernel(wasmtime, &front, &service).await?;
        }
        Ok(servers)
    }

    /// Runs a workload, on one of the workers.
    async fn apply(&mut self, name: &str, manifest: &str) -> anyhow::Result<()> {
        self.cluster.apply(manifest).await;
        let replica = self.cluster.replica(name).await;
        let home = |worker: &&warren_tests::Worker| replica["worker"] == worker.name.as_str();
        let worker = self.cluster.workers.iter().find(home);
        let worker = worker.context("the replica's worker is not one of these")?;
        let warren = Side {
            name: "warren",
            address: worker.http,
            processes: vec![worker.process.id()],
        };
        self.sides.insert(name.to_owned(), vec![warren]);
        Ok(())
    }

    /// Serves the component of this workload with wasmtime, with both kinds of options.
    async fn peer(&mut self, wasmtime: &Wasmtime, name: &str, guest: &str) -> anyhow::Result<()> {
        for (side, flags) in [("serve", Flags::Defaults), ("serve best", Flags::Best)] {
            let peer = wasmtime.serve(guest, flags).await?;
            let processes = vec![peer.id()?];
            self.add(name, side, peer, processes);
        }
        Ok(())
    }

    /// Runs the component and its service in two processes, which communicate over the kernel's
    /// loopback.
    async fn kernel(
        &mut self,
        wasmtime: &Wasmtime,
        front: &str,
        service: &str,
    ) -> anyhow::Result<()> {
        let service = match wasmtime.run(service, &[PORT]).await {
            Ok(service) => service,
            Err(error) => {
                note(&format!(
                    "SKIPPED: the service under `wasmtime run`: {error:#}"
                ));
                return Ok(());
            }
        };
        let front = wasmtime.serve(front, Flags::Best).await?;
        let processes = vec![front.id()?, service.id()?];
        self.add("front", "kernel", front, processes);
        self.peers.push(service);
        Ok(())
    }

    fn add(&mut self, workload: &str, name: &'static str, peer: Peer, processes: Vec<u32>) {
        let side = Side {
            name,
            address: peer.address,
            processes,
        };
        self.sides
            .entry(workload.to_owned())
            .or_default()
            .push(side);
        self.peers.push(peer);
    }

    fn cases(&self, plan: &Plan) -> Vec<Case> {
        let mut cases = Vec::new();
        let counts: &[usize] = match plan.quick {
            true => &[1, 64],
            false => &[1, 16, 64, 256],
        };
        for name in self.sides.keys().filter(|name| *name != "front") {
            for &connections in counts {
                cases.push(self.case(name, "/", Protocol::Http1, connections));
            }
        }
        let service: &[usize] = match plan.quick {
            true => &[8],
            false => &[1, 8, 16, 64, 256],
        };
        for &connections in service {
            let mut case = self.case("front", "/", Protocol::Http1, connections);
            case.sides.retain(|side| side.name != "hyper");
            cases.push(case);
        }
        for connections in [64, 1] {
            cases.extend(self.through(connections));
        }
        if !plan.quick {
            for (path, connections) in [("/length/65536", 16), ("/big/4194304", 16)] {
                cases.push(self.case("wstd", path, Protocol::Http1, connections));
            }
            for name in ["raw", "wstd"] {
                let mut case = self.case(name, "/", Protocol::H2c, 64);
                // `wasmtime serve` has no HTTP/2.
                case.sides.retain(|side| !side.name.starts_with("serve"));
                cases.push(case);
            }
        }
        cases
    }

    fn case(&self, name: &str, path: &'static str, protocol: Protocol, connections: usize) -> Case {
        let mut sides = self.sides.get(name).cloned().unwrap_or_default();
        sides.push(Side {
            name: "hyper",
            address: self.hyper.address,
            processes: self.hyper.id().into_iter().collect(),
        });
        let wire = match protocol {
            Protocol::Http1 => "",
            Protocol::H2c => " h2c",
        };
        Case {
            name: format!("{name} {path}{wire} c={connections}"),
            host: format!("{name}.localhost"),
            path,
            protocol,
            connections,
            sides,
        }
    }

    /// Requests to the worker that has no replica, which sends them to the one that has.
    fn through(&self, connections: usize) -> Option<Case> {
        let mut case = self.case("raw", "/", Protocol::Http1, connections);
        let local = case.sides.first()?.clone();
        let workers = &self.cluster.workers;
        let other = workers.iter().find(|worker| worker.http != local.address)?;
        let through = Side {
            name: "through",
            address: other.http,
            processes: workers.iter().map(|worker| worker.process.id()).collect(),
        };
        case.name = format!("raw through another worker c={connections}");
        case.sides = vec![
            through,
            Side {
                name: "local",
                ..local
            },
        ];
        Some(case)
    }
}

// === impl Case ===

impl Case {
    async fn measure(&self, plan: &Plan) -> anyhow::Result<Measured> {
        for side in &self.sides {
            let warm = self.load(side, WARM_UP).run().await;
            warm.with_context(|| format!("{}: {} does not answer", self.name, side.name))?;
        }
        let mut figures: Vec<Vec<Figures>> = vec![Vec::new(); self.sides.len()];
        for round in 0..plan.rounds as usize {
            for turn in 0..self.sides.len() {
                // Each round starts with a different side.
                let index = (round + turn) % self.sides.len();
                let side = &self.sides[index];
                let measured = self.once(side, plan.time).await;
                let what = || format!("{}: {}", self.name, side.name);
                figures[index].push(measured.with_context(what)?);
            }
        }
        let names = self.sides.iter().map(|side| side.name);
        let sides = names.zip(figures).collect();
        Measured::new(self.name.clone(), sides)
    }

    async fn once(&self, side: &Side, time: Duration) -> anyhow::Result<Figures> {
        let before = cpu(&side.processes)?;
        let outcome = self.load(side, time).run().await?;
        let used = cpu(&side.processes)?.saturating_sub(before);
        if let Some(failure) = &outcome.failure {
            let (case, failed) = (&self.name, outcome.failed);
            note(&format!(
                "{case}: {}: {failed} failed, the last one: {failure}",
                side.name
            ));
        }
        Ok(Figures::of(&outcome, used))
    }

    fn load(&self, side: &Side, time: Duration) -> Load {
        Load {
            address: side.address,
            host: self.host.clone(),
            path: self.path.to_owned(),
            protocol: self.protocol,
            connections: self.connections,
            time,
        }
    }
}

/// Returns the CPU time of all of these processes.
fn cpu(processes: &[u32]) -> anyhow::Result<Duration> {
    processes.iter().map(|&id| cluster::cpu_time(id)).sum()
}
