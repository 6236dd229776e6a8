//! Looks at workloads when something changed or a timer is due, plans, and commits the plan.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::join_all;
use prost_types::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use warren_model::{
    name::{Name, WorkloadId, replica_id},
    reason,
};
use warren_proto::v1::{self, event::Type};

use super::{
    execute::{self, Execution, Scene},
    observe,
    plan::{self, Action, Desired, Observed, Placement},
    timers::Timers,
};
use crate::{
    clock,
    dirty::DirtySet,
    events::{Events, Subject},
    fleet::leases::Leases,
    index::{Index, Observation, WorkerUsage},
    scheduler::{Hold, Needs, TakenPort, WorkerView},
    state::{State, Transaction, claims, keys, rollout},
    store::{Durability, Revision, StoreError},
    text,
    workload::{Effect, Refusal, Retry, Workloads},
};

/// The number of workloads that are planned against one view of the workers, and whose commits
/// share a flush.
const BATCH: usize = 64;
/// The delay before a workload is retried after the store could not be used.
const RETRY: Duration = Duration::from_secs(1);

/// Level-triggered: whatever happened, it compares what should be with what is, and acts on the
/// difference.
pub struct Reconciler {
    pub state: State,
    pub index: Arc<Index>,
    pub events: Arc<Events>,
    pub leases: Arc<Leases>,
    pub dirty: Arc<DirtySet>,
    pub worker_timeout: Duration,
    pub stop_first: bool,
    /// Rolls back as a user's request does.
    pub workloads: Arc<Workloads>,
}

/// A workload's plan, ready to be committed.
struct Job {
    id: WorkloadId,
    observation: Observation,
    execution: Execution,
}

/// The workers, as a batch of plans changes them.
struct Fleet {
    held: Vec<WorkerUsage>,
    views: Vec<WorkerView>,
}

// === impl Reconciler ===

impl Reconciler {
    /// Runs until cancelled. A commit that is in progress at that time is done completely or not at
    /// all.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut timers = Timers::default();
        loop {
            let now = Instant::now();
            let mut batch: BTreeSet<_> = timers.due(now).into_iter().collect();
            batch.extend(self.dirty.take(BATCH));
            if batch.is_empty() {
                let timer = async {
                    match timers.next() {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    () = self.dirty.marked() => {}
                    () = timer => {}
                }
                continue;
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.reconcile(batch, &mut timers) => {}
            }
        }
    }

