//! Carries out the actions of a plan, and passes them on to the workers.

use super::{
    world::{Guest, Record, World},
    *,
};

impl World {
    pub(super) fn execute(&mut self, action: &Action) {
        match action.clone() {
            Action::Create {
                id,
                revision,
                attempt,
                refused,
                placement,
            } => {
                let (worker, waiting) = match placement {
                    Placement::On(worker) => (Some(worker), None),
                    Placement::Waiting(reason) => (None, Some(reason)),
                };
                let state = ReplicaState {
                    id: id.clone(),
                    revision,
                    worker,
                    phase: Phase::Pending,
                    ready: false,
                    ready_for: Duration::ZERO,
                    available: false,
                    age: Duration::ZERO,
                    phase_age: Duration::ZERO,
                    placed_for: Duration::ZERO,
                    cut_short: None,
                    survived: false,
                    attempt,
                    compiling: false,
                    waiting,
                    needs: self.desired.as_ref().unwrap().needs.clone(),
                    failure: Failure::Ended,
                    refused,
                };
                let record = Record {
                    state,
                    created: self.now,
                    placed: self.now,
                    entered: self.now,
                    ready_since: self.now,
                };
                assert!(
                    self.records.insert(id, record).is_none(),
                    "ids are never used twice"
                );
            }
            Action::Place { id, worker } => {
                let record = self.records.get_mut(&id).unwrap();
                record.placed = self.now;
                assert_eq!(record.state.worker.replace(worker), None);
                record.state.waiting = None;
            }
            Action::Unschedulable { id, waiting } => {
                self.records.get_mut(&id).unwrap().state.waiting = Some(waiting);
            }
            Action::MarkAvailable { id } => {
                let state = &mut self.records.get_mut(&id).unwrap().state;
                assert!(state.ready && !state.available, "{id}");
                state.available = true;
            }
            Action::Stop { id, .. } => {
                let state = &mut self.records.get_mut(&id).unwrap().state;
                if matches!(state.phase, Phase::Failed | Phase::Completed) {
                    state.needs.ports.clear();
                }
                self.enter(&id, Phase::Stopping, false);
            }
            Action::MarkLost { id } => self.enter(&id, Phase::Lost, false),
            Action::Readmit { id } => {
                let worker = self.records[&id].state.worker.clone();
                let worker = self
                    .workers
                    .iter()
                    .find(|held| Some(&held.view.name) == worker.as_ref());
                let guest = worker.unwrap().guests.get(&id);
                let (phase, ready) =
                    guest.map_or((Phase::Starting, false), |guest| (guest.phase, guest.ready));
                self.enter(&id, phase, ready);
            }
            Action::Forget { id } => {
                self.records.remove(&id).unwrap();
            }
            Action::Blame { worker, shared } => self.losses.push((worker, self.now, shared)),
            Action::Acquit { worker } => self.losses.retain(|(name, ..)| *name != worker),
            Action::Note(note) => self.revisions.note(&note, self.now),
            Action::RollBack { revision } => {
                let desired = self.desired.as_mut().unwrap();
                self.losses.clear();
                self.revisions.roll_back(desired, revision, self.now);
            }
            Action::Finish => {
                assert!(self.desired.take().unwrap().deleting && self.records.is_empty());
            }
        }
    }

    pub(super) fn enter(&mut self, id: &str, phase: Phase, ready: bool) {
        let record = self.records.get_mut(id).unwrap();
        if record.state.phase != phase {
            record.entered = self.now;
        }
        if !record.state.ready {
            record.ready_since = self.now;
        }
        record.state.phase = phase;
        record.state.ready = ready;
        record.state.available &= ready;
    }

    /// Workers with a session learn what they should run. What they are to stop and do not hold has
    /// stopped.
    pub(super) fn deliver(&mut self) {
        let mut stopped = Vec::new();
        for worker in self.workers.iter_mut().filter(|worker| worker.view.ready) {
            let assigned = |id: &str| {
                let record = self.records.get(id)?;
                (record.state.worker.as_ref() == Some(&worker.view.name)).then_some(&record.state)
            };
            worker.guests.retain(|id, _| assigned(id).is_some());
            for (id, guest) in &mut worker.guests {
                guest.stopping |= assigned(id).is_some_and(|state| state.phase == Phase::Stopping);
                guest.ended &= guest.stopping;
            }
            for record in self.records.values() {
                let state = &record.state;
                if state.worker.as_ref() == Some(&worker.view.name)
                    && matches!(
                        state.phase,
                        Phase::Pending | Phase::Starting | Phase::Running
                    )
                {
                    worker
                        .guests
                        .entry(state.id.clone())
                        .or_insert_with(|| Guest {
                            revision: state.revision,
                            phase: Phase::Pending,
                            ready: false,
                            stopping: false,
                            ended: false,
                            ports: state.needs.ports.clone(),
                            lacks_port: false,
                        });
                }
                if state.worker.as_ref() == Some(&worker.view.name)
                    && state.phase == Phase::Stopping
                    && !worker.guests.contains_key(&state.id)
                {
                    stopped.push(state.id.clone());
                }
            }
        }
        for id in stopped {
            self.report(&id, Phase::Stopped, false);
        }
    }

    /// What the worker says of a guest.
    pub fn report(&mut self, id: &str, phase: Phase, ready: bool) {
        let Some(record) = self.records.get(id) else {
            return;
        };
        match (record.state.phase, phase) {
            (Phase::Stopping | Phase::Lost, Phase::Stopped) => self.enter(id, phase, false),
            (Phase::Stopping | Phase::Lost, _) => {}
            _ => self.enter(id, phase, ready),
        }
        let lacks_port = self.workers.iter().any(|worker| {
            let guest = worker.guests.get(id);
            guest.is_some_and(|guest| guest.lacks_port)
        });
        if lacks_port && let Some(record) = self.records.get_mut(id) {
            record.state.failure = Failure::PortUnavailable;
        }
    }
}
