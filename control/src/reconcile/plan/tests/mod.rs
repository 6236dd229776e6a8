//! A table or two for each rule.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::*;
use crate::scheduler::{Hold, Memory, Offers};

mod departures;
mod drains;
mod ends;
mod exclusive;
mod ports;
mod readiness;
mod rollouts;
mod suspicion;
mod updates;

const MIB: u64 = 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One workload of revision 2 that asks for one replica, on workers without limits.
#[derive(Clone)]
struct Scene {
    desired: Option<Desired>,
    replicas: Vec<ReplicaState>,
    workers: Vec<WorkerView>,
    earlier_leases: Duration,
}

fn scene(replicas: u32) -> Scene {
    Scene {
        desired: Some(Desired {
            revision: 2,
            replicas,
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
            // What is about a rollout is said where it matters.
            rollout: Some(Rollout {
                state: RolloutState::Complete,
                most_available: 0,
                fewest_earlier: None,
                idle: Duration::ZERO,
            }),
            progress_deadline: secs(120),
            roll_back_to: None,
            min_ready: secs(1),
            keeps_failed: false,
            keeps_lost: false,
            suspicion: Suspicion::default(),
            uncompilable: None,
        }),
        replicas: Vec::new(),
        workers: Vec::new(),
        earlier_leases: Duration::ZERO,
    }
}

impl Scene {
    fn worker(mut self, name: &str) -> Self {
        self.workers.push(WorkerView {
            name: Name::parse(name).unwrap(),
            ready: true,
            cordoned: false,
            draining: false,
            departure: None,
            follows: true,
            silent_for: Duration::ZERO,
            connected_for: secs(60),
            memory_free: 1024 * MIB,
            keeps_reserves: true,
            replicas: 0,
            replicas_max: 0,
            taken_ports: Vec::new(),
            offers: Arc::default(),
        });
        self
    }

    fn away(mut self, name: &str, silent_for: Duration) -> Self {
        self = self.worker(name);
        let worker = self.workers.last_mut().unwrap();
        worker.ready = false;
        worker.silent_for = silent_for;
        self
    }

    /// The last worker shares its ports with all others that are so.
    fn on_one_machine(mut self) -> Self {
        let offers = Offers {
            network: Some("machine".to_owned()),
            ..Offers::default()
        };
        self.workers.last_mut().unwrap().offers = Arc::new(offers);
        self
    }

    /// Younger than those before; `ready` where it runs, and for long enough to count.
    fn replica(self, id: &str, revision: u32, worker: &str, phase: Phase) -> Self {
        self.replica_with(id, revision, worker, phase, |_| {})
    }

    fn replica_with(
        mut self,
        id: &str,
        revision: u32,
        worker: &str,
        phase: Phase,
        change: impl FnOnce(&mut ReplicaState),
    ) -> Self {
        let needs = self
            .desired
            .as_ref()
            .map_or_else(Needs::default, |desired| desired.needs.clone());
        let mut replica = ReplicaState {
            id: id.to_owned(),
            revision,
            worker: (!worker.is_empty()).then(|| Name::parse(worker).unwrap()),
            phase,
            ready: phase == Phase::Running,
            ready_for: secs(60),
            available: phase == Phase::Running,
            age: secs(1000 - u64::try_from(self.replicas.len()).unwrap()),
            phase_age: secs(0),
            placed_for: secs(1000),
            cut_short: None,
            survived: false,
            attempt: 0,
            compiling: false,
            waiting: None,
            needs,
            failure: Failure::Ended,
            refused: BTreeSet::new(),
        };
        change(&mut replica);
        if let Some(held) = self
            .workers
            .iter_mut()
            .find(|held| Some(&held.name) == replica.worker.as_ref())
            && phase.occupies()
        {
            let hold = match phase {
                Phase::Lost => Hold::Lost,
                Phase::Stopping => Hold::Ends,
                _ => Hold::Stays,
            };
            let mut needs = replica.needs.clone();
            if phase == Phase::Completed {
                needs.ports.clear();
            }
            held.take_for(&needs, hold);
        }
        self.replicas.push(replica);
        self
    }

    fn port(mut self, port: &str) -> Self {
        self.desired.as_mut().unwrap().needs.ports = vec![port.parse().unwrap()];
        self
    }

    fn deleting(mut self) -> Self {
        self.desired.as_mut().unwrap().deleting = true;
        self
    }

    fn plan(&self) -> Plan {
        let mut made = 0;
        plan(
            &Observed {
                workload: self.desired.as_ref(),
                replicas: &self.replicas,
                workers: &self.workers,
                worker_timeout: TIMEOUT,
                up_for: secs(3600),
                earlier_leases: self.earlier_leases,
            },
            &mut || {
                made += 1;
                format!("new{made}")
            },
        )
    }

    /// The plan's actions in short.
    #[track_caller]
    fn gives(&self, expected: &[&str]) -> Plan {
        let plan = self.plan();
        let actions: Vec<String> = plan.actions.iter().map(short).collect();
        assert_eq!(actions, expected);
        plan
    }
}

/// The reason as it was recorded before, for an obstacle that may pass.
fn waiting(reason: &str) -> Option<Waiting> {
    Some(Waiting {
        reason: reason.to_owned(),
        cause: Cause::NoWorker,
    })
}

fn finally(cause: Cause) -> &'static str {
    match cause {
        Cause::NoWorker => "",
        Cause::Ports => " for good",
        Cause::Uncompilable => " uncompilable",
        Cause::Held => " held",
    }
}

fn short(action: &Action) -> String {
    match action {
        Action::Create {
            id,
            attempt: 0,
            placement: Placement::On(worker),
            ..
        } => {
            format!("create {id} on {worker}")
        }
        Action::Create {
            id,
            attempt,
            placement: Placement::On(worker),
            ..
        } => {
            format!("create {id} on {worker} after {attempt}")
        }
        Action::Create {
            id,
            placement: Placement::Waiting(Waiting { reason, cause }),
            ..
        } => {
            let finally = finally(*cause);
            format!("create {id}{finally}: {reason}")
        }
        Action::Place { id, worker } => format!("place {id} on {worker}"),
        Action::Unschedulable {
            id,
            waiting: Waiting { reason, cause },
        } => {
            let finally = finally(*cause);
            format!("{id}{finally}: {reason}")
        }
        Action::MarkAvailable { id } => format!("available {id}"),
        Action::Stop { id, reason } => format!("stop {id}: {reason}"),
        Action::Forget { id } => format!("forget {id}"),
        Action::MarkLost { id } => format!("lost {id}"),
        Action::Readmit { id } => format!("readmit {id}"),
        Action::Note(Note {
            state,
            moved,
            most_available,
            fewest_earlier,
        }) => {
            let moved = if *moved { "moved, " } else { "" };
            format!("{state:?}: {moved}{most_available} available, {fewest_earlier} earlier")
        }
        Action::Blame { worker, shared } => {
            let shared = if *shared { " shared" } else { "" };
            format!("blame for {worker}{shared}")
        }
        Action::Acquit { worker } => format!("acquit of {worker}"),
        Action::RollBack { revision } => format!("roll back to {revision}"),
        Action::Finish => "finish".to_owned(),
    }
}
