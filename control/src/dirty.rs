//! The workloads that the reconciler should look at: each is listed once, however often it changed.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use warren_model::name::WorkloadId;

/// A set that coalesces marks. It is bounded by the number of workloads.
#[derive(Default)]
pub struct DirtySet {
    inner: Mutex<Inner>,
    wake: Notify,
}

#[derive(Default)]
struct Inner {
    ids: BTreeSet<WorkloadId>,
    barriers: Vec<Barrier>,
}

/// A waiter for the moment when all of these have been reconciled.
struct Barrier {
    left: BTreeSet<WorkloadId>,
    passed: oneshot::Sender<()>,
}

// === impl DirtySet ===

impl DirtySet {
    pub fn mark(&self, ids: impl IntoIterator<Item = WorkloadId>) {
        let mut inner = self.inner.lock();
        inner.ids.extend(ids);
        if !inner.ids.is_empty() {
            self.wake.notify_one();
        }
    }

    /// Marks these and waits until each has been reconciled against a state at least as new as now.
    pub async fn settle(&self, ids: impl IntoIterator<Item = WorkloadId>) {
        let left: BTreeSet<_> = ids.into_iter().collect();
        if left.is_empty() {
            return;
        }
        let (passed, wait) = oneshot::channel();
        {
            let mut inner = self.inner.lock();
            inner.ids.extend(left.iter().cloned());
            inner.barriers.retain(|barrier| !barrier.passed.is_closed());
            inner.barriers.push(Barrier { left, passed });
            self.wake.notify_one();
        }
        // The sender is dropped with the set only, which the caller holds.
        let _ = wait.await;
    }

    /// Waits until something is marked. It may have been taken already by then.
    pub async fn marked(&self) {
        self.wake.notified().await;
    }

    /// Takes up to `limit` marked workloads. The caller passes each one to `reconciled` afterwards.
    pub fn take(&self, limit: usize) -> Vec<WorkloadId> {
        let mut inner = self.inner.lock();
        let mut taken = Vec::with_capacity(limit.min(inner.ids.len()));
        while taken.len() < limit
            && let Some(id) = inner.ids.pop_first()
        {
            taken.push(id);
        }
        if !inner.ids.is_empty() {
            self.wake.notify_one();
        }
        taken
    }

    /// Notes that a workload that was taken has been reconciled. Unless it was marked again in the
    /// meantime, waiters for it continue.
    pub fn reconciled(&self, id: &WorkloadId) {
        let mut inner = self.inner.lock();
        if inner.ids.contains(id) {
            return;
        }
        let barriers = std::mem::take(&mut inner.barriers);
        for mut barrier in barriers {
            barrier.left.remove(id);
            if barrier.left.is_empty() {
                // This fails only if the waiter has gone.
                let _ = barrier.passed.send(());
            } else {
                inner.barriers.push(barrier);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::state::keys::parse_id;

    #[tokio::test]
    async fn a_barrier_passes_once_its_workloads_were_reconciled_after_it() {
        let set = DirtySet::default();
        let (a, b) = (
            parse_id("default/a").unwrap(),
            parse_id("default/b").unwrap(),
        );
        set.mark([a.clone()]);
        assert_eq!(set.take(8), std::slice::from_ref(&a));
        // Taken before the barrier: that run may have seen an older state, so it does not count.
        let mut wait = std::pin::pin!(set.settle([a.clone(), b.clone()]));
        assert!(wait.as_mut().now_or_never().is_none());
        set.reconciled(&a);
        assert!(wait.as_mut().now_or_never().is_none());
        assert_eq!(set.take(8), [a.clone(), b.clone()]);
        set.reconciled(&a);
        assert!(wait.as_mut().now_or_never().is_none());
        set.reconciled(&b);
        wait.await;
    }
}
