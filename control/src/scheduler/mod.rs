//! Where a replica runs: filters say where it can, scores where it is best. Pure: the same input, the same choice.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use warren_model::name::{Name, WorkloadId};

mod explain;
#[cfg(test)]
mod tests;

use explain::Refusal;
pub use explain::Unschedulable;

/// What one replica takes of its worker for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// In bytes.
    pub memory: u64,
    /// Addresses that it publishes on; port 0 is none of them.
    pub ports: Vec<SocketAddr>,
}

/// A worker as placement sees it, all its replicas counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView {
    pub name: Name,
    /// Its session is open and its heartbeats arrive.
    pub ready: bool,
    pub cordoned: bool,
    /// Since it was last heard of, or since the control plane's start where that is later.
    pub silent_for: Duration,
    /// In bytes.
    pub memory_free: u64,
    pub replicas: u32,
    /// 0: no bound.
    pub replicas_max: u32,
    pub taken_ports: Vec<TakenPort>,
}

/// A published address that somebody has on a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenPort {
    pub port: SocketAddr,
    /// `None`: another replica of the workload that is being placed.
    pub holder: Option<WorkloadId>,
}

/// What to find a worker for.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    pub needs: &'a Needs,
    /// Workers where it failed: only taken when there is no other.
    pub avoid: &'a BTreeSet<Name>,
    /// How many like it each worker has: the fewer, the better.
    pub spread: &'a BTreeMap<Name, u32>,
}

/// The best worker that can take it, or why none can.
pub fn place(demand: &Demand<'_>, workers: &[WorkerView]) -> Result<Name, Unschedulable> {
    let mut refusals = Vec::new();
    let mut best: Option<&WorkerView> = None;
    for worker in workers {
        match worker.refuses(demand.needs) {
            Some(refusal) => refusals.push(refusal),
            None if best.is_none_or(|best| demand.score(worker) < demand.score(best)) => {
                best = Some(worker);
            }
            None => {}
        }
    }
    best.map(|worker| worker.name.clone())
        .ok_or_else(|| Unschedulable::new(demand.needs, refusals))
}

/// Whether two listeners cannot both have their address on one machine. An unspecified address is every address of its
/// family; the IPv6 one takes IPv4 as well, as sockets do unless told otherwise.
pub fn conflicts(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V4(ip) => ip.is_unspecified() && narrow.is_ipv4(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && (a == b || covers(a, b) || covers(b, a))
}

// === impl Needs ===

impl Needs {
    /// As the workload that is being placed takes them.
    fn own_ports(&self) -> impl Iterator<Item = TakenPort> {
        self.ports.iter().map(|port| TakenPort {
            port: *port,
            holder: None,
        })
    }
}

// === impl Demand ===

impl Demand<'_> {
    /// The least is the best. The name comes last, so that no two workers are equal.
    fn score<'a>(&self, worker: &'a WorkerView) -> impl Ord + use<'a> {
        (
            self.avoid.contains(&worker.name),
            self.spread.get(&worker.name).copied().unwrap_or(0),
            worker.replicas,
            Reverse(worker.memory_free),
            &worker.name,
        )
    }
}

// === impl WorkerView ===

impl WorkerView {
    /// The first reason against it, if there is one.
    fn refuses(&self, needs: &Needs) -> Option<Refusal> {
        if !self.ready {
            return Some(Refusal::NotReady);
        }
        if self.cordoned {
            return Some(Refusal::Cordoned);
        }
        if self.replicas_max != 0 && self.replicas >= self.replicas_max {
            return Some(Refusal::Full {
                replicas: self.replicas_max,
            });
        }
        let taken = needs.ports.iter().find_map(|port| self.taken(*port));
        if let Some(taken) = taken {
            return Some(Refusal::PortTaken(taken));
        }
        if needs.memory > self.memory_free {
            return Some(Refusal::LacksMemory {
                free: self.memory_free,
            });
        }
        None
    }

    /// The wanted port with who keeps it from being free.
    fn taken(&self, port: SocketAddr) -> Option<TakenPort> {
        let mut taken = self.taken_ports.iter();
        let taken = taken.find(|taken| conflicts(taken.port, port))?;
        Some(TakenPort {
            port,
            holder: taken.holder.clone(),
        })
    }

    /// Counts one more replica.
    pub fn take(&mut self, needs: &Needs) {
        self.memory_free = self.memory_free.saturating_sub(needs.memory);
        self.replicas += 1;
        self.taken_ports.extend(needs.own_ports());
    }

    /// Counts one less, of those that it was counted with.
    pub fn release(&mut self, needs: &Needs) {
        self.memory_free = self.memory_free.saturating_add(needs.memory);
        self.replicas = self.replicas.saturating_sub(1);
        self.taken_ports
            .retain(|taken| !needs.ports.contains(&taken.port));
    }
}
