//! HTTP/1.1 connections that wait for their next request.

use std::collections::VecDeque;

use hyper::client::conn::http1::SendRequest;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{PortLimits, body::RequestBody};
use crate::dial::Driver;

/// An HTTP/1.1 connection with a single user. Dropping it resets the connection.
pub(super) struct Lease {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) driver: Driver,
}

/// The idle connections of one port, at most [`PortLimits::idle`] of them, each for
/// [`PortLimits::idle_timeout`].
pub(super) struct Pool {
    limits: PortLimits,
    /// The connections, beginning with the one that was unused for longest.
    idle: Mutex<VecDeque<Idle>>,
    filled: Notify,
}

struct Idle {
    lease: Lease,
    since: Instant,
}

// === impl Lease ===

impl Lease {
    /// Closes the connection cleanly.
    pub(super) fn close(self) {
        self.driver.close();
    }
}

// === impl Pool ===

impl Pool {
    pub(super) fn new(limits: PortLimits) -> Self {
        Self {
            limits,
            idle: Mutex::default(),
            filled: Notify::new(),
        }
    }

    /// Returns the connection that was used last, if there is one. It prefers one that takes a
    /// request at once, and drops those that the service has closed.
    pub(super) fn take(&self) -> Option<Lease> {
        let mut idle = self.idle.lock();
        idle.retain(|idle| !idle.lease.sender.is_closed());
        let ready = idle.iter().rposition(|idle| idle.lease.sender.is_ready());
        let best = ready.or_else(|| idle.len().checked_sub(1))?;
        idle.remove(best).map(|idle| idle.lease)
    }

    /// Keeps a connection whose response has ended.
    pub(super) fn give(&self, lease: Lease) {
        if lease.sender.is_closed() {
            return lease.close();
        }
        let since = Instant::now();
        let mut idle = self.idle.lock();
        idle.push_back(Idle { lease, since });
        let (surplus, first) = (idle.len() > self.limits.idle, idle.len() == 1);
        let surplus = surplus.then(|| idle.pop_front()).flatten();
        drop(idle);
        if first {
            self.filled.notify_one();
        }
        if let Some(idle) = surplus {
            idle.lease.close();
        }
    }

    /// Closes connections that were unused for too long, for as long as it runs.
    pub(super) async fn reap(&self) {
        loop {
            match self.close_expired(Instant::now()) {
                Some(next) => tokio::time::sleep_until(next).await,
                None => self.filled.notified().await,
            }
        }
    }

    /// Closes these connections, and returns when the next one is due.
    fn close_expired(&self, now: Instant) -> Option<Instant> {
        let mut idle = self.idle.lock();
        let due = |idle: &Idle| idle.since + self.limits.idle_timeout;
        let keep = idle.partition_point(|idle| due(idle) <= now);
        let kept = idle.split_off(keep);
        let expired = std::mem::replace(&mut *idle, kept);
        let next = idle.front().map(due);
        drop(idle);
        for idle in expired {
            idle.lease.close();
        }
        next
    }

    /// Closes all connections.
    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *self.idle.lock());
        for idle in all {
            idle.lease.close();
        }
    }
}
