//! Converts stored objects to the plan's own view of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use prost_types::Timestamp;
use warren_model::{
    condition, feature,
    guard::Guard,
    host_port::HostPort,
    link::HostInterfaces,
    name::{Name, WorkloadId},
    reason,
    spec::{self, Recovery, VolumeSource, WorkloadSpec},
};
use warren_proto::v1::{self, condition::Status, revision::Cause, rollout::State};

use super::plan::{
    self, Desired, Failure, Loss, Phase, ReplicaState, Rollout, RolloutState, Suspicion,
    Uncompilable, Waiting,
};
use crate::{
    clock,
    fleet::{compile, leases::Leases, presence},
    index::{HeldPort, WorkerUsage},
    scheduler::{Access, Departure, Memory, Needs, Requirements, TakenPort, WorkerView},
    state::{
        records::{ReplicaRecord, condition},
        rollout,
    },
};

/// Returns the desired state of a stored workload.
///
/// With `stop_first`, updates stop old replicas before new ones start, and a stalled update is not
/// rolled back, because someone is working on the workload.
pub fn desired(
    workload: &v1::Workload,
    spec: &WorkloadSpec,
    stop_first: bool,
    now: &Timestamp,
) -> Desired {
    let mut requirements = requirements(workload, spec);
    if let Some(spec) = &workload.spec {
        requirements.features = feature::required_of_worker(spec);
    }
    // Two that write to one directory would spoil it for each other.
    let writes = requirements
        .volumes
        .values()
        .any(|access| *access == Access::Write);
    let restart = spec.service.as_ref().map(|service| &service.restart);
    Desired {
        revision: workload.revision,
        replicas: spec.replicas.unwrap_or(1),
        needs: needs(spec),
        requirements,
        deleting: workload.delete_time.is_some(),
        max_surge: spec.update.max_surge,
        max_unavailable: spec.update.max_unavailable,
        stop_first: stop_first || writes || exclusive(spec),
        exclusive: exclusive(spec),
        rollout: rollout::of(workload).map(|noted| noted_rollout(noted, now)),
        progress_deadline: spec.update.progress_deadline,
        roll_back_to: roll_back_to(workload)
            .filter(|_| spec.update.rollback_on_failure && !stop_first),
        min_ready: spec.update.min_ready,
        keeps_failed: restart.is_some_and(|restart| restart.on_failed == Recovery::Keep),
        keeps_lost: restart.is_some_and(|restart| restart.on_lost == Recovery::Keep),
        suspicion: Suspicion::default(),
        uncompilable: None,
    }
}

/// Returns what is known against the current revision. For `shared`, see [`Suspicion`].
pub fn suspicion(
    workload: &v1::Workload,
    workers: &[WorkerUsage],
    shared: BTreeSet<Name>,
    now: &Timestamp,
) -> Suspicion {
    let is_back = |loss: &v1::WorkerLoss| {
        let held = workers
            .iter()
            .find(|held| held.name.as_str() == loss.worker);
        held.is_some_and(|held| {
            let same = held.worker.instance == loss.instance;
            held.worker.ready && same && !loss.instance.is_empty()
        })
    };
    let losses = losses(workload).iter().filter_map(|loss| {
        Some(Loss {
            worker: Name::parse(&loss.worker).ok()?,
            ago: age(&loss.time, now),
            returned: is_back(loss),
            shared: loss.shared,
        })
    });
    Suspicion {
        losses: losses.collect(),
        shared,
    }
}

/// Returns the workers on which another workload is or was on trial, provided that it was on trial
/// on all workers that count against `workload`.
pub fn shared(
    workload: &v1::Workload,
    other: &v1::Workload,
    replicas: &[Arc<ReplicaRecord>],
    leases: &Leases,
    now: &Timestamp,
) -> BTreeSet<Name> {
    let theirs: BTreeSet<_> = losses(other)
        .iter()
        .map(|loss| loss.worker.as_str())
        .collect();
    let mut ours = losses(workload).iter();
    if !ours.all(|loss| theirs.contains(loss.worker.as_str())) {
        return BTreeSet::new();
    }
    let known = theirs.into_iter().filter_map(|name| Name::parse(name).ok());
    let tried = replicas.iter().filter_map(|record| {
        let worker = record.worker()?;
        on_trial(record, leases.silent_for(worker.as_str()), now).then_some(worker)
    });
    known.chain(tried).collect()
}

