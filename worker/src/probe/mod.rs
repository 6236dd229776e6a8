//! Probes: checks of a service that the worker repeats, inside the workload's network.

mod ask;
mod tally;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use warren_model::spec::Probe;

use crate::dial::Dialer;

use ask::ask;
use tally::Tally;
use warren_net::Network;

/// The result of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Healthy,
    /// How it failed, as the predicate of a sentence: "failed 3 times in a row: ...", with the last
    /// failure.
    Unhealthy(String),
}

/// Runs one probe during one run of a service. It spawns no task: it runs while [`Prober::changed`]
/// is awaited.
pub struct Prober {
    probe: Arc<Probe>,
    dialer: Arc<Dialer>,
    tally: Tally,
    began: Instant,
    /// The check that is running.
    asking: Option<BoxFuture<'static, Result<(), String>>>,
    /// Whether the next check runs before it is due: a service that begins to listen is checked at
    /// once.
    early: bool,
    /// When the last check completed, early or not.
    answered: Instant,
    /// When the next check is due. Early checks do not delay it.
    next: Instant,
    listening: watch::Receiver<u64>,
}

/// The pause between a check and an early one, however often a guest opens and closes listeners.
const EARLIEST: Duration = Duration::from_millis(10);

// === impl Prober ===

impl Prober {
    /// Creates a prober for a service whose `run` is called now. The first check runs at once.
    pub fn new(network: &Network, probe: &Probe) -> Self {
        let now = Instant::now();
        Self {
            dialer: Arc::new(Dialer::new(network.clone(), probe.check.port().get())),
            tally: Tally::new(probe),
            began: now,
            asking: None,
            early: true,
            answered: now.checked_sub(EARLIEST).unwrap_or(now),
            next: now + probe.interval,
            listening: network.listening(),
            probe: Arc::new(probe.clone()),
        }
    }

    /// Returns the verdict each time it changes, and for the first time once there are enough
    /// results. Cancel safe: a running check continues with the next call.
    pub async fn changed(&mut self) -> Verdict {
        loop {
            if self.asking.is_none() {
                self.due().await;
                self.listening.borrow_and_update();
                let (dialer, probe) = (Arc::clone(&self.dialer), Arc::clone(&self.probe));
                self.asking = Some(Box::pin(async move { ask(&dialer, &probe).await }));
            }
            let Some(asking) = &mut self.asking else {
                continue;
            };
            let answer = asking.await;
            self.asking = None;
            self.answered = Instant::now();
            // A service that is only beginning to listen may be checked too early, which is not a
            // failure.
            let excused = std::mem::take(&mut self.early) && answer.is_err();
            if excused {
                continue;
            }
            self.next = self.answered + self.probe.interval;
            if let Some(verdict) = self.tally.take(answer, self.began.elapsed()) {
                return verdict;
            }
        }
    }

    /// Waits until the next check may run.
    async fn due(&mut self) {
        while !self.early {
            tokio::select! {
                () = sleep_until(self.next) => return,
                // The dialer keeps the network alive, so the channel is never closed.
                _ = self.listening.changed(), if !self.tally.has_succeeded() => self.early = true,
            }
        }
        let earliest = self.next.min(self.answered + EARLIEST);
        // Skip the timer if its time has passed: it would still yield to the timer driver.
        if earliest > Instant::now() {
            sleep_until(earliest).await;
        }
        self.early = Instant::now() < self.next;
    }
}
