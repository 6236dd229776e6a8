//! Chooses the worker of a replica: filters say where it can run, scores where it runs best. The
//! room is pure: the same input gives the same choice.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use warren_model::{
    component::InterfaceName,
    host_port::HostPort,
    link::HostInterfaces,
    name::{Name, WorkloadId},
    publish_rule::PublishRule,
};

mod explain;
mod offers;
#[cfg(test)]
mod tests;

use explain::Refusal;
pub use explain::{Lasting, Unschedulable};

/// The resources that one replica takes of its worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub memory: Memory,
    /// The ports that it publishes on, without port 0.
    pub ports: Vec<HostPort>,
}

/// The memory of one replica or several, in bytes, by each way to count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The bytes that its guests are always granted.
    pub reserve: u64,
    /// The most bytes that they may use.
    pub limit: u64,
}

/// The requirements of a replica on its worker, apart from room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// The worker must have every one.
    pub labels: BTreeMap<String, String>,
    /// The label over whose values replicas are spread.
    pub spread: Option<String>,
    /// The directories that the worker must offer.
    pub volumes: BTreeMap<Name, Access>,
    /// The addresses that it publishes on; for port 0 the worker chooses a port.
    pub listens: Vec<HostPort>,
    /// The interfaces that the worker must provide to guests.
    pub interfaces: HostInterfaces,
    /// Fields of a spec that the worker must know.
    pub features: BTreeSet<String>,
}

/// The access to a directory that is offered, or required.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    Read,
    Write,
}

/// The properties of a worker that do not depend on what it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    pub labels: BTreeMap<String, String>,
    pub volumes: BTreeMap<Name, Access>,
    /// Workers of the same kernel network share their ports. `None`: it shares them with no other.
    pub network: Option<String>,
    /// The addresses that its operator lets workloads publish on. Empty: all.
    pub publish: Vec<PublishRule>,
    /// The interfaces that it provides to guests. Workers of one version share one list.
    pub interfaces: Arc<HostInterfaces>,
    /// Fields of a spec that it knows, of those that the first workers did not.
    pub features: BTreeSet<String>,
}

/// A worker as placement sees it, with all its replicas counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView {
    pub name: Name,
    /// Its session is open and its heartbeats arrive.
    pub ready: bool,
    pub cordoned: bool,
    /// Its replicas are to leave. It is cordoned as well.
    pub draining: bool,
    /// It stops in order, or has stopped.
    pub departure: Option<Departure>,
    /// It runs what it is assigned, as far as the control plane knows.
    pub follows: bool,
    /// The time since its last heartbeat, or since the control plane's start where that is later.
    pub silent_for: Duration,
    /// The time since its session was opened.
    pub connected_for: Duration,
    /// The bytes of memory that are free.
    pub memory_free: u64,
    /// Whether it holds guests to their reserves when memory runs short; otherwise their limits
    /// must fit.
    pub keeps_reserves: bool,
    pub replicas: u32,
    /// The most replicas that it runs; 0 is no bound.
    pub replicas_max: u32,
    pub taken_ports: Vec<TakenPort>,
    pub offers: Arc<Offers>,
}

/// The state of a worker that stops in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The time for which its replicas are still kept for its return. At zero, others take their
    /// places.
    pub keeps_for: Duration,
    /// Nothing that it ran is running.
    pub stopped: bool,
}

/// A port that a replica publishes on a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenPort {
    pub port: HostPort,
    /// The workload that holds it; `None` is another replica of the workload that is being placed.
    pub holder: Option<WorkloadId>,
    pub hold: Hold,
}

/// How long a replica keeps its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// It keeps them.
    Stays,
    /// It stops, or another replica is to replace it.
    Ends,
    /// It is LOST. Its own worker may still run it. Only the other workers of that network can find
    /// out whether the port is free for them.
    Lost,
}

/// The workers of each network.
type Networks<'a> = BTreeMap<&'a str, Vec<&'a WorkerView>>;

/// The first required interface that each list of workers lacks, by the list's address.
type Lacking<'a> = HashMap<*const HostInterfaces, Option<&'a InterfaceName>>;

/// A replica that needs a worker.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    pub needs: &'a Needs,
    pub requirements: &'a Requirements,
    /// The workers where it failed, which are chosen only when there is no other.
    pub avoid: &'a BTreeSet<Name>,
    /// The workers that could not listen on its ports, whose whole networks are not chosen.
    pub refused: &'a BTreeSet<Name>,
    /// The workers that cannot compile it.
    pub uncompilable: &'a BTreeSet<Name>,
    /// The number of replicas like it on each worker: the fewer, the better.
    pub spread: &'a BTreeMap<Name, u32>,
}

