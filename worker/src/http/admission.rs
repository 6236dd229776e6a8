//! Admission of requests: a target that admits a request must answer it, so a replica is not
//! stopped between its choice and its answer.

use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// The requests that have been admitted.
#[derive(Debug, Default)]
pub struct Admissions(TaskTracker);

/// An admitted request. A drain of its target waits until this is dropped.
#[derive(Debug, Default)]
pub struct Admission {
    _token: Option<TaskTrackerToken>,
}

// === impl Admissions ===

impl Admissions {
    /// Admits a request. Returns `None` once [`Self::drain`] has been called.
    pub fn admit(&self) -> Option<Admission> {
        let token = self.0.token();
        // The token is taken first, so a drain that does not see the token is seen here.
        (!self.0.is_closed()).then_some(Admission {
            _token: Some(token),
        })
    }

    /// Returns another admission for a request that has one. A drain waits for the last of them,
    /// however late it was taken.
    pub fn also(&self) -> Admission {
        Admission {
            _token: Some(self.0.token()),
        }
    }

    /// Admits no further requests.
    pub fn close(&self) {
        self.0.close();
    }

    /// Admits no further requests, and completes when all admissions are dropped.
    pub async fn drain(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::pin;

    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn a_drain_waits_for_admitted_requests_and_admits_no_more() {
        let admissions = Admissions::default();
        let first = admissions.admit().unwrap();
        let mut drain = pin!(admissions.drain());
        assert!(poll!(&mut drain).is_pending());
        assert!(admissions.admit().is_none());
        let second = admissions.also();
        drop(first);
        assert!(poll!(&mut drain).is_pending());
        drop(second);
        drain.await;
        assert!(admissions.admit().is_none());
    }
}
