//! The worker's one lease, as its session renews it and its exclusive replicas live by it.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{BootClock, BootTime, Clock, Lease};
use crate::watch;

/// Renewed by the session, and looked at by whatever runs an exclusive replica's guests, each time before it does: two
/// atomic loads and a clock that is read without a system call.
pub struct SharedLease {
    clock: Box<dyn Clock>,
    /// In nanoseconds since boot.
    until: AtomicU64,
    /// How often it was given anew after it was over. Written before `until` and read after it.
    given: AtomicU64,
    renewed: watch::Sender<()>,
}

/// The lease from one moment on, for as long as it goes on without a gap: in a gap another worker may have run what is
/// exclusive, and what ran here before must not go on, though the lease is held again.
#[derive(Clone)]
pub struct Tenure {
    lease: Arc<SharedLease>,
    given: u64,
}

/// The worker may not run exclusive services at present: it does not know whether the control plane still counts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this worker's lease for exclusive services expired: no heartbeat was acknowledged for 0.7 of the worker timeout"
)]
pub struct LeaseExpired;

/// As tokio's timers count.
const SOONEST: Duration = Duration::from_millis(1);
/// No timer can tell every time: beyond this it is looked at again.
const LATEST: Duration = Duration::from_secs(3600);

// === impl SharedLease ===

impl SharedLease {
    /// Not held before the first acknowledgement.
    pub fn new() -> Arc<Self> {
        Self::with_clock(BootClock)
    }

    pub fn with_clock(clock: impl Clock) -> Arc<Self> {
        Arc::new(Self {
            clock: Box::new(clock),
            until: AtomicU64::new(0),
            given: AtomicU64::new(0),
            renewed: watch::Sender::default(),
        })
    }

    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// A heartbeat was acknowledged. What it gives stands in place of what was before: a control plane with a shorter
    /// timeout gives less. Only the worker's session, of which there is one at a time, may call it.
    pub fn renew(&self, lease: Lease) {
        if !self.now().is_held(self.clock.now()) {
            self.given.fetch_add(1, Release);
        }
        // Beyond what fits are 584 years.
        let until = u64::try_from(lease.until.0.as_nanos()).unwrap_or(u64::MAX);
        self.until.store(until, Release);
        self.renewed.send_replace(());
    }

    /// From now on. It is over at once where the lease is not held.
    pub fn tenure(self: &Arc<Self>) -> Tenure {
        Tenure {
            lease: Arc::clone(self),
            given: self.given.load(Acquire),
        }
    }

    /// Whether it is held at this moment.
    pub fn check(&self) -> Result<(), LeaseExpired> {
        match self.now().is_held(self.clock.now()) {
            true => Ok(()),
            false => Err(LeaseExpired),
        }
    }

    /// Waits until it is held. It may be over again by the time somebody acts on it.
    pub async fn held(&self) {
        let mut renewed = self.renewed.subscribe();
        while self.check().is_err() {
            // Its sender is `self`.
            let _ = renewed.changed().await;
        }
    }

    fn now(&self) -> Lease {
        Lease {
            until: BootTime(Duration::from_nanos(self.until.load(Acquire))),
        }
    }
}

// === impl Tenure ===

impl Tenure {
    pub fn check(&self) -> Result<(), LeaseExpired> {
        self.lease.check()?;
        // After that: whoever saw the lease of a later tenure sees that it is one.
        match self.lease.given.load(Acquire) == self.given {
            true => Ok(()),
            false => Err(LeaseExpired),
        }
    }

    /// Runs `work` for as long as it lasts: looked at before each poll, and when it would be over. Then `work` is dropped,
    /// as it is with this future.
    pub async fn guard<W: Future>(&self, work: W) -> Result<W::Output, LeaseExpired> {
        let mut work = pin!(work);
        let mut end = pin!(sleep_until(self.end()));
        poll_fn(|context| {
            loop {
                self.check()?;
                if end.as_mut().poll(context).is_pending() {
                    break;
                }
                // It was renewed since, or the timer is early.
                end.as_mut().reset(self.end());
            }
            match work.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(Ok(done)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// When it is over unless the lease is renewed. Timers stand still while the machine sleeps, and are late then:
    /// whoever is polled meanwhile is stopped by the clock.
    fn end(&self) -> Instant {
        let left = self.lease.now().left(self.lease.clock.now());
        Instant::now() + left.clamp(SOONEST, LATEST)
    }
}
