//! An open session.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures::future::{OptionFuture, ready};
use tokio::{
    task::{JoinError, JoinHandle, JoinSet},
    time::{self, Instant, MissedTickBehavior},
};
use tonic::Streaming;
use warren_model::ambient;
use warren_proto::v1::{self, SessionResponse, replica::Phase, session_request, session_response};

use super::{
    Session, SessionError,
    lanes::{Lanes, Place},
    outbox::{Next, Outbox},
    unfollowed,
};
use crate::{
    agent::{log_push::push_logs, seen::Seen, state::Kept},
    lease::Lease,
    policy::{Listeners, Whose},
    remote::Channel,
    replica::{Usage, assignment::Orders},
};

pub(super) struct Open<'a> {
    session: &'a Session,
    seen: &'a mut Seen,
    outbound: Arc<Lanes>,
    inbound: Streaming<SessionResponse>,
    outbox: Outbox,
    timing: Timing,
    /// The last time at which the control plane showed that it receives our messages.
    heard: Instant,
    /// The connection for everything except control messages.
    bulk: Channel,
    /// The assignments that are being written to disk. Nothing else is read until then, so they are
    /// followed in order. It is a separate task, which finishes even if the session ends.
    keeping: Option<JoinHandle<Kept>>,
    /// True if the control plane knows that the worker is stopping.
    leaves: bool,
    /// The dropped assignments that have not been reported yet.
    dropped: Option<v1::DroppedAssignments>,
    /// True if the control plane sends the listeners of workers. An earlier version does not, and
    /// the addresses of routes are used instead.
    knows_listeners: bool,
    /// The listeners of this worker that the control plane knows.
    listens: Vec<String>,
    /// The answers to LogsWanted, which end with the session.
    pushes: JoinSet<()>,
}

/// The intervals that Welcome asks for, limited to sensible values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    pub heartbeat: Duration,
    pub timeout: Duration,
    /// The timeout as the control plane counts it, or zero if it is not given. No exclusive replica
    /// runs for longer.
    pub lost_after: Duration,
}

/// The number of simultaneous log requests. A control plane has far fewer.
const MAX_PUSHES: usize = 64;
/// The time for the last reports of a worker that stops.
const FINISHING: Duration = Duration::from_secs(2);

impl<'a> Open<'a> {
    pub fn new(
        session: &'a Session,
        seen: &'a mut Seen,
        outbound: Lanes,
        inbound: Streaming<SessionResponse>,
        outbox: Outbox,
        timing: Timing,
        bulk: Channel,
    ) -> Self {
        Self {
            session,
            seen,
            outbound: Arc::new(outbound),
            inbound,
            outbox,
            timing,
            heard: Instant::now(),
            bulk,
            keeping: None,
            leaves: false,
            dropped: None,
            knows_listeners: false,
            listens: session.config.addresses.told(),
            pushes: JoinSet::new(),
        }
    }

    /// Sets whether Hello has said that the worker is stopping.
    pub fn leaving(mut self, leaves: bool) -> Self {
        self.leaves = leaves;
        self
    }

