//! The clock that makes guests yield: it advances the epoch of the engines.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use wasmtime::Engine;

/// The time that a guest computes before others get a turn, to within half of it either way.
pub(in crate::runtime) const SLICE: Duration = Duration::from_millis(2);

/// The time between ticks while no guest computes, so that an idle worker costs nothing.
const IDLE_TICK: Duration = Duration::from_millis(100);

/// After this many ticks in a row without a running guest, the clock rests.
const TICKS_TO_REST: u32 = 50;

/// A running clock. Dropping it ends its thread.
pub(super) struct EpochClock {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// True if a guest has computed since the last tick.
    used: AtomicBool,
    resting: AtomicBool,
    stop: AtomicBool,
}

// === impl EpochClock ===

impl EpochClock {
    /// Starts the thread of the clock. Fails if no thread can be started.
    pub fn start(engines: Vec<Engine>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new().name("epoch".into()).spawn({
            let shared = Arc::clone(&shared);
            move || tick(&shared, &engines)
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Records that a guest is about to compute.
    pub fn used(&self) {
        let shared = &*self.shared;
        if shared.used.load(Ordering::Relaxed) {
            return;
        }
        // The clock's thread does these two steps in the opposite order, so at least one side sees
        // the other.
        shared.used.store(true, Ordering::SeqCst);
        if shared.resting.load(Ordering::SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
    }
}

impl Drop for EpochClock {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread only sleeps and counts, so it cannot have panicked.
            let _ = thread.join();
        }
    }
}

fn tick(shared: &Shared, engines: &[Engine]) {
    let mut unused = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        if unused < TICKS_TO_REST {
            thread::park_timeout(SLICE);
        } else {
            shared.resting.store(true, Ordering::SeqCst);
            if !shared.used.load(Ordering::SeqCst) {
                thread::park_timeout(IDLE_TICK);
            }
            shared.resting.store(false, Ordering::SeqCst);
        }
        unused = match shared.used.swap(false, Ordering::SeqCst) {
            true => 0,
            false => unused.saturating_add(1),
        };
        for engine in engines {
            engine.increment_epoch();
        }
    }
}
