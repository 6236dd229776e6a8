//! What a session stores: its worker's record, and the worker's reports on its replicas.

use std::time::Duration;

use futures::future::try_join_all;
use tokio_util::sync::CancellationToken;
use warren_model::{name::Name, reason};
use warren_proto::v1::{self, event::Type, replica::Phase};

use super::{
    Fleet, compile,
    error::SessionError,
    hello::{Greeting, TurnedAway},
    listen::now,
    newcomers::TooManyNewcomers,
    presence, report, steps,
};
use crate::{
    clock,
    events::Subject,
    reconcile::observe,
    state::records::{Account, ReplicaRecord},
    store::{Durability, StoreError},
};

/// The number of reports of a Hello that are stored at once.
const REPORTS_AT_ONCE: usize = 64;
/// The delay after the store could not be used.
const RETRY: Duration = Duration::from_secs(1);

/// A worker of the fleet, identified by the name that its session holds.
pub(super) struct Member<'a> {
    pub fleet: &'a Fleet,
    pub name: Name,
}

// === impl Member ===

impl Member<'_> {
    /// Stores the worker as connected, unless another may come back under its name.
    pub async fn join(&self, greeting: &Greeting) -> Result<(), SessionError> {
        let held = self.fleet.index.worker(&self.name).map(|held| held.worker);
        let other = held.filter(|held| held.id != greeting.id);
        if other
            .as_ref()
            .is_some_and(|other| other.ready || self.is_remembered(other))
        {
            return Err(SessionError::NameTaken(self.name.clone()));
        }
        if self.is_new() {
            self.admit()?;
        }
        // The worker is alive even if that cannot be stored at present.
        self.fleet.leases.joined(self.name.as_str());
        let may_take = |before: &v1::Worker| {
            before.id == greeting.id || other.as_ref().is_some_and(|other| other.id == before.id)
        };
        let written = self
            .fleet
            .state
            .update_worker(&self.name, Durability::Flushed, |before| {
                before
                    .as_ref()
                    .is_none_or(may_take)
                    .then(|| presence::joined(greeting, before, clock::now()))
            })
            .await?;
        self.fleet
            .index
            .reached(written.ok_or_else(|| SessionError::NameTaken(self.name.clone()))?)
            .await;
        if let Some(other) = &other {
            self.fleet.forget_id(&other.id);
        }
        let message = match other {
            Some(_) => format!("connected as a new machine, with id {}", greeting.id),
            None => format!("connected from {}", greeting.address),
        };
        self.note(Type::Normal, "Connected", message);
        Ok(())
    }

    /// Stores that the worker is about to receive an assignment, before it is sent.
    pub async fn runs(&self) {
        let held = self.fleet.index.worker(&self.name);
        if held.is_some_and(|held| held.worker.has_run == Some(false)) {
            let change = |held: Option<v1::Worker>| presence::runs(held?);
            self.change_worker("that the worker runs something", change)
                .await;
        }
    }

    /// Returns whether the worker's previous process ended without announcing it.
    pub fn was_cut_short(&self, greeting: &Greeting) -> bool {
        let held = self.fleet.index.worker(&self.name);
        held.is_some_and(|held| {
            let before = &held.worker;
            let stopped = before.departure.as_ref().is_some_and(|it| it.stopped);
            let known = !before.instance.is_empty() && !greeting.instance.is_empty();
            before.id == greeting.id && known && before.instance != greeting.instance && !stopped
        })
    }

    /// Records, for replicas that were starting on the worker or had just begun, that its process
    /// ended. `silent_for` is the time since its last heartbeat.
    pub async fn cut_short(&self, silent_for: Duration) -> Result<(), StoreError> {
        let now = clock::now();
        let placed = self.fleet.index.replicas_on(&self.name);
        let tried = placed
            .iter()
            .filter(|record| observe::on_trial(record, silent_for, &now));
        let cut = |held: &ReplicaRecord| {
            Some(ReplicaRecord {
                cut_short: Some(now),
                ..held.clone()
            })
        };
        let tried: Vec<_> = tried.collect();
        for some in tried.chunks(REPORTS_AT_ONCE) {
            try_join_all(some.iter().map(|held| self.change(&held.replica.id, cut))).await?;
        }
        Ok(())
    }

    /// Updates every replica of this worker to match its Hello.
    pub async fn take_stock(&self, reports: &[v1::ReplicaReport]) -> Result<(), StoreError> {
        let listed = |id: &str| reports.iter().any(|report| report.replica == id);
        let placed = self.fleet.index.replicas_on(&self.name);
        let missing: Vec<_> = placed
            .into_iter()
            .filter(|record| !listed(&record.replica.id))
            .collect();
        for some in reports.chunks(REPORTS_AT_ONCE) {
            try_join_all(some.iter().map(|report| self.store_report(report))).await?;
        }
        for some in missing.chunks(REPORTS_AT_ONCE) {
            try_join_all(some.iter().map(|held| self.not_held(&held.replica.id))).await?;
        }
        for report in reports {
            self.tell_transitions(report);
        }
        Ok(())
    }

    /// Stores that the worker is disconnected, unless its next session begins before that succeeds.
    /// Its lease continues from its last heartbeat.
    pub async fn leave(&self, cause: &str, replaced: &CancellationToken) {
        let mut in_order = false;
        let mut unready = |held: Option<v1::Worker>| {
            let worker = held?;
            let heard = self.fleet.leases.last_heard(&worker.name);
            let departure = worker.departure.as_ref();
            in_order = departure.is_some_and(|departure| departure.stopped);
            Some(presence::disconnected(worker, cause, heard, clock::now()))
        };
        loop {
            let written = self
                .fleet
                .state
                .update_worker(&self.name, Durability::Relaxed, &mut unready)
                .await;
            match written {
                Ok(revision) => {
                    self.fleet.index.reached(revision.unwrap_or(0)).await;
                    break;
                }
                Err(error) => {
                    tracing::error!(worker = %self.name, %error, "cannot store that the worker is gone");
                }
            }
            tokio::select! {
                biased;
                () = self.fleet.shutdown.cancelled() => return,
                () = replaced.cancelled() => break,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
        if in_order {
            let message = "all of its replicas have stopped".to_owned();
            return self.note(Type::Normal, reason::STOPPED, message);
        }
        self.note(
            Type::Warning,
            "Disconnected",
            format!("disconnected: {cause}"),
        );
    }

    /// Stores that the worker is stopping or has stopped, before any consequence of it. If that
    /// cannot be stored, it is treated as a worker that falls silent.
    pub async fn depart(&self, leave: &v1::Leave) {
        let change = |held: Option<v1::Worker>| Some(presence::departs(held?, leave, clock::now()));
        self.change_worker("that the worker stops", change).await;
        if leave.stopped {
            return;
        }
        let keep = leave.keep.and_then(|keep| Duration::try_from(keep).ok());
        let message = match keep.filter(|keep| !keep.is_zero()) {
            Some(keep) => format!("it is stopping, and its replicas are kept for it for {keep:?}"),
            None => "it is stopping, and its replicas move to other workers".to_owned(),
        };
        self.note(Type::Normal, reason::STOPPING, message);
    }

    /// Stores that the worker does not follow its assignment.
    pub async fn drops(&self, message: &str) {
        let change = |held: Option<v1::Worker>| presence::drops(held?, message, clock::now());
        if self.change_worker("what the worker drops", change).await {
            self.note(
                Type::Warning,
                reason::ASSIGNMENTS_DROPPED,
                message.to_owned(),
            );
        }
    }

    /// Stores a worker that is not admitted, unless its name belongs to another one, or it is
    /// connected under it.
    pub async fn turn_away(&self, greeting: &Greeting, away: &TurnedAway) {
        if self.is_new() && self.admit().is_err() {
            return;
        }
        self.fleet.leases.turned_away(self.name.as_str());
        let change = |held: Option<v1::Worker>| {
            let is_shown = held
                .as_ref()
                .is_some_and(|held| held.ready || held.id != greeting.id);
            let why = (away.reason, away.message.as_str());
            match is_shown {
                true => None,
                false => presence::turned_away(greeting, held, why, clock::now()),
            }
        };
        let what = "that the worker is not admitted";
        // It retries every few seconds.
        if self.change_worker(what, change).await {
            tracing::warn!(worker = %self.name, reason = away.reason, "{}", away.message);
            self.note(Type::Warning, "NotAdmitted", away.message.clone());
        }
    }

    /// Returns whether no worker is remembered under its name.
    fn is_new(&self) -> bool {
        self.fleet.index.worker(&self.name).is_none()
    }

    /// Admits a new name, unless none is remembered at present.
    fn admit(&self) -> Result<(), TooManyNewcomers> {
        let known = self.fleet.index.worker_count();
        self.fleet.newcomers.admit(known, now())
    }

    /// Whether the record was changed.
    async fn change_worker(
        &self,
        what: &str,
        change: impl FnMut(Option<v1::Worker>) -> Option<v1::Worker> + Send,
    ) -> bool {
        let state = &self.fleet.state;
        let written = state
            .update_worker(&self.name, Durability::Flushed, change)
            .await;
        match written {
            Ok(revision) => {
                self.fleet.index.reached(revision.unwrap_or(0)).await;
                revision.is_some()
            }
            Err(error) => {
                tracing::error!(worker = %self.name, %error, "cannot store {what}");
                false
            }
        }
    }

    /// Stores the changes of a report.
    pub async fn store_report(&self, report: &v1::ReplicaReport) -> Result<(), StoreError> {
        // Done before the replica has failed, so that the plan already takes it into account.
        if let Some(failure) = &report.compile_failure {
            self.note_compile_failure(failure).await?;
        }
        self.change(&report.replica, |held| {
            report::apply(held, report, clock::now())
        })
        .await
    }

    /// Records with the artifact that no worker like this one can compile it.
    async fn note_compile_failure(&self, told: &v1::CompileFailure) -> Result<(), StoreError> {
        let Some(held) = self.fleet.index.worker(&self.name) else {
            return Ok(());
        };
        let worker = &held.worker;
        let Some((digest, failure)) = compile::noted(told, worker, clock::now()) else {
            return Ok(());
        };
        let change = |held| compile::note(held, &failure, worker);
        let state = &self.fleet.state;
        let written = state
            .update_artifact(digest, Durability::Relaxed, change)
            .await?;
        self.fleet.index.reached(written.unwrap_or(0)).await;
        Ok(())
    }

    /// Stores that the worker no longer has a replica.
    pub async fn not_held(&self, id: &str) -> Result<(), StoreError> {
        self.change(id, |held| report::not_held(held, clock::now()))
            .await
    }

    /// Records as events exactly those steps of a replica that were not reported before.
    pub fn tell_transitions(&self, report: &v1::ReplicaReport) {
        let Some(workload) = self.fleet.index.placed_on(&self.name, &report.replica) else {
            return;
        };
        let steps = report.earlier.iter().chain(&report.transitions);
        for step in steps::newest_of_each(steps.cloned().collect()) {
            let subject = Subject::Replica {
                workload: &workload,
                id: &report.replica,
            };
            let time = step.time.unwrap_or_else(clock::now);
            let kind = if step.r#type() == Type::Warning {
                Type::Warning
            } else {
                Type::Normal
            };
            let account = Account {
                since: report.since,
                total: step.total,
            };
            let message = step.message.as_str();
            self.fleet
                .events
                .record_told(time, account, subject, kind, &step.reason, message);
        }
    }

    /// Returns once everything that was reported so far, and its events, are on disk.
    pub fn keep(&self) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let recorded = self.fleet.events.recorded();
        let (events, state) = (self.fleet.events.clone(), self.fleet.state.clone());
        async move {
            events.written(recorded).await;
            state.flush().await
        }
    }

    /// Returns a replica with the spec and the links of its own revision; `None` when that is no
    /// longer kept.
    pub async fn assignment(
        &self,
        record: &ReplicaRecord,
    ) -> Result<Option<v1::Assignment>, StoreError> {
        let replica = &record.replica;
        let Some(id) = self.fleet.index.placed_on(&self.name, &replica.id) else {
            return Ok(None);
        };
        let current = self.fleet.index.workload(&id).filter(|workload| {
            workload.uid == replica.workload_uid && workload.revision == replica.revision
        });
        let (spec, link_plan) = match current {
            Some(workload) => (workload.spec.clone(), workload.link_plan.clone()),
            None => {
                let kept = self.fleet.state.revision(&id, replica.revision).await?;
                kept.filter(|kept| kept.uid == replica.workload_uid)
                    .map_or((None, None), |kept| (kept.spec, kept.link_plan))
            }
        };
        if spec.is_none() {
            tracing::warn!(
                replica = replica.id,
                "the spec of its revision is no longer kept"
            );
        }
        Ok(spec.map(|spec| v1::Assignment {
            replica: replica.id.clone(),
            namespace: replica.namespace.clone(),
            workload: replica.workload.clone(),
            workload_uid: replica.workload_uid.clone(),
            revision: replica.revision,
            // Without a service nothing is ever started again.
            restarts: spec.service.as_ref().map_or(0, |_| replica.restarts),
            spec: Some(spec),
            link_plan,
            // The fence is drawn where the assignment is sent.
            fence: 0,
        }))
    }

    /// Whether the name's holder, not connected, may still come back: it is kept for, or its lease
    /// runs, or replicas on it were not given up.
    fn is_remembered(&self, holder: &v1::Worker) -> bool {
        if let Some(departure) = holder.departure.as_ref().filter(|it| it.stopped) {
            return !presence::keeps_for(departure, &clock::now()).is_zero();
        }
        let over = |phase| {
            let over = [Phase::Lost, Phase::Stopped, Phase::Completed, Phase::Failed];
            over.contains(&phase)
        };
        let placed = self.fleet.index.replicas_on(&self.name);
        self.fleet.leases.silent_for(&holder.name) < self.fleet.worker_timeout
            || placed.iter().any(|record| !over(record.phase()))
    }

    /// Changes the record of a replica on this worker; one that is not (any more) is left alone.
    async fn change(
        &self,
        id: &str,
        change: impl Fn(&ReplicaRecord) -> Option<ReplicaRecord> + Send + Sync,
    ) -> Result<(), StoreError> {
        let Some(workload) = self.fleet.index.placed_on(&self.name, id) else {
            return Ok(());
        };
        let here = self.name.as_str();
        let written = self
            .fleet
            .state
            .update_replica(&workload, id, Durability::Relaxed, |held| {
                held.filter(|held| held.replica.worker == here)
                    .and_then(|held| change(&held))
            })
            .await?;
        self.fleet.index.reached(written.unwrap_or(0)).await;
        Ok(())
    }

    fn note(&self, kind: Type, reason: &str, message: String) {
        self.fleet
            .events
            .record(Subject::Worker(&self.name), kind, reason, message);
    }
}
