//! What guests do on their workers.

use std::collections::BTreeMap;

use warren_model::host_port::HostPort;

use super::{
    world::{Guest, Worker},
    *,
};

impl World {
    /// Whether a guest's ports are free on its machine. Whoever has them was not to be seen.
    fn ports_are_free(&self, number: usize, id: &str) -> bool {
        let network = |worker: &Worker| worker.view.offers.network.clone();
        let shared = network(&self.workers[number]);
        let wanted = &self.workers[number].guests[id].ports;
        let taken = |port: &HostPort| wanted.iter().any(|own| own.conflicts(port));
        if shared.is_some() && self.stranger.iter().any(taken) {
            return false;
        }
        let others = self.workers.iter().enumerate().filter(|(other, worker)| {
            *other != number && shared.is_some() && network(worker) == shared
        });
        for (other, guest) in others.flat_map(|(_, worker)| &worker.guests) {
            if guest.phase == Phase::Pending || !guest.ports.iter().any(taken) {
                continue;
            }
            let phase = |id: &str| self.records.get(id).map(|record| record.state.phase);
            // Nobody sees what a lost worker runs, and what it was told before may start there yet.
            let is_seen = |id: &str| !matches!(phase(id), None | Some(Phase::Lost | Phase::Failed));
            let is_wanted = is_seen(id) && phase(id) != Some(Phase::Stopping);
            assert!(
                !is_wanted || !is_seen(other),
                "{id} was placed on a machine where {other} has its ports"
            );
            return false;
        }
        true
    }

    pub fn advance(&mut self, number: usize, which: u8) {
        let Some(id) = pick(&self.workers[number].guests, which) else {
            return;
        };
        let is_free = self.ports_are_free(number, &id);
        let worker = &mut self.workers[number];
        let guest = worker.guests.get_mut(&id).unwrap();
        let works = self.revisions.works(guest.revision);
        let (phase, ready) = match (guest.stopping, guest.phase) {
            (true, _) => (Phase::Stopped, false),
            (_, Phase::Pending) if !is_free => {
                guest.lacks_port = true;
                guest.ports.clear();
                (Phase::Failed, false)
            }
            (_, Phase::Pending) => (Phase::Starting, false),
            (_, Phase::Starting) => (Phase::Running, false),
            (_, Phase::Running) => (Phase::Running, works),
            (_, phase) => (phase, false),
        };
        (guest.phase, guest.ready) = (phase, ready);
        if phase == Phase::Stopped {
            worker.guests.remove(&id);
        }
        if worker.view.ready {
            self.report(&id, phase, ready);
        }
    }

    pub fn end(&mut self, number: usize, which: u8, phase: Phase) {
        let worker = &mut self.workers[number];
        let Some(id) = pick(&worker.guests, which) else {
            return;
        };
        let guest = worker.guests.get_mut(&id).unwrap();
        if guest.phase != Phase::Running || guest.stopping {
            return;
        }
        // What has completed has done its work: a revision that does not work never gets there.
        if phase == Phase::Completed && !self.revisions.works(guest.revision) {
            return;
        }
        (guest.phase, guest.ready) = (phase, false);
        guest.ports.clear();
        if worker.view.ready {
            self.report(&id, phase, false);
        }
        if phase == Phase::Completed {
            self.completed.insert(id);
        }
    }
}

fn pick(guests: &BTreeMap<String, Guest>, which: u8) -> Option<String> {
    let index = usize::from(which).checked_rem(guests.len())?;
    guests.keys().nth(index).cloned()
}
