//! What guests do on their workers.

use std::collections::BTreeMap;

use warren_model::host_port::HostPort;

use super::{
    world::{Guest, Worker},
    *,
};

impl World {
    /// Whether a guest's ports are free on its machine: a stranger may have them, or what its
    /// worker was thought to have lost.
    fn ports_are_free(&self, number: usize, id: &str) -> bool {
        let wanted = &self.workers[number].guests[id].ports;
        let taken = |port: &HostPort| wanted.iter().any(|own| own.conflicts(port));
        let Some(machine) = self.workers[number].view.offers.network.as_ref() else {
            return true;
        };
        let is_other = |(other, worker): &(usize, &Worker)| {
            *other != number && worker.view.offers.network.as_ref() == Some(machine)
        };
        let others = self.workers.iter().enumerate().filter(is_other);
        let mut guests = others.flat_map(|(_, worker)| worker.guests.values());
        let has_started = |guest: &Guest| guest.phase != Phase::Pending;
        !self.stranger.iter().any(taken)
            && !guests.any(|guest| has_started(guest) && guest.ports.iter().any(taken))
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