    /// Runs until the control plane ends the session or falls silent, or until the worker closes
    /// it, which is `Ok`.
    pub async fn run(mut self) -> Result<(), SessionError> {
        let reports = &self.session.reports;
        let outbound = Arc::clone(&self.outbound);
        let mut beats = time::interval(self.timing.heartbeat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut listens = false;
        loop {
            let leaves = !self.leaves && self.session.ending.draining.is_cancelled();
            let urgent = leaves || self.dropped.is_some();
            let ready_at = self.outbox.ready_at();
            // Receiving and reporting alternate, so that neither starves the other.
            listens = !listens;
            tokio::select! {
                biased;
                () = self.session.ending.close.cancelled() => break,
                _ = beats.tick() => self.beat(),
                () = self.session.ending.draining.cancelled(), if !self.leaves && !leaves => {}
                // It goes before any report about its consequences.
                place = outbound.urgent(), if urgent => {
                    let message = match self.dropped.take() {
                        Some(dropped) => session_request::Message::Dropped(dropped),
                        None => {
                            self.leaves = true;
                            session_request::Message::Leave(self.session.leave(false))
                        }
                    };
                    place?.send(message);
                }
                Some(kept) = OptionFuture::from(self.keeping.as_mut()) => self.kept(kept)?,
                Some(_) = self.pushes.join_next() => {}
                message = self.inbound.message(), if listens && self.keeping.is_none() => self.receive(message)?,
                () = reports.changed(self.outbox.taken()) => self.learn(),
                // A report is made when there is room for it, so a control plane that does not read
                // costs no memory.
                place = place(&outbound, ready_at), if !urgent && ready_at.is_some() => {
                    if let Some(next) = self.outbox.pop(now()) {
                        self.report(next, place?);
                    }
                }
                () = time::sleep_until(self.heard + self.timing.timeout), if listens => {
                    return Err(SessionError::Silent(self.timing.timeout));
                }
                () = ready(()), if !listens => {}
            }
        }
        drop(outbound);
        // The control plane concludes from the worker's silence what does not reach it now.
        let _ = time::timeout(FINISHING, self.finish()).await;
        Ok(())
    }

    fn receive(
        &mut self,
        message: Result<Option<SessionResponse>, tonic::Status>,
    ) -> Result<(), SessionError> {
        let name = self.session.config.name.as_str();
        let message = message.map_err(|status| SessionError::of(status, name))?;
        match message.ok_or(SessionError::Ended)?.message {
            Some(session_response::Message::HeartbeatAck(ack)) => {
                self.acknowledged(ack);
            }
            Some(session_response::Message::Assignments(message)) => self.keep(message),
            Some(session_response::Message::LogsWanted(wanted)) => self.push_logs(wanted),
            Some(session_response::Message::FleetRoutes(news)) => {
                if !self.knows_listeners {
                    learn_places(&self.session.listeners, &news);
                }
                self.session.routes.learn(news);
            }
            Some(session_response::Message::FleetListeners(news)) => {
                self.knows_listeners = true;
                learn_listeners(&self.session.listeners, &news);
            }
            // A second Welcome, or a message of a later version, which can be ignored.
            Some(session_response::Message::Welcome(_)) | None => {}
        }
        Ok(())
    }

    fn acknowledged(&mut self, ack: v1::HeartbeatAck) {
        if let Some(sent) = self.outbox.acknowledged(ack.sequence) {
            self.heard = Instant::now();
            let lease = Lease::of_heartbeat(sent, self.timing.lost_after);
            self.session.lease.renew(lease);
        }
        if let Some(version) = self.outbox.kept(ack.kept_sequence) {
            self.session.reports.confirm(version);
        }
    }

    fn beat(&mut self) {
        // Without room the connection is stuck, which the missing answer will show.
        let Some(place) = self.outbound.urgent_now() else {
            return;
        };
        let now = self.session.lease.clock().now();
        let left = self.outbound.report_has_left();
        let mut listeners = self.session.config.addresses.told();
        if listeners == self.listens {
            listeners.clear();
        } else {
            self.listens.clone_from(&listeners);
        }
        let heartbeat = v1::Heartbeat {
            sequence: self.outbox.beat(now, left),
            memory_used_bytes: self.session.replicas.memory_used(),
            usage: usage(self.session.replicas.usage()),
            listeners,
        };
        place.send(session_request::Message::Heartbeat(heartbeat));
    }

    fn learn(&mut self) {
        let (changes, version) = self.session.reports.changes(self.outbox.taken());
        self.outbox.learn(changes, version);
    }

    /// Reports the current state of a replica, unless it has been forgotten.
    fn report(&mut self, next: Next, place: Place<'_>) {
        let reports = &self.session.reports;
        if let Some((report, version)) = reports.report(&next.replica, next.after) {
            let last = report.phase() == Phase::Stopped;
            place.send(session_request::Message::Report(report));
            self.outbox.hand_out(next, version, last, now());
        }
    }

    /// Writes assignments to disk before they are followed: a replica that was ordered to stop, and
    /// has stopped, must not start again with the next worker.
    fn keep(&mut self, message: v1::Assignments) {
        let (term, generation) = (message.term, message.generation);
        if !self.seen.admit(term, generation) {
            return self.drop_older(&message);
        }
        let (keeper, seen) = (Arc::clone(&self.session.keeper), self.seen.clone());
        let ends = self.session.ending.draining.is_cancelled();
        self.keeping = Some(tokio::spawn(keeper.follow(message, seen, !ends)));
    }

    /// Drops assignments that are older. Both the worker and the waiting replicas show the reason.
    fn drop_older(&mut self, message: &v1::Assignments) {
        let why = unfollowed::older(message, self.seen, self.session.config.name.as_str());
        tracing::warn!("{why}");
        let (replicas, reports) = (self.session.replicas.replicas(), &self.session.reports);
        for assignment in &message.assign {
            let id = &assignment.replica;
            if !id.is_empty() && !replicas.contains(id) && !reports.contains(id) {
                let (state, transition) = unfollowed::dropped(assignment, &why);
                reports.record(id, state, Some(transition));
            }
        }
        self.dropped = Some(v1::DroppedAssignments {
            term: message.term,
            generation: message.generation,
            message: why,
        });
    }

    /// Follows the assignments once they are on disk. If they cannot be followed, the session ends:
    /// an acknowledgement would let replicas run that they were to stop.
    fn kept(&mut self, kept: Result<Kept, JoinError>) -> Result<(), SessionError> {
        self.keeping = None;
        let kept = kept.map_err(|error| {
            tracing::error!(%error, "a part of the worker ended because of a bug");
            SessionError::Ended
        })?;
        self.follow(kept);
        Ok(())
    }

    fn follow(&mut self, kept: Kept) {
        // Everything is being stopped, and the next worker gets these assignments again.
        if self.session.ending.draining.is_cancelled() {
            return;
        }
        let Kept { message, restarts } = kept;
        let complete = message.complete;
        let (replicas, reports) = (&self.session.replicas, &self.session.reports);
        let held = replicas.replicas();
        let orders = Orders::of(message, &held, &reports.unstopped());
        for replica in orders.stop {
            replicas.stop(&replica);
        }
        for replica in orders.gone {
            reports.record_gone(&replica);
            self.session.logs.forget(&replica);
        }
        for mut assignment in orders.assign {
            let replica = &assignment.replica;
            // An earlier worker saw its end, which has been reported.
            if reports.has_ended(replica) && !held.contains(replica) {
                continue;
            }
            // Starts that have not been reported yet count, too.
            let counted = restarts.get(replica).copied().unwrap_or(0);
            assignment.restarts = assignment.restarts.max(counted);
            replicas.assign(assignment);
        }
        for refused in orders.refused {
            // Each session assigns it again, still invalid.
            if !reports.contains(&refused.replica) {
                tracing::warn!(replica = refused.replica, why = %refused.why, "this assignment cannot be run");
                let (state, transition) = unfollowed::failed(&refused);
                reports.record(&refused.replica, state, Some(transition));
            }
        }
        if complete {
            self.session.told.store(true, Relaxed);
            let ended = reports.unstopped().into_iter();
            let known: BTreeSet<_> = replicas.replicas().into_iter().chain(ended).collect();
            let logs = &self.session.logs;
            logs.forget_others(|replica| known.contains(replica));
        }
    }

    fn push_logs(&mut self, wanted: v1::LogsWanted) {
        if self.pushes.len() >= MAX_PUSHES {
            tracing::warn!(
                replica = wanted.replica,
                "too many log requests at once: dropped one"
            );
            return;
        }
        let push = push_logs(self.bulk.clone(), wanted, self.session.logs.clone());
        self.pushes.spawn(async {
            if let Err(status) = push.await {
                tracing::debug!(
                    error = status.message(),
                    "the control plane did not take the lines"
                );
            }
        });
    }

    /// Sends the last reports and waits until they have arrived.
    async fn finish(mut self) -> Result<(), SessionError> {
        // All of them take the same lane, and therefore stay in order.
        let outbound = Arc::clone(&self.outbound);
        let send = async |message| outbound.report().await.map(|place| place.send(message));
        if !self.leaves && self.session.ending.draining.is_cancelled() {
            send(session_request::Message::Leave(self.session.leave(false))).await?;
        }
        loop {
            self.learn();
            if self.outbox.is_empty() {
                break;
            }
            while let Some(next) = self.outbox.pop_any() {
                let place = outbound.report().await?;
                self.report(next, place);
            }
        }
        if self.session.ending.stopped.is_cancelled() {
            send(session_request::Message::Leave(self.session.leave(true))).await?;
        }
        let sequence = self.outbox.beat(self.session.lease.clock().now(), true);
        let heartbeat = v1::Heartbeat {
            sequence,
            ..v1::Heartbeat::default()
        };
        send(session_request::Message::Heartbeat(heartbeat)).await?;
        loop {
            let message = self.inbound.message().await;
            self.receive(message)?;
            if self.outbox.all_acknowledged() {
                break;
            }
        }
        // The stream is half closed, so the control plane sees its end and no broken connection.
        drop((outbound, self.outbound));
        while let Ok(Some(_)) = self.inbound.message().await {}
        Ok(())
    }
}

/// Waits for the time of the next report, and returns room for it.
async fn place(
    outbound: &Lanes,
    at: Option<std::time::Instant>,
) -> Result<Place<'_>, SessionError> {
    if let Some(at) = at {
        time::sleep_until(at.into()).await;
    }
    outbound.report().await
}

