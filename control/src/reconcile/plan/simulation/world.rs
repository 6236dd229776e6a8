//! What there is, and what happens to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

use warren_model::host_port::HostPort;

use super::{revisions::Revisions, *};
use crate::scheduler::{Hold, Memory, Offers};

/// What the store holds of a replica.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub state: ReplicaState,
    pub created: Duration,
    pub entered: Duration,
    pub placed: Duration,
    pub ready_since: Duration,
}

/// What a worker really runs.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub revision: u32,
    pub phase: Phase,
    pub ready: bool,
    pub stopping: bool,
    /// It is exclusive, was ended with its worker's lease, and was not told to go on since.
    pub ended: bool,
    pub ports: Vec<HostPort>,
    /// It could not listen.
    pub lacks_port: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub view: WorkerView,
    pub heard: Duration,
    pub connected: Duration,
    pub guests: BTreeMap<String, Guest>,
}

pub(super) struct World {
    pub now: Duration,
    pub desired: Option<Desired>,
    pub records: BTreeMap<String, Record>,
    pub workers: Vec<Worker>,
    pub ids: u32,
    pub completed: BTreeSet<String>,
    /// Whether some revision so far published a fixed port, or was exclusive: what cannot be held
    /// twice is stopped first.
    pub ever_port: bool,
    pub revisions: Revisions,
    /// When the control plane was started.
    pub started: Duration,
    /// A program beside Warren that has ports on the machine of the last two workers.
    pub stranger: Vec<HostPort>,
    /// Workers that were lost, of the present revision, each with when that was.
    pub losses: Vec<(Name, Duration, bool)>,
}

impl World {
    pub fn new() -> Self {
        let worker = |number: usize| Worker {
            view: WorkerView {
                name: Name::parse(&format!("w{number}")).unwrap(),
                ready: true,
                cordoned: false,
                draining: false,
                departure: None,
                follows: true,
                silent_for: Duration::ZERO,
                connected_for: Duration::ZERO,
                memory_free: 0,
                keeps_reserves: true,
                replicas: 0,
                replicas_max: 0,
                taken_ports: Vec::new(),
                offers: Arc::new(Offers {
                    network: (number > 0).then(|| "shared".to_owned()),
                    ..Offers::default()
                }),
            },
            heard: Duration::ZERO,
            connected: Duration::ZERO,
            guests: BTreeMap::new(),
        };
        Self {
            now: Duration::ZERO,
            desired: Some(Desired {
                revision: 1,
                replicas: 1,
                needs: Needs {
                    memory: Memory {
                        reserve: MIB,
                        limit: 4 * MIB,
                    },
                    ports: Vec::new(),
                },
                requirements: Requirements::default(),
                deleting: false,
                max_surge: 1,
                max_unavailable: 0,
                stop_first: false,
                exclusive: false,
                rollout: None,
                progress_deadline: DEADLINE,
                roll_back_to: None,
                min_ready: MIN_READY,
                keeps_failed: false,
                keeps_lost: false,
                suspicion: Suspicion::default(),
                uncompilable: None,
            }),
            records: BTreeMap::new(),
            workers: (0..WORKERS).map(worker).collect(),
            ids: 0,
            completed: BTreeSet::new(),
            ever_port: false,
            revisions: Revisions::beginning(),
            started: Duration::ZERO,
            stranger: Vec::new(),
            losses: Vec::new(),
        }
    }

    /// The same of a service that must never run twice.
    pub fn exclusive() -> Self {
        let mut world = Self::new();
        let desired = world.desired.as_mut().unwrap();
        (desired.exclusive, desired.stop_first) = (true, true);
        world.ever_port = true;
        world
    }

    pub fn plan(&mut self) -> Plan {
        if let Some(desired) = &mut self.desired {
            self.revisions.describe(desired, self.now);
            let losses = self.losses.iter().map(|(name, at, shared)| Loss {
                shared: *shared,
                worker: name.clone(),
                ago: self.now - *at,
                // The processes of these workers never end: what comes back was not lost.
                returned: self
                    .workers
                    .iter()
                    .any(|it| it.view.name == *name && it.view.ready),
            });
            desired.suspicion.losses = losses.collect();
        }
        let replicas: Vec<ReplicaState> = self
            .records
            .values()
            .map(|record| ReplicaState {
                age: self.now - record.created,
                phase_age: self.now - record.entered,
                placed_for: self.now - record.placed,
                ready_for: self.now - record.ready_since,
                ..record.state.clone()
            })
            .collect();
        let workers: Vec<WorkerView> = self
            .workers
            .iter()
            .map(|worker| {
                let mut view = WorkerView {
                    silent_for: self.now - worker.heard,
                    connected_for: self.now - worker.connected,
                    memory_free: 100 * MIB,
                    keeps_reserves: true,
                    ..worker.view.clone()
                };
                let here = |replica: &&ReplicaState| {
                    replica.worker.as_ref() == Some(&view.name) && replica.phase.occupies()
                };
                for replica in replicas.iter().filter(here).cloned().collect::<Vec<_>>() {
                    let mut needs = replica.needs.clone();
                    if replica.phase == Phase::Completed {
                        needs.ports.clear();
                    }
                    view.take_for(&needs, hold(replica.phase));
                }
                view
            })
            .collect();
        let ids = &mut self.ids;
        plan(
            &Observed {
                workload: self.desired.as_ref(),
                replicas: &replicas,
                workers: &workers,
                worker_timeout: TIMEOUT,
                up_for: self.now - self.started,
                earlier_leases: TIMEOUT.saturating_sub(self.now - self.started),
            },
            &mut || {
                *ids += 1;
                format!("r{ids}")
            },
        )
    }

