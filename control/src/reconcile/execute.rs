//! Turns the plan's actions into one transaction and the events that report it.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use warren_model::{
    condition,
    name::{Name, WorkloadId},
    quantity::format_duration,
    reason,
    spec::WorkloadSpec,
};
use warren_proto::v1::{self, condition::Status, event::Type, replica::Phase, rollout::State};

use super::{
    observe,
    plan::{self, Action, Cause, Placement, RolloutState, StopReason, Waiting},
};
use crate::{
    events::{Events, Subject},
    index::{Observation, WorkerUsage},
    state::{
        Stored, Transaction, exits, keys,
        records::{ReplicaRecord, set_condition, set_worker_conditions},
        rollout,
    },
};

/// The transaction and the events of one plan.
#[derive(Default)]
pub(super) struct Execution {
    pub transaction: Transaction,
    /// Whether to delete the workload with everything that belongs to it.
    pub finish: bool,
    /// The revision to roll the workload back to after the transaction.
    pub roll_back_to: Option<u32>,
    notes: Vec<Note>,
    /// The workload to write, if anything in it changes.
    workload: Option<v1::Workload>,
}

/// An event to record once the transaction is committed.
struct Note {
    /// `None` if the event is about the workload itself.
    replica: Option<String>,
    kind: Type,
    reason: &'static str,
    message: String,
}

/// The objects that actions apply to.
pub(super) struct Scene<'a> {
    pub id: &'a WorkloadId,
    pub observation: &'a Observation,
    pub spec: Option<&'a WorkloadSpec>,
    pub workers: &'a [WorkerUsage],
    pub now: Timestamp,
}

// === impl Scene ===

impl Scene<'_> {
    /// The worker's current or last process; empty if it is not needed or not known.
    fn instance(&self, worker: &Name, which: impl Fn(&v1::Worker) -> bool) -> String {
        let mut workers = self.workers.iter();
        let held = workers.find(|held| held.name == *worker && which(&held.worker));
        held.map_or_else(String::new, |held| held.worker.instance.clone())
    }
}

// === impl Execution ===

impl Execution {
    /// Translates every action. Each replica is written once, on the condition that it is in the
    /// state that was planned for.
    pub fn of(scene: &Scene<'_>, actions: Vec<Action>) -> Self {
        let mut execution = Self::default();
        let held: BTreeMap<_, _> = scene
            .observation
            .replicas
            .iter()
            .map(|held| (held.value.replica.id.as_str(), held))
            .collect();
        for action in actions {
            match action {
                Action::Create {
                    id,
                    revision,
                    attempt,
                    refused,
                    placement,
                } => {
                    let refused = refused.iter().map(ToString::to_string).collect();
                    execution.create(scene, id, revision, attempt, refused, placement);
                }
                Action::Place { id, worker } => execution.change(scene, &held, &id, |record| {
                    place(record, &worker, scene.now);
                    Some((
                        Type::Normal,
                        reason::SCHEDULED,
                        format!("placed on worker `{worker}`"),
                    ))
                }),
                Action::Unschedulable { id, waiting } => {
                    execution.change(scene, &held, &id, |record| {
                        wait(record, &waiting, scene.now);
                        Some((
                            Type::Warning,
                            unschedulable(&waiting),
                            waiting.reason.clone(),
                        ))
                    });
                }
                Action::MarkAvailable { id } => execution.change(scene, &held, &id, |record| {
                    record.replica.available = Some(true);
                    None
                }),
                Action::Stop { id, reason } => execution.change(scene, &held, &id, |record| {
                    stop(record, scene.now);
                    record.discarded = reason != StopReason::Drained;
                    Some((Type::Normal, reason::STOPPING, reason.to_string()))
                }),
                Action::MarkLost { id } => execution.change(scene, &held, &id, |record| {
                    let worker = record.replica.worker.clone();
                    lose(record, scene.now);
                    Some((
                        Type::Warning,
                        "Lost",
                        format!("worker `{worker}` stopped sending heartbeats"),
                    ))
                }),
                Action::Readmit { id } => execution.change(scene, &held, &id, |record| {
                    let worker = record.replica.worker.clone();
                    readmit(record, scene.now);
                    Some((
                        Type::Normal,
                        "Readmitted",
                        format!("worker `{worker}` is back"),
                    ))
                }),
                Action::Forget { id } => {
                    if let Some(held) = held.get(id.as_str()) {
                        execution
                            .transaction
                            .remove(keys::replica(scene.id, &id), held.revision);
                    }
                }
                Action::Blame { worker, shared } => execution.blame(scene, &worker, shared),
                Action::Acquit { worker } => execution.acquit(scene, &worker),
                Action::Note(note) => execution.note_rollout(scene, &note),
                Action::RollBack { revision } => execution.roll_back_to = Some(revision),
                Action::Finish => {
                    execution.finish = true;
                    execution.note(None, Type::Normal, "Deleted", "all replicas have stopped");
                }
            }
        }
        // Written on the condition that the workload is in the state that was planned for: a
        // revision that was created in the meantime has a rollout of its own.
        if let Some((held, workload)) = scene
            .observation
            .workload
            .as_ref()
            .zip(execution.workload.take())
        {
            execution
                .transaction
                .replace(keys::workload(scene.id), &workload, held.revision);
        }
        execution
    }

