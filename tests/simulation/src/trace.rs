//! The events of a run, in order.

use std::{fmt::Display, sync::Arc};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::promise::Promise;

/// A line for each event, with its time. Clones share the trace.
#[derive(Clone)]
pub struct Trace {
    started: Instant,
    /// The only promise that is checked, if there is one.
    only: Option<Promise>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    lines: Vec<String>,
    violation: Option<Violation>,
}

/// A promise that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub promise: Promise,
    pub what: String,
}

impl Trace {
    pub fn new(only: Option<Promise>) -> Self {
        Self {
            only,
            started: Instant::now(),
            inner: Arc::default(),
        }
    }

    pub fn note(&self, what: impl Display) {
        let at = self.started.elapsed().as_secs_f64();
        self.inner.lock().lines.push(format!("{at:>9.3}  {what}"));
    }

    /// Records that a promise was broken.
    pub fn violation(&self, promise: Promise, what: impl Display) {
        self.note(format_args!("VIOLATION of {promise:?}: {what}"));
        if self.only.is_some_and(|only| only != promise) {
            return;
        }
        let mut inner = self.inner.lock();
        inner.violation.get_or_insert_with(|| Violation {
            promise,
            what: what.to_string(),
        });
    }

    /// Returns the first violation.
    pub fn violated(&self) -> Option<Violation> {
        self.inner.lock().violation.clone()
    }

    pub fn text(&self) -> String {
        let mut text = self.inner.lock().lines.join("\n");
        text.push('\n');
        text
    }
}
