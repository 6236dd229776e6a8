//! A well-behaved workload beside others, and a client that sends it requests continuously.

use std::{
    collections::BTreeSet,
    fmt,
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime,
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{example, http, wait::within};

const NAME: &str = "neighbour";
/// After this a client has gone elsewhere.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests at once: when so many wait the answers are late already, and more would only be
/// refused.
const AT_ONCE: usize = 8;

/// The client of the workload of [`Neighbour::manifest`]. It has a thread of its own, so that
/// nothing in the test's process holds it up. Dropping it ends the thread.
pub struct Neighbour {
    answers: watch::Receiver<usize>,
    /// Dropped, it tells the thread to end.
    leave: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<Record>>,
}

/// What the client saw.
#[derive(Debug, Default)]
pub struct Record {
    /// From each request to the end of its answer, the shortest first.
    pub latencies: Vec<Duration>,
    /// Of requests that were not answered, or otherwise than well.
    pub failures: Vec<String>,
    /// The service's count of its requests: each number comes once.
    counts: BTreeSet<u32>,
    /// Which lives of the service have answered.
    services: BTreeSet<String>,
}

// === impl Neighbour ===

impl Neighbour {
    /// The counter: each request has an instance of its own, which asks its service over the
    /// workload's loopback.
    pub fn manifest() -> String {
        Self::manifest_of(NAME)
    }

    /// The same under another name.
    pub fn manifest_of(name: &str) -> String {
        let (cache, counter) = (example("cache"), example("counter"));
        format!(
            "name: {name}\n\
             replicas: 1\n\
             service: {{ component: {cache} }}\n\
             components:\n\
             - {{ name: api, component: {counter}, routes: [ {{ host: {name}.localhost, path: / }} ] }}\n"
        )
    }

    /// Asks from now on, each time on a new connection. A request that is late does not delay the
    /// next ones, up to a bound: what many clients would see is what is recorded.
    pub fn ask(worker: SocketAddr, every: Duration) -> Self {
        Self::ask_one(NAME, worker, every)
    }

    /// Asks the workload of [`Neighbour::manifest_of`].
    pub fn ask_one(name: &str, worker: SocketAddr, every: Duration) -> Self {
        let host: Arc<str> = format!("{name}.localhost").into();
        let (answered, answers) = watch::channel(0);
        let (leave, left) = oneshot::channel();
        let asking = async move {
            let (tell, mut outcomes) = mpsc::unbounded_channel();
            let asking = async {
                let mut next = interval(every);
                next.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let slots = Arc::new(Semaphore::new(AT_ONCE));
                tokio::pin!(left);
                loop {
                    tokio::select! {
                        _ = &mut left => break,
                        _ = next.tick() => {}
                    }
                    // Never closed, so there always is one.
                    let slot = Arc::clone(&slots).acquire_owned().await;
                    let (tell, host) = (tell.clone(), Arc::clone(&host));
                    tokio::spawn(async move {
                        let _slot = slot;
                        let began = Instant::now();
                        let outcome = timeout(PATIENCE, count(worker, &host)).await;
                        let outcome = outcome.unwrap_or_else(|_| Err("no answer".to_owned()));
                        // The record is taken when the last request has ended.
                        let _ = tell.send((outcome, began.elapsed()));
                    });
                }
                drop(tell);
            };
            let recording = async {
                let mut record = Record::default();
                while let Some((outcome, took)) = outcomes.recv().await {
                    record.add(outcome, took);
                    answered.send_replace(record.latencies.len());
                }
                record.latencies.sort_unstable();
                record
            };
            tokio::join!(asking, recording).1
        };
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime of one thread").block_on(asking)
        });
        Self {
            answers,
            leave: Some(leave),
            thread: Some(thread),
        }
    }

    /// Returns when so many further requests have been answered.
    pub async fn is_answered(&self, times: usize) {
        let mut answers = self.answers.clone();
        let wanted = *answers.borrow() + times;
        let what = format!("{times} more answers to the neighbour's client");
        let answered = within(&what, answers.wait_for(|answers| *answers >= wanted)).await;
        answered.expect("the client runs until it is stopped");
    }

    /// Asks no more, and tells how it went.
    pub fn leave(mut self) -> Record {
        drop(self.leave.take());
        let thread = self.thread.take().expect("it leaves once");
        thread.join().expect("the client does not panic")
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        drop(self.leave.take());
        if let Some(thread) = self.thread.take() {
            // What it recorded is of no interest to a test that fails.
            let _ = thread.join();
        }
    }
}

/// `3 (component instance 4f1c2a9e, service instance 91bc03d7)`: the number and the service.
async fn count(worker: SocketAddr, host: &str) -> Result<(u32, String), String> {
    let reply = http::try_get(worker, host, "/").await?;
    let text = String::from_utf8_lossy(&reply.body);
    let parse = || {
        let (number, rest) = text.trim_end().split_once(" (component instance ")?;
        let (_, service) = rest.split_once("service instance ")?;
        Some((number.parse().ok()?, service.to_owned()))
    };
    match parse() {
        Some(count) if reply.status == 200 && reply.whole => Ok(count),
        _ => Err(format!("{}: {text}", reply.status)),
    }
}

// === impl Record ===

impl Record {
    fn add(&mut self, outcome: Result<(u32, String), String>, took: Duration) {
        match outcome {
            Ok((number, service)) => {
                self.latencies.push(took);
                self.counts.insert(number);
                self.services.insert(service);
            }
            Err(failure) => self.failures.push(failure),
        }
    }

    /// Every request was answered, by one and the same life of the service, which has forgotten
    /// nothing.
    #[track_caller]
    pub fn assert_served(&self) {
        assert!(self.failures.is_empty(), "{self}: {:#?}", self.failures);
        assert!(!self.latencies.is_empty(), "no request was sent");
        assert_eq!(self.services.len(), 1, "another service answered: {self}");
        let first = self.counts.first().copied().unwrap_or_default();
        let numbers = (first..).take(self.latencies.len());
        assert!(self.counts.iter().copied().eq(numbers), "{:?}", self.counts);
    }

    /// So many hundredths of all latencies are not longer than this.
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.latencies.len() * percent).div_ceil(100);
        let latency = self.latencies.get(rank.saturating_sub(1));
        latency.copied().unwrap_or_default()
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] = [50, 99, 100].map(|percent| self.percentile(percent));
        write!(
            f,
            "{} answers, {} failures, p50 {p50:.1?}, p99 {p99:.1?}, longest {max:.1?}",
            self.latencies.len(),
            self.failures.len()
        )
    }
}