/// Returns the best worker that can take the replica, or why none can.
pub fn place(demand: &Demand<'_>, workers: &[WorkerView]) -> Result<Name, Unschedulable> {
    let mut refusals = Vec::new();
    let mut best: Option<&WorkerView> = None;
    let by_label = demand.spread_by_label(workers);
    let networks = demand.networks(workers);
    let lacking = demand.lacking(workers);
    let score = |worker| demand.score(worker, &by_label);
    for worker in workers {
        match worker.refuses(demand, &networks, &lacking) {
            Some(refusal) => refusals.push(refusal),
            None if best.is_none_or(|best| score(worker) < score(best)) => {
                best = Some(worker);
            }
            None => {}
        }
    }
    best.map(|worker| worker.name.clone())
        .ok_or(Unschedulable { refusals })
}

// === impl Memory ===

impl Memory {
    /// Returns the bytes that count on a worker.
    pub fn counted(self, keeps_reserves: bool) -> u64 {
        if keeps_reserves {
            self.reserve
        } else {
            self.limit
        }
    }

    pub fn saturating_add(self, other: Self) -> Self {
        Self {
            reserve: self.reserve.saturating_add(other.reserve),
            limit: self.limit.saturating_add(other.limit),
        }
    }
}

// === impl Needs ===

impl Needs {
    /// Returns the ports as taken by the workload that is being placed.
    fn own_ports(&self, hold: Hold) -> impl Iterator<Item = TakenPort> {
        self.ports.iter().map(move |port| TakenPort {
            port: *port,
            holder: None,
            hold,
        })
    }
}

// === impl Demand ===

impl Demand<'_> {
    /// Returns the workers that share ports, by network. Empty where no port is needed.
    fn networks<'a>(&self, workers: &'a [WorkerView]) -> Networks<'a> {
        let mut networks = Networks::new();
        if !self.needs.ports.is_empty() {
            for worker in workers {
                if let Some(network) = &worker.offers.network {
                    networks.entry(network).or_default().push(worker);
                }
            }
        }
        networks
    }

    /// Returns what each list of interfaces lacks. Most workers share one list, which is compared
    /// once.
    fn lacking(&self, workers: &[WorkerView]) -> Lacking<'_> {
        let mut lacking = Lacking::new();
        let needed = &self.requirements.interfaces;
        if !needed.is_empty() {
            for worker in workers {
                let provided = &worker.offers.interfaces;
                let list = lacking.entry(Arc::as_ptr(provided));
                list.or_insert_with(|| provided.lacks(needed));
            }
        }
        lacking
    }

    /// Returns the number of replicas like it on all workers with each value of the `spread` label.
    /// `None` stands for the workers without the label.
    fn spread_by_label<'a>(&self, workers: &'a [WorkerView]) -> BTreeMap<Option<&'a String>, u32> {
        let mut counts = BTreeMap::new();
        if let Some(label) = &self.requirements.spread {
            for worker in workers {
                let count = self.spread.get(&worker.name).copied().unwrap_or(0);
                *counts.entry(worker.offers.labels.get(label)).or_default() += count;
            }
        }
        counts
    }

    /// Returns the worker's score, of which the least is the best. The name comes last, so that no
    /// two workers are equal.
    fn score<'a>(
        &self,
        worker: &'a WorkerView,
        by_label: &BTreeMap<Option<&String>, u32>,
    ) -> impl Ord + use<'a> {
        let label = self.requirements.spread.as_ref();
        let value = label.and_then(|label| worker.offers.labels.get(label));
        (
            self.avoid.contains(&worker.name),
            self.spread.get(&worker.name).copied().unwrap_or(0),
            by_label.get(&value).copied().unwrap_or(0),
            worker.replicas,
            Reverse(worker.memory_free),
            &worker.name,
        )
    }
}

// === impl Offers ===

impl Offers {
    /// Returns the first requirement that it does not meet.
    fn lack(&self, required: &Requirements) -> Option<Refusal> {
        let mut features = required.features.iter();
        if let Some(feature) = features.find(|feature| !self.features.contains(*feature)) {
            return Some(Refusal::LacksFeature(feature.clone()));
        }
        let mut labels = required.labels.iter();
        let missing = labels.find(|(key, value)| self.labels.get(*key) != Some(value));
        if let Some((key, value)) = missing {
            return Some(Refusal::LacksLabel(format!("{key}={value}")));
        }
        let mut volumes = required.volumes.iter();
        let lacking = volumes.find_map(|(name, access)| match self.volumes.get(name) {
            None => Some(Refusal::LacksVolume(name.clone())),
            Some(offered) if offered < access => Some(Refusal::ReadOnlyVolume(name.clone())),
            Some(_) => None,
        });
        lacking.or_else(|| {
            let may = |listen: &HostPort| self.publish.iter().any(|rule| rule.admits(listen));
            let mut listens = required.listens.iter().filter(|_| !self.publish.is_empty());
            let refused = listens.find(|listen| !may(listen))?;
            Some(Refusal::PublishNotAllowed(*refused))
        })
    }
}

