//! Who takes a request has promised to answer it: between the choice of a replica and its answer,
//! none is stopped.

use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// Requests that were promised an answer.
#[derive(Debug, Default)]
pub struct Admissions(TaskTracker);

/// The promise. Whoever drains the target waits until it is dropped.
#[derive(Debug, Default)]
pub struct Admission {
    _token: Option<TaskTrackerToken>,
}

// === impl Admissions ===

impl Admissions {
    /// `None` once [`Self::drain`] was called.
    pub fn admit(&self) -> Option<Admission> {
        let token = self.0.token();
        // In this order: a drain that does not see the token is seen here.
        (!self.0.is_closed()).then_some(Admission {
            _token: Some(token),
        })
    }

    /// Further ones for who has one: until the last is dropped, however late it was made.
    pub fn also(&self) -> Admission {
        Admission {
            _token: Some(self.0.token()),
        }
    }

    /// Admits no more.
    pub fn close(&self) {
        self.0.close();
    }

    /// Admits no more, and returns when all promises are kept.
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
    async fn a_drain_waits_for_promises_and_admits_nobody() {
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
