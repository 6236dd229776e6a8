//! A replica as the rules see it.

use std::{collections::BTreeSet, time::Duration};

use warren_model::name::Name;

use super::{Desired, Failure, Phase, ReplicaState, Waiting, on_trial};
use crate::scheduler::{Needs, WorkerView};

/// The role of a replica in the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Without a worker.
    Waiting,
    /// With a worker that runs it, or will.
    Live,
    Completed,
    Failed,
    Stopping,
    Lost,
    /// Its record is deleted.
    Gone,
}

/// A replica in this round.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    pub id: String,
    pub revision: u32,
    pub worker: Option<Name>,
    pub class: Class,
    pub ready: bool,
    /// It is ready and counts as available. For an earlier revision every ready replica counts: it
    /// does the work now.
    pub available: bool,
    /// It is recorded as available.
    pub noted: bool,
    /// The time until a ready replica counts as available.
    pub ripens_in: Duration,
    pub age: Duration,
    pub phase_age: Duration,
    pub attempt: u32,
    pub waiting: Option<Waiting>,
    pub needs: Needs,
    pub failure: Failure,
    pub refused: BTreeSet<Name>,
    pub compiling: bool,
    pub placed_for: Duration,
    /// It may be the cause if its worker is lost.
    pub on_trial: bool,
    pub cut_short: Option<Duration>,
    /// Its worker is being drained, or is stopping and does not keep it.
    pub leaving: bool,
    /// Its worker stops it without a request.
    pub stops_by_itself: bool,
    /// It has an action in this round; no other may follow.
    pub done: bool,
}

// === impl Replica ===

impl Replica {
    pub fn new(state: &ReplicaState, workers: &[WorkerView], desired: Option<&Desired>) -> Self {
        let class = match state.phase {
            Phase::Stopped => Class::Gone,
            _ if state.worker.is_none() => Class::Waiting,
            Phase::Pending | Phase::Starting | Phase::Running | Phase::Backoff => Class::Live,
            Phase::Completed => Class::Completed,
            Phase::Failed => Class::Failed,
            Phase::Stopping => Class::Stopping,
            Phase::Lost => Class::Lost,
        };
        let here = |worker: &&WorkerView| Some(&worker.name) == state.worker.as_ref();
        let worker = workers.iter().find(here);
        let ready = state.ready && class == Class::Live;
        // If its worker is silent, it is unknown whether it still is.
        let is_heard = worker.is_some_and(|worker| worker.ready);
        let ripens_in = match desired.filter(|desired| desired.revision == state.revision) {
            Some(desired) if ready && !state.available && is_heard => {
                desired.min_ready.saturating_sub(state.ready_for)
            }
            Some(desired) if ready && !state.available => desired.min_ready,
            _ => Duration::ZERO,
        };
        let departure = worker.and_then(|worker| worker.departure);
        let gives_away = departure.is_some_and(|departure| departure.keeps_for.is_zero());
        Self {
            id: state.id.clone(),
            revision: state.revision,
            worker: state.worker.clone(),
            class,
            ready,
            available: ready && ripens_in.is_zero(),
            noted: state.available,
            ripens_in,
            age: state.age,
            phase_age: state.phase_age,
            attempt: state.attempt,
            waiting: state.waiting.clone(),
            needs: state.needs.clone(),
            failure: state.failure,
            refused: state.refused.clone(),
            compiling: state.compiling,
            placed_for: state.placed_for,
            on_trial: state.worker.is_some()
                && on_trial(
                    state,
                    worker.map_or(Duration::ZERO, |worker| worker.silent_for),
                ),
            cut_short: state.cut_short,
            leaving: gives_away || worker.is_some_and(|worker| worker.draining),
            stops_by_itself: departure.is_some(),
            done: false,
        }
    }

    /// Returns whether it does its work.
    pub fn is_available(&self) -> bool {
        self.available || self.class == Class::Completed
    }

    /// Returns whether it failed because a port was not available.
    pub fn lacks_port(&self) -> bool {
        self.class == Class::Failed && self.failure == Failure::PortUnavailable
    }
}