    /// Records the events. Must be called only after the transaction was committed.
    pub fn tell(&self, id: &WorkloadId, events: &Events) {
        for note in &self.notes {
            let subject = match &note.replica {
                Some(replica) => Subject::Replica {
                    workload: id,
                    id: replica,
                },
                None => Subject::Workload(id),
            };
            events.record(subject, note.kind, note.reason, note.message.as_str());
        }
    }

    fn create(
        &mut self,
        scene: &Scene<'_>,
        id: String,
        revision: u32,
        attempt: u32,
        refused: Vec<String>,
        placement: Placement,
    ) {
        // The plan creates for a workload that it was shown; without one there is nothing to create
        // from.
        let (Some(workload), Some(spec)) = (&scene.observation.workload, scene.spec) else {
            return;
        };
        let needs = observe::needs(spec);
        let mut record = ReplicaRecord {
            replica: v1::Replica {
                id: id.clone(),
                namespace: scene.id.namespace.to_string(),
                workload: scene.id.name.to_string(),
                workload_uid: workload.value.uid.clone(),
                revision,
                create_time: Some(scene.now),
                available: Some(false),
                ..v1::Replica::default()
            },
            attempt,
            refused,
            runs_once: observe::runs_once(spec),
            memory_bytes: needs.memory.limit,
            reserve_bytes: Some(needs.memory.reserve),
            ports: needs.ports.iter().map(ToString::to_string).collect(),
            ..ReplicaRecord::default()
        };
        record.enter(Phase::Pending, scene.now);
        match placement {
            Placement::On(worker) => {
                place(&mut record, &worker, scene.now);
                let message = format!("placed on worker `{worker}`");
                self.note(Some(&id), Type::Normal, reason::SCHEDULED, message);
            }
            Placement::Waiting(waiting) => {
                wait(&mut record, &waiting, scene.now);
                let reason = unschedulable(&waiting);
                self.note(Some(&id), Type::Warning, reason, waiting.reason);
            }
        }
        self.transaction
            .create(keys::replica(scene.id, &id), &record);
    }

    fn note_rollout(&mut self, scene: &Scene<'_>, note: &plan::Note) {
        let (Some(mut workload), Some(spec)) = (self.workload(scene), scene.spec) else {
            return;
        };
        if note.state == RolloutState::Stalled {
            let message = stalled(&workload, note.most_available, spec);
            self.note(
                None,
                Type::Warning,
                reason::PROGRESS_DEADLINE_EXCEEDED,
                message,
            );
        }
        note_rollout(&mut workload, note, scene.now);
        self.workload = Some(workload);
    }

    /// The object with the effects of the actions so far.
    fn workload(&mut self, scene: &Scene<'_>) -> Option<v1::Workload> {
        let stored = scene.observation.workload.as_ref();
        self.workload
            .take()
            .or_else(|| stored.map(|held| v1::Workload::clone(&held.value)))
    }

    fn blame(&mut self, scene: &Scene<'_>, worker: &Name, shared: bool) {
        let Some(mut workload) = self.workload(scene) else {
            return;
        };
        // A process that is already there is not the one that was lost.
        let instance = scene.instance(worker, |held| !held.ready);
        let loss = v1::WorkerLoss {
            worker: worker.to_string(),
            time: Some(scene.now),
            instance,
            shared,
        };
        rollout::blame(&mut workload, loss);
        self.workload = Some(workload);
        let message = format!(
            "worker `{worker}` was lost while the workload was starting on it, or shortly after"
        );
        self.note(None, Type::Warning, reason::WORKER_LOST, message);
    }

    fn acquit(&mut self, scene: &Scene<'_>, worker: &Name) {
        let Some(mut workload) = self.workload(scene) else {
            return;
        };
        rollout::acquit(&mut workload, worker, &scene.instance(worker, |_| true));
        self.workload = Some(workload);
        let message = format!("worker `{worker}` is back: the workload did not cause its loss");
        self.note(None, Type::Normal, "WorkerReturned", message);
    }

