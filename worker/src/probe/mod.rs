//! Probes: questions that the worker asks a service again and again, inside its workload's network.

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

use crate::{dial::Dialer, net::Network};

use ask::ask;
use tally::Tally;

/// What a probe has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Healthy,
    /// With the number of failures in a row, and the last of them.
    Unhealthy(String),
}

/// Asks one probe of one life of a service. It has no task of its own: it asks while [`Prober::changed`] is awaited.
pub struct Prober {
    probe: Arc<Probe>,
    dialer: Arc<Dialer>,
    tally: Tally,
    began: Instant,
    /// The question that was asked and is not answered.
    asking: Option<BoxFuture<'static, Result<(), String>>>,
    /// A service that begins to listen is asked at once, so that it need not wait for the next question.
    early: bool,
    /// When the last answer came, early or not.
    answered: Instant,
    /// When the next question is asked at the latest: early ones do not put it off.
    next: Instant,
    listening: watch::Receiver<u64>,
}

/// From an answer to a question that was not due yet: however often a guest opens and closes listeners.
const EARLIEST: Duration = Duration::from_millis(10);

// === impl Prober ===

impl Prober {
    /// For a service whose `run` is called now; it is asked at once.
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

    /// Returns each time the verdict changes; none is given before enough answers have come. Dropping the future loses
    /// nothing: the question goes on with the next call.
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
            // A service that is only beginning to listen may be asked too early: that is no failure of its own.
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

    /// Waits for the time of the next question.
    async fn due(&mut self) {
        while !self.early {
            tokio::select! {
                () = sleep_until(self.next) => return,
                // The network lives as long as the dialer, so its word does not end.
                _ = self.listening.changed(), if !self.tally.has_succeeded() => self.early = true,
            }
        }
        let earliest = self.next.min(self.answered + EARLIEST);
        // A timer takes a turn of its driver even when its time is over.
        if earliest > Instant::now() {
            sleep_until(earliest).await;
        }
        self.early = Instant::now() < self.next;
    }
}
