//! How guests share the CPU.
//!
//! A guest computes on a thread of the async runtime until it waits for something, or until its
//! slice is over: then it yields. That alone would let many that never wait take turns with few
//! that do. So a share that computes more than its allowance has to ask for each further turn.
//! Turns are few at once, fewer than threads, and go to shares by weight: whoever computes little
//! finds a free thread at once, and whoever computes without end gets what is left over.

mod allowance;
mod clock;
mod queue;

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Engine, Store, UpdateDeadline};

use super::usage::ReplicaUsage;
use allowance::Allowance;
use clock::{EpochClock, SLICE};
use queue::{FairQueue, Progress, Tag};

/// A share that asks for nothing computes at most one so-manieth of a core over time. More are
/// asking: less.
const LEAST_STRETCH: u64 = 8;

/// Turns at once for each core. More than one, because the kernel may take a thread off its core in
/// its turn.
const PLACES_PER_CORE: usize = 2;

/// The threads that tokio needs to run guests: those that guests take in their turns, and as many
/// again, so that there is always one for whoever computes little, for timers and for sockets.
pub fn threads() -> usize {
    (cores() * PLACES_PER_CORE * 2).max(16)
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

thread_local! {
    /// When the guest that this thread runs began its slice.
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Whether it gave way to others since, with more to compute.
    static YIELDED: Cell<bool> = const { Cell::new(false) };
}

/// The CPU of this process, as guests share it.
pub struct CpuScheduler {
    clock: EpochClock,
    began: Instant,
    places: usize,
    queue: Mutex<FairQueue<Waker>>,
    /// Shares in `queue`.
    asking: AtomicUsize,
}

/// What one guest, or a group of them, may take of the CPU, in proportion to its weight.
pub struct CpuShare {
    scheduler: Arc<CpuScheduler>,
    usage: Arc<ReplicaUsage>,
    allowance: Allowance,
    /// Changed with the scheduler's queue locked, in that order.
    progress: Mutex<Progress>,
}

/// A turn that was asked for. Dropping it gives it back.
struct Turn<'a> {
    share: &'a CpuShare,
    /// Where it waits, if it had to.
    tag: Option<Tag>,
    took: Duration,
}

// === impl CpuScheduler ===

impl CpuScheduler {
    /// Stores of these engines must be set up by [`share_cpu`]. Fails when no thread can be
    /// started.
    pub fn start(engines: Vec<Engine>) -> std::io::Result<Self> {
        let places = cores() * PLACES_PER_CORE;
        Ok(Self {
            clock: EpochClock::start(engines)?,
            began: Instant::now(),
            places,
            queue: Mutex::new(FairQueue::new(places, nanos(SLICE))),
            asking: AtomicUsize::new(0),
        })
    }

    fn at(&self, time: Instant) -> u64 {
        nanos(time.saturating_duration_since(self.began))
    }

    /// At which part of a core allowances refill: so that those who need not ask take half of the
    /// cores at most.
    fn stretch(&self) -> u64 {
        let asking = self.asking.load(Ordering::Relaxed);
        let stretch = asking * PLACES_PER_CORE * 2 / self.places;
        LEAST_STRETCH.max(stretch as u64)
    }
}

// === impl CpuShare ===

impl CpuShare {
    /// `weight` is relative to 100; what it computes is counted in `usage`.
    pub fn new(scheduler: &Arc<CpuScheduler>, weight: u32, usage: &Arc<ReplicaUsage>) -> Self {
        Self {
            scheduler: Arc::clone(scheduler),
            usage: Arc::clone(usage),
            allowance: Allowance::default(),
            progress: Mutex::new(Progress::new(weight)),
        }
    }

    /// Runs `work`, which calls into guests, as this share's. Nested calls are part of the
    /// outermost. Dropping the future drops `work`.
    pub async fn run<W: Future>(&self, work: W) -> W::Output {
        let mut work = pin!(work);
        let mut turn = None;
        poll_fn(|context| {
            let scheduler = &*self.scheduler;
            let mut begun = Instant::now();
            let stretch = scheduler.stretch();
            if turn.is_none() && self.allowance.is_spent(scheduler.at(begun), stretch) {
                turn = Some(Turn::ask(self, context));
            }
            if let Some(turn) = &turn
                && turn.tag.is_some()
            {
                ready!(turn.poll(context));
                begun = Instant::now();
            }
            // Where shares compete, what each had of a core counts. Else having had a thread is
            // near enough, and looking at its own clock takes longer than a short poll.
            let competes = turn.as_ref().is_some_and(|turn| turn.tag.is_some());
            let before = competes.then(thread_time);
            scheduler.clock.used();
            BEGUN.set(Some(begun));
            let result = work.as_mut().poll(context);
            BEGUN.set(None);
            let yielded = YIELDED.replace(false);
            let now = Instant::now();
            let took = before.map_or(now - begun, |before| thread_time().saturating_sub(before));
            self.usage.computed(took);
            self.allowance
                .spend(scheduler.at(now), nanos(took), stretch);
            // Before the turn ends, so that this share is among those who may have the next one: by
            // the time the runtime polls it again, others would have taken it whatever their
            // weights.
            let goes_on = yielded && self.allowance.is_spent(scheduler.at(now), stretch);
            let next = goes_on.then(|| Turn::ask(self, context));
            if let Some(mut ended) = std::mem::replace(&mut turn, next) {
                ended.took = took;
            }
            result
        })
        .await
    }
}

// === impl Turn ===

impl<'a> Turn<'a> {
    fn ask(share: &'a CpuShare, context: &Context<'_>) -> Self {
        let scheduler = &*share.scheduler;
        let mut queue = scheduler.queue.lock();
        let tag = queue.ask(&mut share.progress.lock(), || context.waker().clone());
        scheduler.asking.store(queue.shares(), Ordering::Relaxed);
        Self {
            share,
            tag,
            took: Duration::ZERO,
        }
    }

    /// Ready once it has begun.
    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut queue = self.share.scheduler.queue.lock();
        match self.tag.and_then(|tag| queue.waiter(tag)) {
            None => Poll::Ready(()),
            Some(waker) => {
                waker.clone_from(context.waker());
                Poll::Pending
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let scheduler = &*self.share.scheduler;
        let next = {
            let mut queue = scheduler.queue.lock();
            let mut progress = self.share.progress.lock();
            let left = self.tag.and_then(|tag| queue.leave(&mut progress, tag));
            let next = match left {
                Some(_) => None,
                None => queue.end(&mut progress, nanos(self.took)),
            };
            scheduler.asking.store(queue.shares(), Ordering::Relaxed);
            next
        };
        if let Some(next) = next {
            next.wake();
        }
    }
}

/// Makes guests in this store yield when their slice is over.
pub(super) fn share_cpu<T: 'static>(store: &mut Store<T>) {
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|_| {
        // A tick that comes soon after the beginning is of somebody else's slice.
        let begun = BEGUN.get();
        if begun.is_some_and(|begun| begun.elapsed() < SLICE / 2) {
            return Ok(UpdateDeadline::Continue(1));
        }
        YIELDED.set(true);
        Ok(UpdateDeadline::Yield(1))
    });
}

/// What the present thread has computed.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Never negative.
    time.try_into().unwrap_or_default()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