    async fn reconcile(&self, batch: BTreeSet<WorkloadId>, timers: &mut Timers) {
        let held = self.index.workers();
        let mut fleet = Fleet {
            views: self.views(&held),
            held,
        };
        let mut jobs = Vec::with_capacity(batch.len());
        for id in batch {
            let (job, wake_after) = self.plan(id, &mut fleet);
            timers.set(&job.id, wake_after.map(|after| Instant::now() + after));
            jobs.push(job);
        }
        let committed = join_all(jobs.iter().map(|job| self.commit(job))).await;
        let mut written: Revision = 0;
        for (job, result) in jobs.iter().zip(&committed) {
            match result {
                Ok(revision) => {
                    written = written.max(revision.unwrap_or(0));
                    job.execution.tell(&job.id, &self.events);
                }
                // Another write came first; the index marks the workload when it sees that write.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => {
                    tracing::error!(workload = %job.id, %error, "cannot store the plan");
                    timers.set(&job.id, Some(Instant::now() + RETRY));
                }
            }
        }
        // The next plan must see what this one did, or it would do the same again.
        self.index.reached(written).await;
        for job in &jobs {
            if let Some(to) = job.execution.roll_back_to
                && let Err(error) = self.roll_back(job, to).await
            {
                tracing::error!(workload = %job.id, %error, "cannot roll the workload back");
                timers.set(&job.id, Some(Instant::now() + RETRY));
            }
        }
        for (job, result) in jobs.iter().zip(&committed) {
            if result.is_ok() {
                self.dirty.reconciled(&job.id);
            }
        }
    }

    fn plan(&self, id: WorkloadId, fleet: &mut Fleet) -> (Job, Option<Duration>) {
        let workers = &mut fleet.views;
        let observation = self.index.observe(&id);
        let now = clock::now();
        let spec = observation.spec.clone();
        // Nothing is decided without a spec that can be read: the replicas continue as they are.
        if observation.workload.is_some() && spec.is_none() {
            return (
                Job {
                    id,
                    observation,
                    execution: Execution::default(),
                },
                None,
            );
        }
        let replicas: Vec<_> = observation
            .replicas
            .iter()
            .map(|held| observe::replica(&held.value, &now))
            .collect();
        let desired = observation
            .workload
            .as_ref()
            .zip(spec.as_deref())
            .map(|(stored, spec)| {
                let failures = self.index.compile_failures(spec.digests());
                let shared = self.shared(&id, &stored.value, &now);
                Desired {
                    suspicion: observe::suspicion(&stored.value, &fleet.held, shared, &now),
                    uncompilable: observe::uncompilable(&failures, &fleet.held),
                    ..observe::desired(&stored.value, spec, self.stop_first, &now)
                }
            });
        let wants_ports = desired
            .as_ref()
            .is_some_and(|desired| !desired.needs.ports.is_empty());
        let own = wants_ports.then(|| observe::with_own_ports(workers, &id));
        let observed = Observed {
            workload: desired.as_ref(),
            replicas: &replicas,
            workers: own.as_deref().unwrap_or(workers),
            worker_timeout: self.worker_timeout,
            up_for: self.leases.up_for(),
            earlier_leases: self.leases.earlier_left(),
        };
        let plan = plan::plan(&observed, &mut || replica_id(&id.name));
        for action in &plan.actions {
            reserve(workers, &id, action, &observation);
        }
        let scene = Scene {
            id: &id,
            observation: &observation,
            spec: spec.as_deref(),
            workers: &fleet.held,
            now,
        };
        let execution = Execution::of(&scene, plan.actions);
        (
            Job {
                id,
                observation,
                execution,
            },
            plan.wake_after,
        )
    }

    /// Commits a plan; `None` when there was nothing to do.
    async fn commit(&self, job: &Job) -> Result<Option<Revision>, StoreError> {
        let mut transaction = job.execution.transaction.clone();
        if job.execution.finish
            && let Some(workload) = &job.observation.workload
        {
            self.finish(
                &job.id,
                &job.observation,
                workload.revision,
                &mut transaction,
            )
            .await?;
        }
        if transaction.is_empty() {
            return Ok(None);
        }
        self.state
            .commit(transaction, Durability::Flushed)
            .await
            .map(Some)
    }

    /// Rolls back to an earlier revision as `Rollback` does, or records why that is not possible.
    /// After an error it is worth retrying.
    async fn roll_back(&self, job: &Job, to: u32) -> Result<(), Refusal> {
        let observed = &job.observation;
        let Some((held, spec)) = observed.workload.as_ref().zip(observed.spec.as_ref()) else {
            return Ok(());
        };
        let now = clock::now();
        let failed = held.value.revision;
        let rolled_back = self.workloads.roll_back_failed(&job.id, failed, to).await;
        let refusal = match rolled_back {
            Ok(Effect::Nothing) => {
                Some(format!("revision {to} differs from it only in its number"))
            }
            Ok(_) => None,
            Err(refusal) => match refusal.retry() {
                Retry::Never => Some(text::message(&refusal)),
                // Another change came first: the index marks the workload, and it is planned again.
                Retry::Reread => return Ok(()),
                Retry::Later => return Err(refusal),
            },
        };
        if let Some(refusal) = &refusal {
            let mut stalled = v1::Workload::clone(&held.value);
            rollout::stall(&mut stalled, refusal.clone(), now);
            let mut transaction = Transaction::default();
            transaction.replace(keys::workload(&job.id), &stalled, held.revision);
            match self.state.commit(transaction, Durability::Flushed).await {
                Ok(revision) => self.index.reached(revision).await,
                Err(StoreError::Conflict { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        let ready = rollout::of(&held.value).map_or(0, |noted| noted.ready_replicas);
        let mut message = execute::stalled(&held.value, ready, spec);
        if let Some(refusal) = refusal {
            message.push_str(&format!("; it was not rolled back: {refusal}"));
        }
        let subject = Subject::Workload(&job.id);
        let (kind, reason) = (Type::Warning, reason::PROGRESS_DEADLINE_EXCEEDED);
        self.events.record_at(now, subject, kind, reason, message);
        Ok(())
    }

    /// Removes the workload with its routes and revisions. The precondition that it is unchanged
    /// guards all of them: while it is being deleted, nothing else changes its claims.
    async fn finish(
        &self,
        id: &WorkloadId,
        observation: &Observation,
        read: Revision,
        transaction: &mut Transaction,
    ) -> Result<(), StoreError> {
        transaction.remove(keys::workload(id), read);
        for (_, route) in observation
            .spec
            .iter()
            .flat_map(|spec| claims::routes(spec))
        {
            transaction.clear(keys::route(route));
        }
        for revision in self.state.revisions(id).await? {
            transaction.clear(keys::revision(id, revision));
        }
        Ok(())
    }

    /// Returns the workers whose loss would count against other workloads as much as against this
    /// one; see [`plan::Suspicion`].
    fn shared(&self, id: &WorkloadId, workload: &v1::Workload, now: &Timestamp) -> BTreeSet<Name> {
        if rollout::of(workload).is_none_or(|noted| noted.losses.is_empty()) {
            return BTreeSet::new();
        }
        let others = self.index.suspects(id).into_iter();
        others
            .flat_map(|(other, replicas)| {
                observe::shared(workload, &other, &replicas, &self.leases, now)
            })
            .collect()
    }

    fn views(&self, held: &[WorkerUsage]) -> Vec<WorkerView> {
        let now = clock::now();
        held.iter()
            .map(|held| observe::worker(held, &self.leases, &now))
            .collect()
    }
}

/// Reserves on a worker what an action will take, so that the next workload of the batch does not
/// count on it.
fn reserve(
    workers: &mut [WorkerView],
    id: &WorkloadId,
    action: &Action,
    observation: &Observation,
) {
    let now = Timestamp::default();
    let (name, needs): (_, Option<Needs>) = match action {
        Action::Create {
            placement: Placement::On(name),
            ..
        } => (name, observation.spec.as_deref().map(observe::needs)),
        Action::Place { id, worker } => {
            let held = observation
                .replicas
                .iter()
                .find(|held| held.value.replica.id == *id);
            (
                worker,
                held.map(|held| observe::replica(&held.value, &now).needs),
            )
        }
        _ => return,
    };
    if let (Some(worker), Some(needs)) = (workers.iter_mut().find(|w| w.name == *name), needs) {
        let memory = needs.memory.counted(worker.keeps_reserves);
        worker.memory_free = worker.memory_free.saturating_sub(memory);
        worker.replicas += 1;
        let holder = Some(id.clone());
        let taken = |port| TakenPort {
            port,
            holder: holder.clone(),
            hold: Hold::Stays,
        };
        worker
            .taken_ports
            .extend(needs.ports.into_iter().map(taken));
    }
}
