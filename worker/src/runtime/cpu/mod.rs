//! Shares the CPU between guests.
//!
//! A guest computes on a thread of the async runtime until it waits for something or until its
//! slice is over, and then it yields. Yielding alone is not enough: many guests that never wait
//! would take turns with the few that do. A share that exceeds its allowance therefore has to ask
//! for each further turn. There are fewer turns at once than threads, and they are granted by
//! weight. A guest that computes little thus always finds a free thread, and guests that compute
//! without end divide the rest.

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
use clock::EpochClock;
pub(super) use clock::SLICE;
use queue::{FairQueue, Progress, Tag};

/// A share that never asks for a turn computes at most 1/`LEAST_STRETCH` of a core over time, and
/// less when many shares ask.
const LEAST_STRETCH: u64 = 8;

/// The number of simultaneous turns for each core. It is more than one because the kernel may
/// preempt a thread during its turn.
const PLACES_PER_CORE: usize = 2;

/// Returns the number of threads that tokio needs: one for each turn, and as many again, so that a
/// thread is always free for guests that compute little, for timers and for sockets.
pub fn threads() -> usize {
    cores() * PLACES_PER_CORE * 2
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

thread_local! {
    /// The time at which the guest on this thread began its slice.
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Whether it has yielded since, with more to compute.
    static YIELDED: Cell<bool> = const { Cell::new(false) };
}

/// Divides the CPU of this process between guests.
pub struct CpuScheduler {
    clock: EpochClock,
    began: Instant,
    places: usize,
    queue: Mutex<FairQueue<Waker>>,
    /// The number of shares in `queue`.
    asking: AtomicUsize,
}

/// The part of the CPU that one guest, or a group of them, may take, in proportion to its weight.
pub struct CpuShare {
    scheduler: Arc<CpuScheduler>,
    usage: Arc<ReplicaUsage>,
    allowance: Allowance,
    /// It is changed while the scheduler's queue is locked: the queue is locked first.
    progress: Mutex<Progress>,
}

/// A turn that was asked for. Dropping it releases the turn, or leaves the queue.
struct Turn<'a> {
    share: &'a CpuShare,
    /// The position in the queue, if the turn was not free at once.
    tag: Option<Tag>,
    took: Duration,
}

// === impl CpuScheduler ===

impl CpuScheduler {
    /// Starts the clock of these engines, whose stores must be set up by [`share_cpu`]. Fails if no
    /// thread can be started.
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

    /// Returns the divisor of a core at which allowances refill, chosen so that shares that need
    /// not ask take at most half of the cores.
    fn stretch(&self) -> u64 {
        let asking = self.asking.load(Ordering::Relaxed);
        let stretch = asking * PLACES_PER_CORE * 2 / self.places;
        LEAST_STRETCH.max(stretch as u64)
    }
}

// === impl CpuShare ===

impl CpuShare {
    /// Returns a share whose weight is relative to 100 and whose CPU time is counted in `usage`.
    pub fn new(scheduler: &Arc<CpuScheduler>, weight: u32, usage: &Arc<ReplicaUsage>) -> Self {
        Self {
            scheduler: Arc::clone(scheduler),
            usage: Arc::clone(usage),
            allowance: Allowance::default(),
            progress: Mutex::new(Progress::new(weight)),
        }
    }

    /// Runs `work`, which calls into guests, on account of this share. Nested calls belong to the
    /// outermost call. Dropping the future drops `work`.
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
            // While shares compete, the CPU time of the thread counts. Otherwise the wall time is
            // close enough, and reading the thread's clock takes longer than a short poll.
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
            // The share asks for its next turn before this one ends, so that it competes for it:
            // by the time that the runtime polls it again, other shares would have taken the turn
            // regardless of weights.
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

    /// Returns `Ready` once the turn has begun.
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
        // A tick soon after the beginning belongs to the slice of an earlier guest.
        let begun = BEGUN.get();
        if begun.is_some_and(|begun| begun.elapsed() < SLICE / 2) {
            return Ok(UpdateDeadline::Continue(1));
        }
        YIELDED.set(true);
        Ok(UpdateDeadline::Yield(1))
    });
}

/// Returns the CPU time of the current thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // The clock is never negative.
    time.try_into().unwrap_or_default()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