/// Returns whether a replica may be the cause if its worker is lost. `silent_for` is the time since
/// the worker's last heartbeat.
pub fn on_trial(record: &ReplicaRecord, silent_for: Duration, now: &Timestamp) -> bool {
    plan::on_trial(&replica(record, now), silent_for)
}

fn losses(workload: &v1::Workload) -> &[v1::WorkerLoss] {
    rollout::of(workload).map_or(&[], |noted| &noted.losses)
}

/// Returns the workers that cannot compile one of these components.
pub fn uncompilable(
    failures: &[Arc<v1::CompileFailure>],
    workers: &[WorkerUsage],
) -> Option<Uncompilable> {
    let first = failures.first()?;
    let cannot = |held: &&WorkerUsage| {
        let mut failures = failures.iter();
        failures.any(|failure| compile::bars(failure, &held.worker))
    };
    Some(Uncompilable {
        workers: workers
            .iter()
            .filter(cannot)
            .map(|held| held.name.clone())
            .collect(),
        message: first.message.clone(),
    })
}

/// Returns whether a run that ended with its worker is never followed by another.
pub fn runs_once(spec: &WorkloadSpec) -> bool {
    let service = spec.service.as_ref();
    service.is_some_and(|service| service.restart.runs_once())
}

fn exclusive(spec: &WorkloadSpec) -> bool {
    let service = spec.service.as_ref();
    service.is_some_and(|service| service.exclusive) && Guard::ExclusiveWaits.is_enforced()
}

fn noted_rollout(noted: &v1::Rollout, now: &Timestamp) -> Rollout {
    Rollout {
        state: match noted.state() {
            State::Unspecified | State::Progressing => RolloutState::Progressing,
            State::Complete => RolloutState::Complete,
            State::Stalled => RolloutState::Stalled,
        },
        most_available: noted.ready_replicas,
        fewest_earlier: noted.earlier_replicas,
        idle: age(&noted.progress_time, now),
    }
}

/// Returns the revision to roll back to. A revision that was itself created by a rollback is not
/// rolled back, which would be a loop.
fn roll_back_to(workload: &v1::Workload) -> Option<u32> {
    let stable = rollout::stable_revision(workload);
    let is_earlier = (1..workload.revision).contains(&stable);
    (is_earlier && workload.revision_cause() != Cause::RolledBackOnFailure).then_some(stable)
}

/// Returns the requirements on a worker that runs a replica of the workload's current revision.
fn requirements(workload: &v1::Workload, spec: &WorkloadSpec) -> Requirements {
    let placement = spec.placement.clone();
    let mut volumes = BTreeMap::new();
    for mount in spec.service.iter().flat_map(|service| &service.volumes) {
        let mut volume = spec
            .volumes
            .iter()
            .filter(|volume| volume.name == mount.name);
        if let Some(VolumeSource::Host(name)) = volume.next().map(|volume| &volume.source) {
            let access = if mount.read_only {
                Access::Read
            } else {
                Access::Write
            };
            let wanted = volumes.entry(name.clone()).or_insert(access);
            *wanted = access.max(*wanted);
        }
    }
    Requirements {
        labels: placement.labels,
        spread: placement.spread,
        volumes,
        listens: spec
            .service
            .iter()
            .flat_map(|service| &service.publish)
            .map(|publish| publish.listen)
            .collect(),
        interfaces: workload
            .link_plan
            .as_ref()
            .map_or_else(HostInterfaces::default, |plan| {
                HostInterfaces::named(&plan.interfaces)
            }),
        features: BTreeSet::new(),
    }
}

/// Returns the resources that one replica takes on its worker.
pub fn needs(spec: &WorkloadSpec) -> Needs {
    let publish = spec.service.iter().flat_map(|service| &service.publish);
    Needs {
        memory: Memory {
            reserve: spec::reserve_bytes(spec),
            limit: spec::limit_bytes(spec),
        },
        ports: publish
            .map(|publish| publish.listen)
            .filter(|listen| listen.address.port() != 0)
            .collect(),
    }
}

