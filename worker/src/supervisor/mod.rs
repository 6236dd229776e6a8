//! The replicas of this worker. Each is a task that owns everything that belongs to the replica,
//! from artifacts to published ports.

mod conditions;
mod exits;
pub mod life;
mod prepare;
mod readiness;
mod refusals;
mod replica;
mod report;
mod routes;

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    artifacts::Artifacts,
    ingress::Router,
    lease::SharedLease,
    logs::LogHub,
    policy::HostAccess,
    publish::PublishPolicy,
    replica::{Assignment, NewestFence, Replicas, Usage, reports::ReportBook},
    runtime::{ReplicaUsage, Runtime},
    volumes::Volumes,
};

/// The parts of a worker that its replicas share.
pub struct SupervisorParts {
    pub runtime: Arc<Runtime>,
    pub artifacts: Arc<Artifacts>,
    pub router: Router,
    pub logs: LogHub,
    pub reports: ReportBook,
    /// The lease under which exclusive replicas run.
    pub lease: Arc<SharedLease>,
    pub host: HostAccess,
    pub publish: PublishPolicy,
    pub volumes: Arc<Volumes>,
    /// The upper bound of every `stopGrace`.
    pub longest_grace: Duration,
    /// Services that end sooner than this are not restarted at once. It is [`SHORT_RUN`], except in
    /// tests with many restarts.
    ///
    /// [`SHORT_RUN`]: warren_model::spec::SHORT_RUN
    pub short_run: Duration,
}

/// Owns the replicas of a worker. Their state is reported through the [`ReportBook`].
pub struct Supervisor {
    parts: Arc<SupervisorParts>,
    replicas: Arc<Mutex<HashMap<String, Handle>>>,
    tasks: TaskTracker,
}

/// The supervisor's handle to a replica's task.
#[derive(Clone, Default)]
struct Handle {
    stop: CancellationToken,
    /// Cancelled when the worker itself ends.
    worker_ends: CancellationToken,
    meter: Meter,
    fence: NewestFence,
}

/// The resource usage of a replica, from when it is prepared until it has released everything.
type Meter = Arc<Mutex<Option<Arc<ReplicaUsage>>>>;

impl Supervisor {
    pub fn new(parts: SupervisorParts) -> Arc<Self> {
        Arc::new(Self {
            parts: Arc::new(parts),
            replicas: Arc::default(),
            tasks: TaskTracker::new(),
        })
    }

    /// Returns the ids of the replicas that have not been asked to stop.
    pub fn wanted(&self) -> Vec<String> {
        let replicas = self.replicas.lock();
        let wanted = replicas.iter().filter(|(_, it)| !it.stop.is_cancelled());
        wanted.map(|(id, _)| id.clone()).collect()
    }

    /// Stops every replica as its workload specifies, and waits at most `patience` for them. The
    /// last report of a replica that has already ended is not changed. Returns whether all have
    /// stopped.
    pub async fn shutdown(&self, patience: Duration) -> bool {
        for replica in self.replicas.lock().values() {
            replica.worker_ends.cancel();
        }
        self.tasks.close();
        let stopped = tokio::time::timeout(patience, self.tasks.wait()).await;
        if stopped.is_err() {
            tracing::warn!(
                ?patience,
                "some replicas did not stop in time and are killed"
            );
        }
        stopped.is_ok()
    }
}

impl Replicas for Supervisor {
    fn assign(&self, assignment: Assignment) {
        let id = assignment.replica.clone();
        let handle = Handle::default();
        handle.fence.raise(assignment.fence);
        {
            let mut replicas = self.replicas.lock();
            if let Some(held) = replicas.get(&id) {
                held.fence.raise(assignment.fence);
                return;
            }
            if self.tasks.is_closed() {
                return;
            }
            replicas.insert(id.clone(), handle.clone());
        }
        let (parts, replicas) = (Arc::clone(&self.parts), Arc::clone(&self.replicas));
        self.tasks.spawn(async move {
            replica::run(assignment, &parts, handle).await;
            replicas.lock().remove(&id);
        });
    }

    fn stop(&self, replica: &str) {
        if let Some(replica) = self.replicas.lock().get(replica) {
            replica.stop.cancel();
        }
    }

    fn replicas(&self) -> Vec<String> {
        self.replicas.lock().keys().cloned().collect()
    }

    fn usage(&self) -> Vec<(String, Usage)> {
        let replicas = self.replicas.lock();
        let measured = replicas.iter().filter_map(|(id, replica)| {
            let meter = replica.meter.lock();
            let meter = meter.as_ref()?;
            let usage = Usage {
                memory_bytes: meter.memory_bytes(),
                cpu_time: meter.cpu_time(),
            };
            Some((id.clone(), usage))
        });
        measured.collect()
    }

    fn memory_used(&self) -> u64 {
        self.parts.runtime.memory_used()
    }
}
