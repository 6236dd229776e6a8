//! The places for the invocations of one component. A limited number run, as many again wait in
//! order, and further ones are refused.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError},
    time::{Instant, timeout_at},
};

use super::failure::Failure;
use crate::http::{Admission, Admissions};

/// The places of one component.
pub(super) struct Slots {
    limit: u32,
    /// It is fair: the invocation that has waited longest is next.
    running: Arc<Semaphore>,
    /// The places in the queue, as many as may run.
    queue: Semaphore,
    /// The HTTP requests that are admitted, wait or run.
    requests: Admissions,
}

/// A place. Dropping it admits the next invocation.
pub(super) struct Slot {
    _running: OwnedSemaphorePermit,
    _request: Option<Admission>,
}

// === impl Slots ===

impl Slots {
    pub fn new(limit: u32) -> Self {
        Self {
            limit,
            running: Arc::new(Semaphore::new(limit as usize)),
            queue: Semaphore::new(limit as usize),
            requests: Admissions::default(),
        }
    }

    /// Admits an HTTP request, which will get a place as soon as one is free. Returns `None` once
    /// [`Self::drain`] has been called.
    pub fn admit(&self) -> Option<Admission> {
        self.requests.admit()
    }

    /// Waits for the place of an HTTP request that was admitted; see [`Self::wait`].
    pub async fn request(&self, until: Instant, timeout: Duration) -> Result<Slot, Failure> {
        let request = self.requests.also();
        let mut slot = self.wait(until, timeout).await?;
        slot._request = Some(request);
        Ok(slot)
    }

    /// Waits for a place, in the order of arrival, at most until `until`, which is `timeout` after
    /// the arrival. Returns [`Failure::Busy`] at once if the queue is full, too. Dropping the
    /// future leaves the queue.
    pub async fn wait(&self, until: Instant, timeout: Duration) -> Result<Slot, Failure> {
        match self.now() {
            Err(Failure::Busy { .. }) => {}
            decided => return decided,
        }
        let busy = |_| Failure::Busy { limit: self.limit };
        let _queued = self.queue.try_acquire().map_err(busy)?;
        let running = Arc::clone(&self.running).acquire_owned();
        match timeout_at(until, running).await {
            Ok(permit) => permit
                .map(Slot::new)
                .map_err(|_: AcquireError| Failure::Stopped),
            Err(_) => Err(Failure::Waited {
                limit: self.limit,
                timeout,
            }),
        }
    }

    /// Returns a place at once, or [`Failure::Busy`].
    pub fn now(&self) -> Result<Slot, Failure> {
        let permit = Arc::clone(&self.running).try_acquire_owned();
        permit.map(Slot::new).map_err(|error| match error {
            TryAcquireError::NoPermits => Failure::Busy { limit: self.limit },
            TryAcquireError::Closed => Failure::Stopped,
        })
    }

    /// Stops admitting requests, and completes when those that wait or run have ended. WIT calls
    /// are still accepted, because requests in flight make them.
    pub async fn drain(&self) {
        self.requests.drain().await;
    }

    /// Refuses places from now on, also to the invocations that wait.
    pub fn close(&self) {
        self.requests.close();
        self.running.close();
    }
}

// === impl Slot ===

impl Slot {
    fn new(running: OwnedSemaphorePermit) -> Self {
        Self {
            _running: running,
            _request: None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::pin;

    use futures::{FutureExt as _, poll};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn later() -> Instant {
        Instant::now() + LONG
    }

    #[tokio::test]
    async fn some_run_as_many_wait_in_order_and_more_are_refused() {
        let slots = Slots::new(2);
        let first = slots.request(later(), LONG).await.unwrap();
        let second = slots.wait(later(), LONG).await.unwrap();
        let mut third = pin!(slots.request(later(), LONG));
        let mut fourth = pin!(slots.wait(later(), LONG));
        assert!(poll!(&mut third).is_pending() && poll!(&mut fourth).is_pending());
        let fifth = slots.request(later(), LONG).now_or_never().unwrap();
        assert!(matches!(fifth, Err(Failure::Busy { limit: 2 })));

        drop(first);
        // An invocation that does not wait is not let in before those that do.
        assert!(matches!(slots.now(), Err(Failure::Busy { limit: 2 })));
        assert!(poll!(&mut fourth).is_pending(), "the third came before it");
        let third = third.await.unwrap();
        drop((second, third));
        let _fourth = fourth.await.unwrap();
        assert!(slots.now().is_ok());
    }

    #[tokio::test]
    async fn a_waiter_that_gives_up_or_waited_long_enough_leaves_the_queue() {
        let slots = Slots::new(1);
        let held = slots.now().unwrap();
        {
            let mut gone = pin!(slots.request(later(), LONG));
            assert!(poll!(&mut gone).is_pending());
        }
        let short = Duration::from_millis(5);
        let waited = slots.wait(Instant::now() + short, short).await;
        assert!(matches!(waited, Err(Failure::Waited { limit: 1, .. })));
        let mut next = pin!(slots.wait(later(), LONG));
        assert!(
            poll!(&mut next).is_pending(),
            "its place in the queue is free again"
        );
        drop(held);
        assert!(next.await.is_ok());
    }

    #[tokio::test]
    async fn a_drain_waits_for_running_and_waiting_requests_and_refuses_new_ones() {
        let slots = Slots::new(1);
        let running = slots.request(later(), LONG).await.unwrap();
        let mut waiting = pin!(slots.request(later(), LONG));
        assert!(poll!(&mut waiting).is_pending());
        let mut drain = pin!(slots.drain());
        assert!(poll!(&mut drain).is_pending());
        assert!(slots.admit().is_none());

        drop(running);
        let waiting = waiting.await.unwrap();
        assert!(poll!(&mut drain).is_pending(), "one runs");
        drop(waiting);
        drain.await;
        // A request in flight elsewhere makes this call.
        assert!(slots.now().is_ok());
    }

    #[tokio::test]
    async fn a_stop_ends_the_queue() {
        let slots = Slots::new(1);
        let _held = slots.now().unwrap();
        let mut waiting = pin!(slots.wait(later(), LONG));
        assert!(poll!(&mut waiting).is_pending());
        slots.close();
        assert!(matches!(waiting.await, Err(Failure::Stopped)));
        assert!(matches!(slots.now(), Err(Failure::Stopped)));
    }
}
