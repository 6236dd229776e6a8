//! What the plan promises, after each step and in the end.

use std::collections::BTreeSet;

use super::{
    world::{Guest, Worker},
    *,
};

impl World {
    pub fn available(&self) -> usize {
        self.records
            .values()
            .filter(|record| is_available(&record.state))
            .count()
    }

    pub fn check_before(&self, plan: &Plan) {
        self.check_halted(plan);
        let mut seen = BTreeSet::new();
        for action in &plan.actions {
            let (id, worker) = match action {
                Action::Create {
                    id,
                    placement: Placement::On(worker),
                    ..
                }
                | Action::Place { id, worker } => (id, Some(worker)),
                Action::Create { id, .. }
                | Action::Unschedulable { id, .. }
                | Action::Stop { id, .. }
                | Action::Forget { id }
                | Action::MarkAvailable { id }
                | Action::MarkLost { id }
                | Action::Readmit { id } => (id, None),
                Action::Blame { .. }
                | Action::Acquit { .. }
                | Action::Note(_)
                | Action::RollBack { .. }
                | Action::Finish => continue,
            };
            assert!(
                seen.insert(id),
                "one action for each replica: {:?}",
                plan.actions
            );
            let chosen = |held: &&Worker| worker == Some(&held.view.name);
            if let Some(worker) = self.workers.iter().find(chosen) {
                assert!(worker.view.ready && !worker.view.cordoned);
                self.check_ports(plan, id, worker);
            }
        }
    }

    /// Nothing is placed on a machine where another worker holds its ports, as far as anybody can
    /// know.
    fn check_ports(&self, plan: &Plan, id: &str, worker: &Worker) {
        let placed = self.records.get(id).map(|record| &record.state.needs);
        let wanted = placed.unwrap_or_else(|| &self.desired.as_ref().unwrap().needs);
        let machine = |name: Option<&Name>| {
            let worker = self
                .workers
                .iter()
                .find(|held| Some(&held.view.name) == name);
            worker.and_then(|worker| worker.view.offers.network.clone())
        };
        let own = machine(Some(&worker.view.name));
        let is_given_up = |state: &ReplicaState| {
            plan.actions.iter().any(|action| match action {
                Action::MarkLost { id } | Action::Forget { id } => *id == state.id,
                _ => false,
            })
        };
        for state in self.records.values().map(|record| &record.state) {
            let has_ports = !matches!(
                state.phase,
                Phase::Lost | Phase::Completed | Phase::Failed | Phase::Stopped
            );
            let holds = has_ports && !is_given_up(state);
            if state.id == id || own.is_none() || machine(state.worker.as_ref()) != own || !holds {
                continue;
            }
            let ports = state.needs.ports.iter();
            let mut conflicts =
                ports.filter(|port| wanted.ports.iter().any(|own| own.conflicts(port)));
            assert_eq!(conflicts.next(), None, "{id} beside {}", state.id);
        }
    }

    /// A rollout that stalled costs no replica that still serves.
    fn check_halted(&self, plan: &Plan) {
        let goes_on = |action: &Action| matches!(action, Action::Note(note) if note.moved);
        if !self.revisions.is_stalled() || plan.actions.iter().any(goes_on) {
            return;
        }
        for action in &plan.actions {
            if let Action::Stop { id, reason } = action
                && matches!(
                    reason,
                    StopReason::Superseded { .. } | StopReason::StopFirst { .. }
                )
            {
                let state = &self.records[id].state;
                assert!(!is_available(state), "{id} still served: {reason}");
            }
        }
    }

    pub fn check_after(&self, plan: &Plan, available_before: usize) {
        let Some(desired) = self.desired.as_ref().filter(|desired| !desired.deleting) else {
            return;
        };
        let target = usize::try_from(desired.replicas).unwrap();
        let created = plan
            .actions
            .iter()
            .any(|action| matches!(action, Action::Create { .. }));
        let live = self
            .records
            .values()
            .filter(|record| self.is_live(&record.state))
            .count();
        if created && !self.ever_port {
            let most = target + desired.max_surge as usize;
            assert!(live <= most, "{live} live after {:?}", plan.actions);
        }
        // No update, scaling or return of a worker takes away what is needed; losses did so before
        // the plan was made.
        let lost = |action: &&Action| matches!(action, Action::MarkLost { .. });
        let lost = plan.actions.iter().filter(lost).count();
        if !self.ever_port {
            let needed = target.saturating_sub(desired.max_unavailable as usize);
            let kept = (available_before - lost.min(available_before)).min(needed);
            assert!(self.available() >= kept, "{:?}", plan.actions);
        }
    }

