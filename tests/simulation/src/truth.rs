//! The true state of the guests, whatever the control plane and the workers know.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::Mutex;
use warren_worker::replica::Assignment;

use crate::{promise::Promise, trace::Trace};

/// The guests that run, and where.
pub struct Truth {
    trace: Trace,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The worker of each replica that runs.
    running: BTreeMap<String, String>,
    /// Replicas that have stopped because they were asked to.
    stopped: BTreeSet<String>,
    /// The latest start of each exclusive workload.
    latest: BTreeMap<String, Latest>,
    starts: u64,
}

#[derive(Clone)]
struct Latest {
    fence: u64,
    replica: String,
    worker: String,
}

// === impl Truth ===

impl Truth {
    pub fn new(trace: Trace) -> Arc<Self> {
        Arc::new(Self {
            trace,
            inner: Mutex::default(),
        })
    }

    /// Returns the ids of the replicas that run.
    pub fn running(&self) -> BTreeSet<String> {
        self.inner.lock().running.keys().cloned().collect()
    }

    /// Returns the number of starts so far.
    pub fn starts_so_far(&self) -> u64 {
        self.inner.lock().starts
    }

    pub fn starts(&self, worker: &str, assignment: &Assignment, fence: Option<u64>) {
        let replica = &assignment.replica;
        match fence {
            Some(fence) => self
                .trace
                .note(format_args!("{worker}: {replica} starts, fence {fence:#x}")),
            None => self.trace.note(format_args!("{worker}: {replica} starts")),
        }
        let mut inner = self.inner.lock();
        inner.starts += 1;
        if inner.stopped.contains(replica) {
            self.trace.violation(
                Promise::StoppedStaysStopped,
                format_args!("{replica} had stopped, and starts again on {worker}"),
            );
        }
        if let Some(on) = inner.running.get(replica) {
            self.trace.violation(
                Promise::NeverTwice,
                format_args!("{replica} starts on {worker} while it runs on {on}"),
            );
        }
        inner.running.insert(replica.clone(), worker.to_owned());
        if let Some(fence) = fence {
            let starting = Latest {
                fence,
                replica: replica.clone(),
                worker: worker.to_owned(),
            };
            let before = inner.latest.insert(assignment.id.to_string(), starting);
            if let Some(before) = before.filter(|before| before.fence >= fence) {
                let (other, on, its) = (&before.replica, &before.worker, before.fence);
                self.trace.violation(
                    Promise::NeverTwice,
                    format_args!("{replica} starts on {worker}, but the fence of {other} on {on} before it, {its:#x}, is not less"),
                );
            }
        }
    }

    /// Checks that an exclusive service does not act after another one has started.
    pub fn acts(&self, worker: &str, assignment: &Assignment, fence: u64) {
        let inner = self.inner.lock();
        let latest = inner.latest.get(&assignment.id.to_string());
        if let Some(latest) = latest.filter(|latest| latest.fence != fence) {
            let (other, on) = (&latest.replica, &latest.worker);
            let replica = &assignment.replica;
            self.trace.violation(
                Promise::NeverTwice,
                format_args!("{replica} still acts on {worker}, and {other} has started on {on}"),
            );
        }
    }

    pub fn ends(&self, replica: &str, how: &str) {
        self.trace.note(format_args!("{replica} {how}"));
        self.inner.lock().running.remove(replica);
    }

    pub fn stopped(&self, replica: &str) {
        self.trace.note(format_args!("{replica} has stopped"));
        let mut inner = self.inner.lock();
        inner.running.remove(replica);
        inner.stopped.insert(replica.to_owned());
    }

    /// Ends all guests of a worker, whose process has died.
    pub fn all_end(&self, worker: &str) {
        self.inner.lock().running.retain(|_, on| on != worker);
    }
}
