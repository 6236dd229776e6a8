//! What goes wrong by itself, from one step to the next.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    network::{FAIR, Peer, Weather},
    world::World,
};

/// How rough this run is.
pub struct Faults {
    /// Chances in a thousand that something goes wrong in a step.
    rate: u32,
    /// When bad weather ends, by machine.
    ends: Vec<(Instant, String, Arc<Peer>)>,
    /// When workers that hang go on.
    hanging: Vec<(Instant, String)>,
}

const DEAD: Weather = Weather {
    up: false,
    down: false,
    ..FAIR
};
/// What a disk takes that is well, in milliseconds.
const FAST: u32 = 4;

// === impl Faults ===

impl Faults {
    /// Some runs are calm but for one kind of trouble, some rough in every way.
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

    /// A machine that comes back is often without its network, at first.
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
                world.trace.note(format_args!("{name}: goes on"));
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

    /// Nothing goes wrong any more.
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
