//! Everything that the seed decides.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::{Instant, sleep};
use warren_model::ambient::simulated::{Delay, Surroundings};

/// A source of decisions. Clones share it.
#[derive(Clone)]
pub struct Chance(Arc<Mutex<StdRng>>);

/// The surroundings of the simulated processes. The time of day follows the runtime's clock.
pub struct Nature {
    chance: Chance,
    started: Instant,
    /// Whether tasks are late now and then.
    rough: Arc<AtomicBool>,
}

/// The number of polls in a thousand that are late.
const LATE: u32 = 50;
/// The longest delay of a late poll, in milliseconds.
const LONGEST: u64 = 60;

/// The time of day at which a run starts, since the Unix epoch: a day in 2026.
const EPOCH: Duration = Duration::from_secs(1_780_000_000);

impl Chance {
    pub fn of(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Returns another source, which this one decides.
    pub fn fork(&self) -> Self {
        Self::of(self.bits())
    }

    pub fn bits(&self) -> u64 {
        self.0.lock().next_u64()
    }

    pub fn of_thousand(&self, chances: u32) -> bool {
        self.0.lock().random_range(0..1000) < chances
    }

    pub fn number(&self, range: RangeInclusive<u64>) -> u64 {
        self.0.lock().random_range(range)
    }

    pub fn index(&self, below: usize) -> usize {
        self.0.lock().random_range(0..below)
    }

    pub fn millis(&self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.number(range))
    }
}

impl Nature {
    pub fn new(chance: Chance, rough: Arc<AtomicBool>) -> Self {
        Self {
            chance,
            started: Instant::now(),
            rough,
        }
    }
}

impl Surroundings for Nature {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + EPOCH + self.started.elapsed()
    }

    fn random(&mut self) -> u64 {
        self.chance.bits()
    }

    fn delay(&mut self) -> Option<Delay> {
        let chances = if self.rough.load(Relaxed) { LATE } else { 0 };
        let is_late = self.chance.of_thousand(chances);
        is_late.then(|| Box::pin(sleep(self.chance.millis(0..=LONGEST))) as Delay)
    }
}
