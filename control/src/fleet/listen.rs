//! Receives a worker's messages: heartbeats are answered at once, and all others are queued to be
//! stored.

use std::{sync::Arc, time::Instant as StdInstant};

use futures::{TryStreamExt as _, stream::BoxStream};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc},
    task::coop,
    time::{Instant, sleep_until},
};
use warren_model::name::Name;
use warren_proto::v1::{self, replica::Phase, session_request, session_response};

use super::{
    Fleet, bounds,
    error::SessionError,
    intake::{Intake, Message},
    member::Member,
};

/// The messages of a worker as they arrive.
pub type Inbound = BoxStream<'static, Result<v1::SessionRequest, SessionError>>;
pub type Sender = mpsc::Sender<Result<v1::SessionResponse, SessionError>>;

/// The channel to a worker. Acknowledgements overtake all other messages.
pub struct Outbox {
    /// Welcome, the first Assignments, then acknowledgements: they never overtake those two.
    pub urgent: Sender,
    pub rest: Sender,
}

/// State shared by the two halves of a session: the one that listens and the one that stores.
#[derive(Default)]
pub(super) struct Desk {
    intake: Mutex<Told>,
    /// Something arrived.
    news: Notify,
}

#[derive(Default)]
struct Told {
    intake: Intake,
    /// The last heartbeat before which everything is on the disk.
    kept: u64,
}

/// The half of a session that listens. It waits for nothing but its worker.
pub(super) struct Listener<'a> {
    pub fleet: &'a Fleet,
    pub name: Name,
    pub inbound: &'a mut Inbound,
    pub outbox: &'a Outbox,
    pub desk: Arc<Desk>,
}

// === impl Desk ===

impl Desk {
    pub fn with<T>(&self, what: impl FnOnce(&mut Intake) -> T) -> T {
        what(&mut self.intake.lock().intake)
    }

    /// Returns once something arrived since it last did.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Everything that was reported before this heartbeat is on disk.
    pub fn kept(&self, sequence: u64) {
        let mut told = self.intake.lock();
        told.kept = told.kept.max(sequence);
    }

    fn beat(&self, sequence: u64) -> u64 {
        let mut told = self.intake.lock();
        told.intake.beat(sequence);
        told.kept
    }
}

// === impl Listener ===

impl Listener<'_> {
    /// Listens until the worker ends its side, which is `Ok`, disconnects, or is silent for too
    /// long.
    pub async fn run(mut self) -> Result<(), SessionError> {
        let timeout = self.fleet.worker_timeout;
        let mut lease = Instant::now() + timeout;
        loop {
            // A heartbeat that waits to be read is in time, and a worker that sends much else but
            // no heartbeat is not.
            let message = tokio::select! {
                biased;
                message = self.inbound.try_next() => message?,
                () = self.outbox.rest.closed() => return Ok(()),
                () = sleep_until(lease) => return Err(SessionError::NoHeartbeat(timeout)),
            };
            let Some(message) = message else {
                return Ok(());
            };
            if self.take(message)? {
                lease = Instant::now() + timeout;
            } else if lease < Instant::now() {
                return Err(SessionError::NoHeartbeat(timeout));
            }
            // The other half of the session gets to run however much the worker sends.
            coop::consume_budget().await;
        }
    }

    /// Returns whether the message was a heartbeat.
    fn take(&mut self, message: v1::SessionRequest) -> Result<bool, SessionError> {
        let message = match message.message {
            Some(session_request::Message::Heartbeat(heartbeat)) => {
                self.heard(heartbeat);
                return Ok(true);
            }
            Some(session_request::Message::Report(mut report)) => {
                bounds::check_report(&mut report)?;
                let is_here = self.fleet.index.placed_on(&self.name, &report.replica);
                match (is_here, report.phase()) {
                    (Some(_), _) => {}
                    // If this session should not exist, all that matters is that it is gone.
                    (None, phase @ Phase::Stopped) => report = gone(report.replica, phase),
                    (None, _) => return Ok(false),
                }
                Message::Report(Box::new(report))
            }
            Some(session_request::Message::Leave(mut leave)) => {
                bounds::check_leave(&mut leave);
                Message::Leave(leave)
            }
            Some(session_request::Message::Dropped(mut dropped)) => {
                bounds::clip(&mut dropped.message);
                Message::Dropped(dropped)
            }
            Some(session_request::Message::Hello(_)) => {
                return Err(SessionError::field(
                    "hello",
                    "only the first message of a session is Hello",
                ));
            }
            // A newer worker's message: what it means is not known, and it was told our protocol
            // version.
            None => return Ok(false),
        };
        let taken = self.desk.with(|intake| intake.take(message, now()));
        let parted = taken.map_err(|_| SessionError::TooManyReplicas)?;
        if let Some(report) = parted {
            let (fleet, name) = (self.fleet, self.name.clone());
            Member { fleet, name }.tell_transitions(&report);
        }
        self.desk.news.notify_one();
        Ok(false)
    }

    fn heard(&self, heartbeat: v1::Heartbeat) {
        let (fleet, name) = (self.fleet, self.name.as_str());
        fleet.leases.heard(name);
        if !heartbeat.listeners.is_empty() {
            fleet
                .listeners
                .moved(&fleet.index, &self.name, &heartbeat.listeners);
        }
        let mut usage = heartbeat.usage;
        usage.retain(|replica, _| fleet.index.placed_on(&self.name, replica).is_some());
        fleet.usages.heard(name, usage);
        let kept_sequence = self.desk.beat(heartbeat.sequence);
        self.desk.news.notify_one();
        let ack = session_response::Message::HeartbeatAck(v1::HeartbeatAck {
            sequence: heartbeat.sequence,
            kept_sequence,
        });
        let response = v1::SessionResponse { message: Some(ack) };
        // A worker that does not read will find later ones.
        let _ = self.outbox.urgent.try_send(Ok(response));
    }
}

fn gone(replica: String, phase: Phase) -> v1::ReplicaReport {
    v1::ReplicaReport {
        replica,
        phase: phase.into(),
        ..v1::ReplicaReport::default()
    }
}

/// Returns the time of the runtime's clock, which a test may pause.
pub(super) fn now() -> StdInstant {
    Instant::now().into_std()
}