    fn change(
        &mut self,
        scene: &Scene<'_>,
        held: &BTreeMap<&str, &Stored<std::sync::Arc<ReplicaRecord>>>,
        id: &str,
        change: impl FnOnce(&mut ReplicaRecord) -> Option<(Type, &'static str, String)>,
    ) {
        let Some(held) = held.get(id) else { return };
        let mut record = ReplicaRecord::clone(&held.value);
        let note = change(&mut record);
        self.transaction
            .replace(keys::replica(scene.id, id), &record, held.revision);
        if let Some((kind, reason, message)) = note {
            self.note(Some(id), kind, reason, message);
        }
    }

    fn note(
        &mut self,
        replica: Option<&str>,
        kind: Type,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let replica = replica.map(str::to_owned);
        self.notes.push(Note {
            replica,
            kind,
            reason,
            message: message.into(),
        });
    }
}

/// Describes why a rollout stalled.
pub(super) fn stalled(workload: &v1::Workload, most_available: u32, spec: &WorkloadSpec) -> String {
    format!(
        "revision {} made no progress within {}: {most_available} of {} replicas were ready",
        workload.revision,
        format_duration(spec.update.progress_deadline),
        spec.replicas.unwrap_or(1),
    )
}

fn note_rollout(workload: &mut v1::Workload, note: &plan::Note, now: Timestamp) {
    let mut noted = rollout::present(workload);
    let state = match note.state {
        RolloutState::Progressing => State::Progressing,
        RolloutState::Complete => State::Complete,
        RolloutState::Stalled => State::Stalled,
    };
    rollout::enter(&mut noted, state, now);
    if note.moved {
        noted.progress_time = Some(now);
        noted.message.clear();
    }
    if note.state == RolloutState::Complete {
        noted.stable_revision = workload.revision;
    }
    noted.ready_replicas = note.most_available;
    noted.earlier_replicas = Some(note.fewest_earlier);
    rollout::note(workload, noted);
}

fn place(record: &mut ReplicaRecord, worker: &Name, now: Timestamp) {
    record.replica.worker = worker.to_string();
    let message = format!("placed on worker `{worker}`");
    let conditions = &mut record.replica.conditions;
    set_condition(
        conditions,
        condition::SCHEDULED,
        Status::True,
        reason::PLACED,
        &message,
        now,
    );
    let message = "its worker has not reported on it yet";
    set_worker_conditions(conditions, Status::False, reason::PENDING, message, now);
}

/// Returns the reason that conditions and events carry. Clients that wait give up on all but the
/// first.
fn unschedulable(waiting: &Waiting) -> &'static str {
    match waiting.cause {
        Cause::NoWorker => reason::UNSCHEDULABLE,
        Cause::Ports => reason::PORT_UNAVAILABLE,
        Cause::Uncompilable => reason::COMPILE_FAILED,
        Cause::Held => reason::HELD,
    }
}

fn wait(record: &mut ReplicaRecord, waiting: &Waiting, now: Timestamp) {
    let conditions = &mut record.replica.conditions;
    let reason = unschedulable(waiting);
    let message = &waiting.reason;
    set_condition(
        conditions,
        condition::SCHEDULED,
        Status::False,
        reason,
        message,
        now,
    );
    // The worker's report on a failed replica explains the failure.
    if !record.replica.worker.is_empty() {
        return;
    }
    let conditions = &mut record.replica.conditions;
    let message = "no worker was chosen yet";
    set_worker_conditions(conditions, Status::False, reason::PENDING, message, now);
}

fn stop(record: &mut ReplicaRecord, now: Timestamp) {
    // It released its ports when it ended, so its successor need not wait for them.
    if record.hold().is_none() {
        record.ports.clear();
    }
    record.enter(Phase::Stopping, now);
    record.set_unready();
    record.replica.next_start_time = None;
    let conditions = &mut record.replica.conditions;
    set_condition(
        conditions,
        condition::READY,
        Status::False,
        reason::STOPPING,
        "it was asked to stop",
        now,
    );
}

fn lose(record: &mut ReplicaRecord, now: Timestamp) {
    record.reported = record.replica.phase;
    record.reported_ready = record.replica.ready;
    record.enter(Phase::Lost, now);
    record.set_unready();
    let message = format!(
        "worker `{}` stopped sending heartbeats",
        record.replica.worker
    );
    record.replica.next_start_time = None;
    let exit = v1::Exit {
        reason: v1::exit::Reason::Lost.into(),
        message: message.clone(),
        time: Some(now),
        ..v1::Exit::default()
    };
    exits::keep(&mut record.replica, exit);
    let conditions = &mut record.replica.conditions;
    set_worker_conditions(
        conditions,
        Status::Unknown,
        reason::WORKER_LOST,
        &message,
        now,
    );
}

fn readmit(record: &mut ReplicaRecord, now: Timestamp) {
    let phase = match record.reported() {
        Phase::Unspecified | Phase::Lost => Phase::Starting,
        reported => reported,
    };
    record.enter(phase, now);
    if record.reported_ready {
        record.set_ready(now);
    }
    record.reported = Phase::Unspecified.into();
    record.reported_ready = false;
}
