//! The effects of a worker's machine on its process.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use tokio::{sync::watch, time::Instant};
use warren_worker::lease::{BootTime, Clock};

use crate::chance::Chance;

/// A process that may hang, as one does between SIGSTOP and SIGCONT. Clones are the same process.
#[derive(Clone)]
pub struct Hang(watch::Sender<bool>);

/// The time since a machine was booted. No two machines' clocks run at the same speed.
pub struct MachineClock {
    started: Instant,
    up_for: Duration,
    /// The speed of the clock, in thousandths of the right one.
    speed: u32,
}

// === impl Hang ===

impl Hang {
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub fn set(&self, hangs: bool) {
        self.0.send_replace(hangs);
    }

    /// Runs a task of the process, which is not polled while the process hangs.
    pub fn with<T: Future>(&self, task: T) -> impl Future<Output = T::Output> + use<T> {
        let hangs = self.0.subscribe();
        async move {
            let mut task = pin!(task);
            let mut goes_on: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
            poll_fn(|context| {
                if goes_on.is_none() && *hangs.borrow() {
                    let mut hangs = hangs.clone();
                    goes_on = Some(Box::pin(async move {
                        // It fails only when the process is gone.
                        let _ = hangs.wait_for(|hangs| !hangs).await;
                    }));
                }
                if let Some(waits) = &mut goes_on
                    && waits.as_mut().poll(context).is_pending()
                {
                    return Poll::Pending;
                }
                goes_on = None;
                task.as_mut().poll(context)
            })
            .await
        }
    }
}

// === impl MachineClock ===

impl MachineClock {
    /// Returns a clock that is up to 5% fast or slow.
    pub fn new(chance: &Chance) -> Self {
        let speed = chance.number(950..=1050);
        Self {
            started: Instant::now(),
            up_for: chance.millis(0..=1_000_000),
            speed: u32::try_from(speed).unwrap_or(1000),
        }
    }
}

impl Clock for MachineClock {
    fn now(&self) -> BootTime {
        BootTime(self.up_for + self.started.elapsed() * self.speed / 1000)
    }
}
