//! The faults that happen by themselves, from one step to the next.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    network::{FAIR, Peer, Weather},
    world::World,
};

/// The faults of one run.
pub struct Faults {
    /// The chance that something goes wrong in a step, in thousandths.
    rate: u32,
    /// The end of bad weather, by machine.
    ends: Vec<(Instant, String, Arc<Peer>)>,
    /// The time at which workers that hang resume.
    hanging: Vec<(Instant, String)>,
}

const DEAD: Weather = Weather {
    up: false,
    down: false,
    ..FAIR
};
/// The longest time that a healthy disk takes, in milliseconds.
const FAST: u32 = 4;

// === impl Faults ===

impl Faults {
    /// Draws how rough a run is: some are calm except for one kind of fault, some rough in every
    /// way.
    pub fn begin(world: &World) -> Self {
        let chance = &world.chance;
        let pick = |values: &[u32]| values[chance.index(values.len())];
        world.perils.store.store(pick(&[0, 0, 3, 10]), Relaxed);
        world.perils.flush.store(pick(&[4, 60, 400]), Relaxed);
        world.perils.files.store(pick(&[0, 5, 50]), Relaxed);
        world.perils.disk.store(pick(&[3, 300, 1500]), Relaxed);
        world.perils.late.store(chance.of_thousand(500), Relaxed);
        world.perils.guests.store(pick(&[0, 100, 400]), Relaxed);
        Self {
            rate: pick(&[3, 10, 25]),
            ends: Vec::new(),
            hanging: Vec::new(),
        }
    }

    pub fn step(&mut self, world: &mut World) {
        self.clear_up(world, Instant::now());
        self.cut_off_dead(world);
        if !world.chance.of_thousand(self.rate) {
            return;
        }
        let peers = world.peers();
        let (name, peer) = peers[world.chance.index(peers.len())].clone();
        let worker = world.workers.get(&name);
        let runs = worker.is_some_and(|worker| !worker.is_down());
        match world.chance.number(0..=14) {
            0 if world.control.down_until.is_none() => world.kill_control(""),
            1 | 2 if runs => world.kill_worker(&name, ""),
            13 | 14 if world.stop_worker(&name) => {}
            3 | 4 => {
                world
                    .trace
                    .note(format_args!("{name}: is cut off for a moment"));
                peer.cut();
            }
            5 | 6 if world.hang(&name, true) => {
                let lasts = world.chance.millis(100..=20_000);
                world
                    .trace
                    .note(format_args!("{name}: hangs for {lasts:?}"));
                self.hanging.push((Instant::now() + lasts, name));
            }
            kind => {
                let weather = match kind {
                    7 => Weather { up: false, ..FAIR },
                    8 => Weather {
                        down: false,
                        ..FAIR
                    },
                    9 => Weather {
                        slow: 3_000,
                        ..FAIR
                    },
                    10 => Weather {
                        twice: true,
                        slow: 500,
                        ..FAIR
                    },
                    _ => DEAD,
                };
                let lasts = world.chance.millis(100..=40_000);
                self.change(world, name, peer, weather, lasts);
            }
        }
    }

    fn change(
        &mut self,
        world: &World,
        name: String,
        peer: Arc<Peer>,
        weather: Weather,
        lasts: Duration,
    ) {
        world
            .trace
            .note(format_args!("{name}: {weather:?} for {lasts:?}"));
        peer.turn(weather);
        self.ends.push((Instant::now() + lasts, name, peer));
    }

    /// Cuts machines off that are down, so that many come back without a network at first.
    fn cut_off_dead(&mut self, world: &World) {
        let down = world.workers.iter().filter(|(_, it)| it.is_down());
        for (name, worker) in down {
            if worker.peer.weather() == FAIR && world.chance.of_thousand(20) {
                let lasts = world.chance.millis(1_000..=40_000);
                self.change(world, name.clone(), worker.peer.clone(), DEAD, lasts);
            }
        }
    }

    fn clear_up(&mut self, world: &World, now: Instant) {
        self.hanging.retain(|(end, name)| {
            let goes_on = *end > now;
            if !goes_on && world.hang(name, false) {
                world.trace.note(format_args!("{name}: resumes"));
            }
            goes_on
        });
        self.ends.retain(|(end, name, peer)| {
            let goes_on = *end > now;
            if !goes_on {
                world.trace.note(format_args!("{name}: fair weather"));
                peer.turn(FAIR);
            }
            goes_on
        });
    }

    /// Ends all faults.
    pub fn end(mut self, world: &World) {
        for peril in [
            &world.perils.store,
            &world.perils.files,
            &world.perils.guests,
        ] {
            peril.store(0, Relaxed);
        }
        world.perils.late.store(false, Relaxed);
        world.perils.flush.store(FAST, Relaxed);
        world.perils.disk.store(FAST, Relaxed);
        let all = self.ends.iter().map(|(end, ..)| *end);
        let all = all.chain(self.hanging.iter().map(|(end, _)| *end));
        let last = all.max().unwrap_or_else(Instant::now);
        self.clear_up(world, last);
    }
}
