//! The guest behind the body of an answer: a request's place in an instance, and the time that it
//! has.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};

use crate::runtime::{failure::Failure, http::body::Answering};

use super::Lease;

/// An incomplete answer. Dropping it gives up the request.
pub(super) struct Answer {
    // Fields drop in this order: the place is free before the instance learns that it is done.
    lease: Lease,
    _done: oneshot::Sender<()>,
    deadline: Pin<Box<Sleep>>,
    timeout: Duration,
}

// === impl Answer ===

impl Answer {
    pub fn new(
        lease: Lease,
        done: oneshot::Sender<()>,
        deadline: Instant,
        timeout: Duration,
    ) -> Self {
        Self {
            lease,
            _done: done,
            deadline: Box::pin(sleep_until(deadline)),
            timeout,
        }
    }
}

impl Answering for Answer {
    fn release(self) {
        self.lease.finish();
    }

    fn has_failed(&self) -> bool {
        self.lease.has_failed()
    }

    /// Other requests may continue in the same instance.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<Failure>> {
        let expired = self.deadline.as_mut().poll(cx);
        expired.map(|()| Some(Failure::Unfinished(self.timeout)))
    }
}