/// Returns the time by the runtime's clock, which a test may pause.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Returns the usage as measured now.
fn usage(measured: Vec<(String, Usage)>) -> BTreeMap<String, v1::ReplicaUsage> {
    let time = Some(ambient::now().into());
    let told = measured.into_iter().map(|(replica, usage)| {
        let usage = v1::ReplicaUsage {
            memory_bytes: usage.memory_bytes,
            cpu_time: usage.cpu_time.try_into().ok(),
            cpu_millicores: None,
            time,
        };
        (replica, usage)
    });
    told.collect()
}

fn learn_places(listeners: &Listeners, news: &v1::FleetRoutes) {
    for place in news.routes.iter().flat_map(|told| &told.places) {
        listeners.set(Whose::Worker(place.worker.clone()), [&place.address]);
    }
}

fn learn_listeners(listeners: &Listeners, news: &v1::FleetListeners) {
    if news.complete {
        let workers = news.workers.iter().map(|told| told.worker.as_str());
        listeners.keep_workers(&workers.collect());
    }
    if news.complete || !news.control.is_empty() {
        listeners.set(Whose::Control, &news.control);
    }
    for told in &news.workers {
        listeners.set(Whose::Worker(told.worker.clone()), &told.addresses);
    }
}

// === impl Timing ===

impl Timing {
    pub fn of(welcome: &v1::Welcome) -> Self {
        let heartbeat = duration(welcome.heartbeat_interval, Duration::from_secs(2))
            .clamp(Duration::from_millis(20), Duration::from_secs(60));
        let timeout = duration(welcome.worker_timeout, Duration::from_secs(10))
            .clamp(2 * heartbeat, Duration::from_secs(3600));
        Self {
            heartbeat,
            timeout,
            lost_after: duration(welcome.worker_timeout, Duration::ZERO),
        }
    }
}

/// Returns `default` for a duration that is absent, negative or zero.
fn duration(given: Option<prost_types::Duration>, default: Duration) -> Duration {
    let given = given.and_then(|given| Duration::try_from(given).ok());
    given.filter(|given| !given.is_zero()).unwrap_or(default)
}
