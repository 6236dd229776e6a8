//! The worker's lease, which its session renews and its exclusive replicas check.

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

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{BootClock, BootTime, Clock, Lease};

/// The worker's current lease. The session renews it, and it is checked each time before a guest of
/// an exclusive replica runs: two atomic loads, and a clock that is read without a system call.
pub struct SharedLease {
    clock: Box<dyn Clock>,
    /// The end of the lease, in nanoseconds since boot.
    until: AtomicU64,
    /// How often the lease was granted after it had ended. Written before `until` and read after
    /// it.
    given: AtomicU64,
    renewed: watch::Sender<()>,
}

/// The lease from one moment on, for as long as it is renewed without a gap. During a gap another
/// worker may have run the exclusive service, so what ran here before must not continue even though
/// the lease is held again.
#[derive(Clone)]
pub struct Tenure {
    lease: Arc<SharedLease>,
    given: u64,
}

/// The worker may not run exclusive services at present, because it does not know whether the
/// control plane still considers it alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this worker's lease for exclusive services expired: no heartbeat was acknowledged for 0.7 of the worker timeout"
)]
pub struct LeaseExpired;

/// The resolution of tokio's timers.
const SOONEST: Duration = Duration::from_millis(1);
/// The longest time to set a timer for, as tokio's timers are bounded. The lease is then checked
/// again.
const LATEST: Duration = Duration::from_secs(3600);

// === impl SharedLease ===

impl SharedLease {
    /// Creates a lease that is not held before the first acknowledgement.
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

    /// Replaces the lease after a heartbeat was acknowledged. The new lease may end earlier, as
    /// another control plane may have a shorter timeout. Only the worker's session may call this,
    /// of which there is one at a time.
    pub fn renew(&self, lease: Lease) {
        if !self.now().is_held(self.clock.now()) {
            self.given.fetch_add(1, Release);
        }
        // 64 bits of nanoseconds suffice for 584 years.
        let until = u64::try_from(lease.until.0.as_nanos()).unwrap_or(u64::MAX);
        self.until.store(until, Release);
        self.renewed.send_replace(());
    }

    /// Begins a tenure now. It has ended at once if the lease is not held.
    pub fn tenure(self: &Arc<Self>) -> Tenure {
        Tenure {
            lease: Arc::clone(self),
            given: self.given.load(Acquire),
        }
    }

    /// Checks that the lease is held at this moment.
    pub fn check(&self) -> Result<(), LeaseExpired> {
        match self.now().is_held(self.clock.now()) {
            true => Ok(()),
            false => Err(LeaseExpired),
        }
    }

    /// Waits until the lease is held. It may have ended again when the caller acts on it.
    pub async fn held(&self) {
        let mut renewed = self.renewed.subscribe();
        while self.check().is_err() {
            // Never fails, as `self` owns the sender.
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
    /// Checks that the tenure has not ended.
    pub fn check(&self) -> Result<(), LeaseExpired> {
        self.lease.check()?;
        // In this order: if the check above saw the lease of a later tenure, `given` has changed
        // too.
        match self.lease.given.load(Acquire) == self.given {
            true => Ok(()),
            false => Err(LeaseExpired),
        }
    }

    /// Runs `work` while the tenure lasts, which is checked before each poll and when the lease
    /// would end. When the tenure has ended, `work` is dropped.
    pub async fn guard<W: Future>(&self, work: W) -> Result<W::Output, LeaseExpired> {
        let mut work = pin!(work);
        let mut end = pin!(sleep_until(self.end()));
        poll_fn(|context| {
            loop {
                self.check()?;
                if end.as_mut().poll(context).is_pending() {
                    break;
                }
                // The lease was renewed in the meantime, or the timer fired early.
                end.as_mut().reset(self.end());
            }
            match work.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(Ok(done)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Returns when the tenure ends unless the lease is renewed. Timers stop while the machine is
    /// suspended and then fire late; work that is polled before that is stopped by the clock.
    fn end(&self) -> Instant {
        let left = self.lease.now().left(self.lease.clock.now());
        Instant::now() + left.clamp(SOONEST, LATEST)
    }
}
