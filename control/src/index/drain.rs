//! The progress of a worker's drain: what is left on it, and why.

use std::collections::BTreeMap;

use warren_model::{
    condition,
    name::{Name, WorkloadId},
    reason,
};
use warren_proto::v1::{self, condition::Status, drain::Obstacle, replica::Phase, rollout::State};

use super::contents::{Contents, Touched, WorkloadEntry, touch};
use crate::{
    state::records::{ReplicaRecord, condition},
    state::rollout,
    store::Revision,
};

/// The number of workloads whose obstacles are shown.
const MOST_TOLD: usize = 100;

// === impl Contents ===

impl Contents {
    /// Touches the workers that are being drained and that a change of a touched workload may
    /// concern.
    pub(super) fn touch_draining(&self, touched: &mut Touched) {
        if self.draining.is_empty() {
            return;
        }
        let mut concerned: Vec<(Name, Revision)> = Vec::new();
        for (id, revision) in &touched.workloads {
            let replicas = self.workloads.get(id).into_iter();
            let workers = replicas
                .flat_map(|entry| entry.replicas.values())
                .filter_map(|held| held.value.worker())
                .filter(|name| self.draining.contains(name));
            concerned.extend(workers.map(|name| (name, *revision)));
        }
        for (name, revision) in concerned {
            touch(&mut touched.workers, name, revision);
        }
    }

    /// Returns the drain of a worker as users see it, if it is being drained.
    pub(super) fn drain(&self, name: &Name) -> Option<v1::Drain> {
        let entry = self.workers.get(name)?;
        let mut drain = entry.stored.as_ref()?.value.drain.clone()?;
        let mut left: BTreeMap<&WorkloadId, u32> = BTreeMap::new();
        for (replica, workload) in &entry.replicas {
            let record = self
                .workloads
                .get(workload)
                .and_then(|entry| entry.replicas.get(replica));
            if record.is_some_and(|held| runs(&held.value)) {
                *left.entry(workload).or_default() += 1;
            }
        }
        drain.replicas = left.values().sum();
        drain.obstacles = left
            .into_iter()
            .take(MOST_TOLD)
            .filter_map(|(workload, replicas)| {
                let entry = self.workloads.get(workload)?;
                let message = obstacle(entry, name, replicas);
                Some(Obstacle {
                    namespace: workload.namespace.to_string(),
                    workload: workload.name.to_string(),
                    replicas,
                    message,
                    reason: reason(entry, name).to_owned(),
                })
            })
            .collect();
        Some(drain)
    }
}

/// Whether a replica runs on its worker, or may. One that has ended, or was given up, does not.
fn runs(record: &ReplicaRecord) -> bool {
    match record.phase() {
        Phase::Unspecified
        | Phase::Pending
        | Phase::Starting
        | Phase::Running
        | Phase::Backoff
        | Phase::Stopping => true,
        Phase::Completed | Phase::Failed | Phase::Stopped | Phase::Lost => false,
    }
}

/// Returns why time alone does not help the replicas of a workload to leave; empty if it may.
fn reason(entry: &WorkloadEntry, worker: &Name) -> &'static str {
    let mut records = entry.replicas.values().map(|held| &*held.value);
    let waits = |record: &ReplicaRecord| {
        record.replica.worker.is_empty()
            && condition(&record.replica.conditions, condition::SCHEDULED)
                .is_some_and(|held| held.reason == reason::PORT_UNAVAILABLE)
    };
    let goes = |record: &ReplicaRecord| {
        record.replica.worker == worker.as_str() && record.phase() == Phase::Stopping
    };
    let is_stuck = records.clone().any(waits) && !records.any(goes);
    if is_stuck {
        reason::PORT_UNAVAILABLE
    } else {
        ""
    }
}

/// Says why `left` replicas of a workload have not left their worker yet.
fn obstacle(entry: &WorkloadEntry, worker: &Name, left: u32) -> String {
    let (replicas, have, wait) = match left {
        1 => ("1 replica".to_owned(), "has", "waits"),
        left => (format!("{left} replicas"), "have", "wait"),
    };
    let records = || entry.replicas.values().map(|held| &*held.value);
    let here = |record: &&ReplicaRecord| record.replica.worker == worker.as_str();
    let stopping = |record: &ReplicaRecord| record.phase() == Phase::Stopping;
    if records()
        .filter(here)
        .filter(|held| runs(held))
        .all(stopping)
    {
        let are = if left == 1 { "is" } else { "are" };
        return format!("{replicas} {are} stopping");
    }
    let stalled = entry.stored.as_ref().and_then(|stored| {
        let noted = rollout::of(&stored.value)?;
        (noted.state() == State::Stalled).then_some(noted.revision)
    });
    if let Some(revision) = stalled {
        return format!(
            "{replicas} {wait} for the rollout of revision {revision}, which has stalled: \
             apply one that works, or roll it back"
        );
    }
    let unplaced = records()
        .filter(|record| record.replica.worker.is_empty())
        .find_map(|record| condition(&record.replica.conditions, condition::SCHEDULED))
        .filter(|held| held.status() == Status::False);
    if let Some(unplaced) = unplaced {
        return format!("{replicas} {have} no other worker: {}", unplaced.message);
    }
    let successor = records().find(|record| {
        !record.replica.worker.is_empty() && !here(record) && runs(record) && !record.replica.ready
    });
    match successor {
        Some(record) if stopping(record) => format!(
            "{replicas} {wait} until {} on worker {} has stopped",
            record.replica.id, record.replica.worker
        ),
        Some(record) => format!(
            "{replicas} {wait} until {} on worker {} is ready",
            record.replica.id, record.replica.worker
        ),
        None => {
            format!("{replicas} {wait} for another worker, or for the turn of others to be over")
        }
    }
}
