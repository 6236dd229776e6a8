//! Simulated workers: real sessions with a real control plane, and replicas that are ready as soon
//! as they are assigned.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Streaming, transport::Endpoint};
use warren_proto::v1::{
    self, fleet_service_client::FleetServiceClient, session_request, session_response,
};

/// The maximum number of replicas of a worker, as of a real one.
const REPLICAS: u32 = 1_000;
const MEMORY: u64 = 64 << 30;
/// The number of messages that wait to be sent to the control plane.
const OUTBOX: usize = 1_024;

/// A replica was assigned.
pub struct Assigned {
    pub workload: String,
    pub revision: u32,
    pub at: Instant,
}

/// All workers.
pub struct Fleet {
    workers: Vec<Worker>,
    /// In the order in which the workers received them.
    pub assigned: mpsc::UnboundedReceiver<Assigned>,
    /// The number of replicas that all workers hold.
    held: watch::Receiver<usize>,
}

/// A worker that disappears without notice when it is dropped.
pub struct Worker {
    held: Arc<AtomicUsize>,
    _session: AbortOnDropHandle<()>,
}

struct Session {
    requests: mpsc::Sender<v1::SessionRequest>,
    responses: Streaming<v1::SessionResponse>,
    sequence: u64,
    /// The time at which each replica was assigned.
    held: HashMap<String, prost_types::Timestamp>,
    tell: Tell,
}

#[derive(Clone)]
struct Tell {
    assigned: mpsc::UnboundedSender<Assigned>,
    all: Arc<watch::Sender<usize>>,
    own: Arc<AtomicUsize>,
}

// === impl Fleet ===

impl Fleet {
    /// Returns when every worker has been welcomed.
    pub async fn join(url: &str, workers: u32) -> anyhow::Result<Self> {
        let (sender, assigned) = mpsc::unbounded_channel();
        let (all, held) = watch::channel(0);
        let all = Arc::new(all);
        let mut joined = Vec::new();
        for number in 0..workers {
            let own = Arc::<AtomicUsize>::default();
            let tell = Tell {
                assigned: sender.clone(),
                all: Arc::clone(&all),
                own: Arc::clone(&own),
            };
            let (session, every) = Session::open(url, number, tell).await?;
            joined.push(Worker {
                held: own,
                _session: AbortOnDropHandle::new(tokio::spawn(session.run(every))),
            });
        }
        Ok(Self {
            workers: joined,
            assigned,
            held,
        })
    }

    /// Waits until all workers together hold this many replicas.
    pub async fn holds(&mut self, replicas: usize) -> anyhow::Result<()> {
        self.held.wait_for(|held| *held == replicas).await?;
        Ok(())
    }

    /// Drops the worker with the most replicas. Returns how many it held.
    pub fn lose(&mut self) -> anyhow::Result<usize> {
        let held = |at: &usize| self.workers[*at].held.load(Ordering::Relaxed);
        let most = (0..self.workers.len()).max_by_key(held);
        let worker = self
            .workers
            .swap_remove(most.context("there are no workers")?);
        Ok(worker.held.load(Ordering::Relaxed))
    }

    /// Discards the assignments that were received so far.
    pub fn drain(&mut self) {
        while self.assigned.try_recv().is_ok() {}
    }
}

// === impl Session ===

impl Session {
    async fn open(url: &str, number: u32, tell: Tell) -> anyhow::Result<(Self, Duration)> {
        let channel = Endpoint::from_shared(url.to_owned())?.connect().await?;
        let (requests, outbox) = mpsc::channel(OUTBOX);
        let hello = v1::Hello {
            protocol_version: 1,
            worker_id: format!("simulated-{number}"),
            name: format!("simulated-{number}"),
            // Nothing listens there.
            address: "http://127.0.0.1:9".to_owned(),
            capacity: Some(v1::Resources {
                memory_bytes: MEMORY,
                replicas: REPLICAS,
                keeps_reserves: Some(true),
            }),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..v1::Hello::default()
        };
        requests
            .send(request(session_request::Message::Hello(hello)))
            .await?;
        let mut client = FleetServiceClient::new(channel).max_decoding_message_size(64 << 20);
        let responses = client.session(ReceiverStream::new(outbox)).await?;
        let mut responses = responses.into_inner();
        let first = responses.message().await?.and_then(|first| first.message);
        let Some(session_response::Message::Welcome(welcome)) = first else {
            anyhow::bail!("the control plane did not send Welcome: {first:?}");
        };
        let every = welcome
            .heartbeat_interval
            .context("Welcome has no heartbeat interval")?;
        let every = Duration::try_from(every)?;
        ensure!(!every.is_zero(), "heartbeats without a pause");
        let session = Self {
            requests,
            responses,
            sequence: 0,
            held: HashMap::new(),
            tell,
        };
        Ok((session, every))
    }

    /// Runs until the control plane ends the session.
    async fn run(mut self, every: Duration) {
        let mut beat = interval(every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let sent = tokio::select! {
                _ = beat.tick() => self.beat().await,
                message = self.responses.message() => match message {
                    Ok(Some(message)) => self.take(message).await,
                    Ok(None) | Err(_) => Err(()),
                },
            };
            if sent.is_err() {
                return;
            }
        }
    }

    async fn beat(&mut self) -> Result<(), ()> {
        self.sequence += 1;
        let beat = v1::Heartbeat {
            sequence: self.sequence,
            ..v1::Heartbeat::default()
        };
        self.send(session_request::Message::Heartbeat(beat)).await
    }

    async fn take(&mut self, message: v1::SessionResponse) -> Result<(), ()> {
        let Some(session_response::Message::Assignments(assignments)) = message.message else {
            return Ok(());
        };
        for assignment in assignments.assign {
            let since = std::time::SystemTime::now().into();
            if self
                .held
                .insert(assignment.replica.clone(), since)
                .is_some()
            {
                continue;
            }
            self.count(|held| held + 1);
            let assigned = Assigned {
                workload: assignment.workload,
                revision: assignment.revision,
                at: Instant::now(),
            };
            // The receiver may be gone.
            let _ = self.tell.assigned.send(assigned);
            let running = v1::replica::Phase::Running;
            self.report(assignment.replica, running, since).await?;
        }
        for replica in assignments.stop {
            if let Some(since) = self.held.remove(&replica) {
                self.count(|held| held - 1);
                let stopped = v1::replica::Phase::Stopped;
                self.report(replica, stopped, since).await?;
            }
        }
        Ok(())
    }

    fn count(&self, change: impl Fn(usize) -> usize) {
        self.tell.own.store(self.held.len(), Ordering::Relaxed);
        self.tell.all.send_modify(|held| *held = change(*held));
    }

    async fn report(
        &self,
        replica: String,
        phase: v1::replica::Phase,
        since: prost_types::Timestamp,
    ) -> Result<(), ()> {
        let report = v1::ReplicaReport {
            replica,
            phase: phase.into(),
            ready: phase == v1::replica::Phase::Running,
            since: Some(since),
            ..v1::ReplicaReport::default()
        };
        self.send(session_request::Message::Report(report)).await
    }

    async fn send(&self, message: session_request::Message) -> Result<(), ()> {
        self.requests.send(request(message)).await.map_err(|_| ())
    }
}

fn request(message: session_request::Message) -> v1::SessionRequest {
    v1::SessionRequest {
        message: Some(message),
    }
}