// === impl WorkerView ===

impl WorkerView {
    /// Returns the first reason against the worker, if there is one.
    fn refuses(
        &self,
        demand: &Demand<'_>,
        networks: &Networks<'_>,
        lacking: &Lacking<'_>,
    ) -> Option<Refusal> {
        let needs = demand.needs;
        // First, because any other reason may pass.
        if demand.uncompilable.contains(&self.name) {
            return Some(Refusal::CannotCompile);
        }
        match self.departure {
            Some(departure) if departure.stopped => return Some(Refusal::Stopped),
            Some(_) if self.ready => return Some(Refusal::Stopping),
            _ => {}
        }
        if !self.ready {
            return Some(Refusal::NotReady);
        }
        if self.cordoned {
            return Some(Refusal::Cordoned);
        }
        if !self.follows {
            return Some(Refusal::DropsAssignments);
        }
        if let Some(refusal) = self.offers.lack(demand.requirements) {
            return Some(refusal);
        }
        if let Some(Some(interface)) = lacking.get(&Arc::as_ptr(&self.offers.interfaces)) {
            return Some(Refusal::LacksInterface((*interface).clone()));
        }
        if self.replicas_max != 0 && self.replicas >= self.replicas_max {
            return Some(Refusal::Full {
                replicas: self.replicas_max,
            });
        }
        if let Some(refusal) = self.lacks_port(demand, networks) {
            return Some(refusal);
        }
        let needed = needs.memory.counted(self.keeps_reserves);
        if needed > self.memory_free {
            return Some(Refusal::LacksMemory {
                needed,
                free: self.memory_free,
            });
        }
        None
    }

    /// Returns the first wanted port that is not free on the worker or on another one of its
    /// network.
    fn lacks_port(&self, demand: &Demand<'_>, networks: &Networks<'_>) -> Option<Refusal> {
        let first = demand.needs.ports.first()?;
        let network = self.offers.network.as_deref();
        let shared = network.and_then(|network| networks.get(network));
        let others: Vec<&WorkerView> = shared
            .into_iter()
            .flatten()
            .copied()
            .filter(|other| other.name != self.name)
            .collect();
        // A holder that keeps the port explains more than one that is about to release it.
        let taken = demand.needs.ports.iter().flat_map(|port| {
            let own = self.taken(port).map(|taken| (taken, false));
            let shared = others.iter().flat_map(move |other| other.taken(port));
            let shared = shared.filter(|taken| taken.hold != Hold::Lost);
            own.chain(shared.map(|taken| (taken, true)))
        });
        let taken = taken.min_by_key(|(taken, shared)| (taken.hold, *shared));
        let refused = |worker: &WorkerView| demand.refused.contains(&worker.name);
        let is_refused = refused(self) || others.iter().copied().any(refused);
        match taken {
            Some((taken, shared)) if taken.hold == Hold::Stays || !is_refused => {
                Some(Refusal::PortTaken { taken, shared })
            }
            _ => is_refused.then_some(Refusal::PortRefused(*first)),
        }
    }

    /// Returns the wanted port with each holder that conflicts with it.
    fn taken(&self, port: &HostPort) -> impl Iterator<Item = TakenPort> {
        let taken = self.taken_ports.iter();
        let taken = taken.filter(move |taken| port.conflicts(&taken.port));
        taken.map(move |taken| TakenPort {
            port: *port,
            ..taken.clone()
        })
    }

    /// Notes how long a replica of the workload that is being placed keeps its ports.
    pub fn hold(&mut self, needs: &Needs, hold: Hold) {
        let own =
            |taken: &&mut TakenPort| taken.holder.is_none() && needs.ports.contains(&taken.port);
        let own = self.taken_ports.iter_mut().filter(own);
        own.for_each(|taken| taken.hold = hold);
    }

    /// Counts one more replica.
    pub fn take(&mut self, needs: &Needs) {
        self.take_for(needs, Hold::Stays);
    }

    /// Counts one more replica, which keeps its ports for as long as `hold` says.
    pub fn take_for(&mut self, needs: &Needs, hold: Hold) {
        let memory = needs.memory.counted(self.keeps_reserves);
        self.memory_free = self.memory_free.saturating_sub(memory);
        self.replicas += 1;
        self.taken_ports.extend(needs.own_ports(hold));
    }

    /// Takes back one replica that was counted.
    pub fn release(&mut self, needs: &Needs) {
        let memory = needs.memory.counted(self.keeps_reserves);
        self.memory_free = self.memory_free.saturating_add(memory);
        self.replicas = self.replicas.saturating_sub(1);
        self.taken_ports
            .retain(|taken| !needs.ports.contains(&taken.port));
    }
}