    /// Plans, carries it out, and sees that the plan kept its promises.
    pub fn reconcile(&mut self) {
        let plan = self.plan();
        let available = self.available();
        self.check_before(&plan);
        for action in &plan.actions {
            self.execute(action);
        }
        self.check_after(&plan, available);
        // What a worker says of a replica that it brings back is news, and so is another revision;
        // nothing else is.
        if plan
            .actions
            .iter()
            .any(|action| matches!(action, Action::Readmit { .. } | Action::RollBack { .. }))
        {
            return self.reconcile();
        }
        let again = self.plan();
        assert_eq!(
            again.actions,
            [],
            "after {:?} there is more to do",
            plan.actions
        );
        self.deliver();
    }

    pub fn happen(&mut self, step: Step) {
        match step {
            Step::Scale(replicas) => {
                if let Some(desired) = &mut self.desired {
                    desired.replicas = match desired.exclusive {
                        true => replicas.min(1),
                        false => replicas,
                    };
                    self.revisions.scaled(self.now);
                }
            }
            Step::Update {
                port,
                steps,
                works,
                returns,
            } => {
                if let Some(desired) = &mut self.desired {
                    (desired.max_surge, desired.max_unavailable) = steps;
                    let address = |port| format!("0.0.0.0:{port}").parse().unwrap();
                    desired.needs.ports = port.map(address).into_iter().collect();
                    self.ever_port |= port.is_some();
                    self.losses.clear();
                    self.revisions.update(desired, works, returns, self.now);
                }
            }
            Step::Delete => {
                if let Some(desired) = &mut self.desired {
                    desired.deleting = true;
                }
            }
            Step::Away(worker) => {
                let worker = &mut self.workers[worker];
                if worker.view.ready {
                    worker.view.ready = false;
                    worker.heard = self.now;
                }
            }
            Step::Stranger(port) => {
                let address = |port| format!("127.0.0.1:{port}").parse().unwrap();
                self.stranger = port.map(address).into_iter().collect();
            }
            Step::Restart => {
                self.started = self.now;
                for worker in &mut self.workers {
                    worker.view.ready = false;
                    worker.heard = self.now;
                }
            }
            Step::Back(worker) => self.come_back(worker),
            Step::Cordon(worker, cordoned) => {
                let view = &mut self.workers[worker].view;
                view.cordoned = cordoned;
                view.draining &= cordoned;
            }
            Step::Drain(worker) => {
                let view = &mut self.workers[worker].view;
                (view.cordoned, view.draining) = (true, true);
            }
            Step::Wait(seconds) => {
                self.now += Duration::from_secs(seconds);
                for worker in self.workers.iter_mut().filter(|worker| worker.view.ready) {
                    worker.heard = self.now;
                }
                self.end_leases();
            }
            Step::Advance(worker, guest) => self.advance(worker, guest),
            Step::Fail(worker, guest) => self.end(worker, guest, Phase::Failed),
            Step::Complete(worker, guest) => self.end(worker, guest, Phase::Completed),
        }
    }

    /// As workers do it by themselves, wherever the control plane is.
    fn end_leases(&mut self) {
        let exclusive = self.desired.as_ref().is_some_and(|it| it.exclusive);
        for worker in &mut self.workers {
            if exclusive && self.now - worker.heard >= TIMEOUT * 7 / 10 {
                worker
                    .guests
                    .values_mut()
                    .for_each(|guest| guest.ended = true);
            }
        }
    }

    /// The Hello of a worker says everything that it holds.
    fn come_back(&mut self, number: usize) {
        let now = self.now;
        let worker = &mut self.workers[number];
        if mem::replace(&mut worker.view.ready, true) {
            return;
        }
        worker.heard = now;
        worker.connected = now;
        let worker = worker.clone();
        for (id, guest) in &worker.guests {
            self.report(id, guest.phase, guest.ready);
        }
    }
}

fn hold(phase: Phase) -> Hold {
    match phase {
        Phase::Lost => Hold::Lost,
        Phase::Stopping => Hold::Ends,
        _ => Hold::Stays,
    }
}