pub fn replica(record: &ReplicaRecord, now: &Timestamp) -> ReplicaState {
    let replica = &record.replica;
    ReplicaState {
        id: replica.id.clone(),
        revision: replica.revision,
        worker: record.worker(),
        phase: phase(record.phase()),
        ready: replica.ready,
        ready_for: age(&record.ready_since, now),
        // What an earlier version stored counts as it did then.
        available: replica.available.unwrap_or(replica.ready),
        age: age(&replica.create_time, now),
        phase_age: age(&record.since, now),
        placed_for: condition(&replica.conditions, condition::SCHEDULED)
            .filter(|held| held.status() == Status::True)
            .map_or(Duration::MAX, |held| age(&held.last_transition_time, now)),
        cut_short: record.cut_short.map(|cut| age(&Some(cut), now)),
        survived: replica.restarts > 0 && record.cut_short.is_none(),
        attempt: record.attempt,
        compiling: condition(&replica.conditions, condition::ARTIFACTS_READY)
            .is_some_and(|held| held.status() == Status::False && held.reason == reason::COMPILING),
        waiting: condition(&replica.conditions, condition::SCHEDULED)
            .filter(|held| held.status() == Status::False)
            .map(|held| Waiting {
                reason: held.message.clone(),
                cause: match held.reason.as_str() {
                    reason::PORT_UNAVAILABLE => plan::Cause::Ports,
                    reason::COMPILE_FAILED => plan::Cause::Uncompilable,
                    reason::HELD => plan::Cause::Held,
                    _ => plan::Cause::NoWorker,
                },
            }),
        needs: Needs {
            memory: record.memory(),
            ports: ports(&record.ports),
        },
        failure: failure(replica),
        refused: record
            .refused
            .iter()
            .filter_map(|name| Name::parse(name).ok())
            .collect(),
    }
}

fn failure(replica: &v1::Replica) -> Failure {
    let lacks_port = condition(&replica.conditions, condition::STARTED).is_some_and(|held| {
        held.status() == Status::False && held.reason == reason::PORT_UNAVAILABLE
    });
    match &replica.last_exit {
        _ if lacks_port => Failure::PortUnavailable,
        Some(_) => Failure::Ended,
        None => Failure::CannotRun,
    }
}

fn age(since: &Option<Timestamp>, now: &Timestamp) -> Duration {
    let since = since.as_ref().map_or(0, clock::millis);
    Duration::from_millis(clock::millis(now).saturating_sub(since))
}

/// Returns the view of a worker, including the time since its last heartbeat and the age of its
/// session.
pub fn worker(held: &WorkerUsage, leases: &Leases, now: &Timestamp) -> WorkerView {
    let worker = &held.worker;
    let capacity = worker.capacity.unwrap_or_default();
    let keeps_reserves = capacity.keeps_reserves();
    WorkerView {
        name: held.name.clone(),
        ready: worker.ready,
        cordoned: worker.cordoned,
        draining: worker.drain.is_some(),
        departure: worker.departure.as_ref().map(|departure| Departure {
            keeps_for: presence::keeps_for(departure, now),
            stopped: departure.stopped,
        }),
        follows: presence::follows(worker),
        silent_for: leases.silent_for(&worker.name),
        connected_for: leases.connected_for(&worker.name),
        memory_free: capacity
            .memory_bytes
            .saturating_sub(held.usage.memory.counted(keeps_reserves)),
        keeps_reserves,
        replicas: held.usage.replicas,
        replicas_max: capacity.replicas,
        taken_ports: taken_ports(&held.usage.ports),
        offers: held.offers.clone(),
    }
}

pub fn phase(phase: v1::replica::Phase) -> Phase {
    use v1::replica::Phase as Proto;
    match phase {
        Proto::Unspecified | Proto::Pending => Phase::Pending,
        Proto::Starting => Phase::Starting,
        Proto::Running => Phase::Running,
        Proto::Backoff => Phase::Backoff,
        Proto::Completed => Phase::Completed,
        Proto::Failed => Phase::Failed,
        Proto::Stopping => Phase::Stopping,
        Proto::Stopped => Phase::Stopped,
        Proto::Lost => Phase::Lost,
    }
}

/// Returns the workers as one workload sees them: the ports that its own replicas hold are
/// attributed to it, in this round and in the next.
pub fn with_own_ports(workers: &[WorkerView], id: &WorkloadId) -> Vec<WorkerView> {
    let mut workers = workers.to_vec();
    for taken in workers.iter_mut().flat_map(|held| &mut held.taken_ports) {
        taken.holder.take_if(|holder| holder == id);
    }
    workers
}

fn taken_ports(held: &[HeldPort]) -> Vec<TakenPort> {
    let taken = |held: &HeldPort| {
        Some(TakenPort {
            port: held.port.parse().ok()?,
            holder: Some(held.holder.clone()),
            hold: held.hold,
        })
    };
    held.iter().filter_map(taken).collect()
}

/// Parses ports that `execute` stored. A text that is not a port is skipped.
fn ports(stored: &[String]) -> Vec<HostPort> {
    stored.iter().filter_map(|port| port.parse().ok()).collect()
}