    /// Whether it runs or may be about to, as the control plane has to assume. What failed runs no
    /// more, though its worker has yet to say that it is gone.
    fn is_live(&self, state: &ReplicaState) -> bool {
        let ended = self.workers.iter().any(|worker| {
            let guest = worker.guests.get(&state.id);
            guest.is_some_and(|guest| matches!(guest.phase, Phase::Failed | Phase::Completed))
        });
        let may_run = matches!(
            state.phase,
            Phase::Pending | Phase::Starting | Phase::Running | Phase::Backoff | Phase::Stopping
        );
        may_run && !ended
    }

    /// What holds of the workers themselves, whatever the control plane thinks.
    pub fn check_workers(&self) {
        self.check_exclusive();
        for worker in &self.workers {
            let known = worker
                .guests
                .iter()
                .filter(|(id, _)| self.records.contains_key(*id));
            let ports: Vec<_> = known.flat_map(|(_, guest)| &guest.ports).collect();
            for (index, one) in ports.iter().enumerate() {
                for other in &ports[index + 1..] {
                    assert!(!one.conflicts(other), "{one} is held twice on one worker");
                }
            }
            for (id, guest) in &worker.guests {
                assert!(
                    guest.phase == Phase::Completed || !self.completed.contains(id),
                    "{id} had completed"
                );
            }
        }
    }

    fn check_exclusive(&self) {
        let guests = self
            .workers
            .iter()
            .flat_map(|worker| worker.guests.values());
        let runs = |guest: &&Guest| {
            !guest.ended && !matches!(guest.phase, Phase::Completed | Phase::Failed)
        };
        let running = guests.filter(runs);
        let exclusive = self.desired.as_ref().is_some_and(|it| it.exclusive);
        assert!(!exclusive || running.count() <= 1, "{:#?}", self.workers);
    }

    /// Nothing runs where nothing should. What has ended there is only shown.
    fn check_drained(&self) {
        for worker in self.workers.iter().filter(|worker| worker.view.draining) {
            let ended = |guest: &Guest| matches!(guest.phase, Phase::Completed | Phase::Failed);
            assert!(worker.guests.values().all(ended), "{:#?}", worker.guests);
        }
    }

    pub fn check_settled(&self) {
        let Some(desired) = &self.desired else {
            assert!(self.records.is_empty());
            assert!(self.workers.iter().all(|worker| worker.guests.is_empty()));
            return;
        };
        assert!(!desired.deleting, "it is finished");
        let target = usize::try_from(desired.replicas).unwrap();
        let states: Vec<_> = self.records.values().map(|record| &record.state).collect();
        let available = states.iter().filter(|state| is_available(state)).count();
        if target > 0 && !self.revisions.works(desired.revision) {
            // Nothing that works was there to go back to, or nobody asked for it.
            assert!(self.revisions.is_stalled(), "{desired:#?}");
            // Those that are to leave have others beside them.
            let leaves = |state: &ReplicaState| {
                let here = |worker: &&Worker| Some(&worker.view.name) == state.worker.as_ref();
                let worker = self.workers.iter().find(here);
                worker.is_some_and(|worker| worker.view.draining)
            };
            let present =
                |state: &&&ReplicaState| state.revision == desired.revision && !leaves(state);
            let most = target.max(desired.max_surge as usize);
            assert!(states.iter().filter(present).count() <= most, "{states:#?}");
            return;
        }
        if self.revisions.is_stalled() && available >= target {
            // It was late for want of workers, and what came back with them serves: nothing more is
            // taken away.
            return;
        }
        // The last two are on one machine.
        let drained = |worker: &Worker| worker.view.draining;
        let hosts = usize::from(!drained(&self.workers[0])) + 1;
        if desired.needs.ports.is_empty() {
            self.check_drained();
        }
        if !desired.needs.ports.is_empty() && target > hosts {
            // More than can be: no worker holds a port twice. What is there of old ones may stay.
            assert!(available >= hosts, "{states:#?}");
            return;
        }
        assert_eq!(available, target, "{states:#?}");
        assert_eq!(states.len(), target, "{states:#?}");
        assert!(
            states
                .iter()
                .all(|state| state.revision == desired.revision),
            "{states:#?}"
        );
        assert!(target == 0 || self.revisions.is_complete(), "{desired:#?}");
        let guests: usize = self.workers.iter().map(|worker| worker.guests.len()).sum();
        assert_eq!(guests, target);
    }
}

fn is_available(state: &ReplicaState) -> bool {
    state.ready || (state.phase == Phase::Completed)
}
