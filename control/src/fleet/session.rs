//! One worker's session, from Hello to its end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::{BoxFuture, FutureExt as _, pending, ready};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tonic::{Status, Streaming};
use warren_model::guard::Guard;
use warren_proto::{
    SESSION_PROTOCOL_VERSION,
    v1::{self, replica::Phase, session_request, session_response},
};

use super::{
    Fleet,
    hello::{Greeting, TurnedAway},
    member::{Member, name_taken},
    orders::Orders,
    registry::Seat,
};
use crate::{api::error, store::StoreError};

type Inbound = Streaming<v1::SessionRequest>;
type Outbox = mpsc::Sender<Result<v1::SessionResponse, Status>>;

/// A client that opens a session says Hello within this.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Heartbeats that may get lost before the worker's lease runs out.
const HEARTBEATS_PER_TIMEOUT: u32 = 5;
/// How long the reconciler may take for the replicas of a worker that came back.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);
/// How long reports wait that could not be stored.
const RETRY: Duration = Duration::from_secs(1);

/// A session that holds its worker's seat.
struct Session<'a> {
    member: Member<'a>,
    outbox: &'a Outbox,
    orders: Orders,
    /// The worker's id, and the generation that it has seen.
    worker_id: &'a str,
    seen: u64,
    /// The store says that the worker is connected.
    joined: bool,
    /// The last report of each replica that could not be stored: a full disk must not cost a worker its session.
    unstored: BTreeMap<String, v1::ReplicaReport>,
    /// Wakes when what should run here may have changed.
    wake: Arc<Notify>,
}

/// What the worker was told that it need not tell again.
#[derive(Default)]
struct Keeping {
    /// Something was reported that may get lost yet.
    dirty: bool,
    /// The heartbeat before which all was, and what brings it to the disk.
    underway: Option<(u64, BoxFuture<'static, Result<(), StoreError>>)>,
    /// The last heartbeat before which everything is on the disk.
    kept: u64,
}

/// Serves a worker until it goes, is silent for too long, is replaced, or the control plane ends.
/// An error is for the worker to see.
pub(super) async fn run(
    fleet: Arc<Fleet>,
    mut inbound: Inbound,
    outbox: &Outbox,
) -> Result<(), Status> {
    let hello = tokio::select! {
        biased;
        hello = timeout(HELLO_WITHIN, inbound.message()) => hello,
        () = fleet.shutdown.cancelled() => return Err(error::ending()),
    };
    let Ok(hello) = hello else {
        return Err(error::late(format!("no Hello within {HELLO_WITHIN:?}")));
    };
    let Some(hello) = hello? else { return Ok(()) };
    let greeting = Greeting::parse(hello)?;
    let name = greeting.name.clone();
    if let Err(away) = admissible(&fleet, &greeting) {
        let member = Member {
            fleet: &fleet,
            name,
        };
        member.turn_away(&greeting, &away).await;
        return Err(error::precondition(
            "WORKER_IDENTITY",
            greeting.name.as_str(),
            away.message,
        ));
    }
    let seat = fleet.registry.enter(&name, &greeting.id).await;
    let mut seat = seat.map_err(|_| name_taken(&name))?;
    let held = greeting
        .replicas
        .iter()
        .filter(|held| held.phase() != Phase::Stopped);
    let mut session = Session {
        outbox,
        orders: Orders::beginning_with(held.map(|held| held.replica.clone())),
        worker_id: &greeting.id,
        seen: greeting.generation(&fleet.cluster_id, fleet.term),
        joined: false,
        unstored: BTreeMap::new(),
        wake: fleet.index.session_wake(&name),
        member: Member {
            fleet: &fleet,
            name,
        },
    };
    let replaced = seat.end.clone();
    let ended = tokio::select! {
        biased;
        ended = session.serve(&greeting, &mut inbound, &mut seat) => ended,
        // At any await, even one on a connection that is dead: its worker waits for its new session.
        () = replaced.cancelled() => Err(error::replaced("the same worker opened another session")),
        // Every worker counts as not connected when a control plane starts: nothing is to be noted.
        () = fleet.shutdown.cancelled() => return Err(error::ending()),
    };
    if session.joined {
        let error = ended.as_ref().err();
        let cause = error.map_or("it ended the session", |status| status.message());
        tracing::info!(worker = %session.member.name, cause, "the worker is disconnected");
        fleet.usages.forget(session.member.name.as_str());
        // Who asks for lines from now on should not wait for an answer.
        seat.logs.close();
        session.member.leave(cause, &replaced).await;
    }
    ended
}

// === impl Session ===

impl Session<'_> {
    async fn serve(
        &mut self,
        greeting: &Greeting,
        inbound: &mut Inbound,
        seat: &mut Seat,
    ) -> Result<(), Status> {
        self.admit(greeting).await?;
        let name = &self.member.name;
        tracing::info!(worker = %name, address = greeting.address, "the worker is connected");
        let timeout = self.member.fleet.worker_timeout;
        self.welcome().await?;
        self.assign(true).await?;
        let mut lease = Instant::now() + timeout;
        let wake = self.wake.clone();
        let mut routes = self.member.fleet.routes.news();
        // Hello has reports.
        let mut keeping = Keeping {
            dirty: true,
            ..Keeping::default()
        };
        let mut retry = interval(RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut listens = false;
        loop {
            // What the worker says and what it is to be told go in turns: none waits for the other, however much there is.
            listens = !listens;
            // A heartbeat that waits to be read is in time, and a worker that sends much else but no heartbeat is not.
            tokio::select! {
                biased;
                () = self.outbox.closed() => return Ok(()),
                () = keeping.progress() => {}
                _ = retry.tick(), if !self.unstored.is_empty() => {
                    for report in std::mem::take(&mut self.unstored).into_values() {
                        self.store(report).await?;
                    }
                }
                message = inbound.message(), if listens => match message? {
                    Some(message) => {
                        if self.take(message, &mut keeping).await? {
                            lease = Instant::now() + timeout;
                        } else if lease < Instant::now() {
                            return Err(silent(timeout));
                        }
                    }
                    None => return Ok(()),
                },
                () = wake.notified() => self.assign(false).await?,
                Some(wanted) = seat.logs.recv() => {
                    self.send(session_response::Message::LogsWanted(wanted)).await?;
                }
                news = routes.next() => {
                    let news = Arc::unwrap_or_clone(news);
                    self.send(session_response::Message::FleetRoutes(news)).await?;
                }
                () = tokio::time::sleep_until(lease), if listens => return Err(silent(timeout)),
                () = ready(()), if !listens => {}
            }
        }
    }

    /// Stores the worker and what it holds, and lets the reconciler decide about that.
    async fn admit(&mut self, greeting: &Greeting) -> Result<(), Status> {
        let was_cut_short = self.member.was_cut_short(greeting);
        let leases = &self.member.fleet.leases;
        let silent_for = leases.silent_for(self.member.name.as_str());
        self.member.join(greeting).await?;
        self.joined = true;
        if was_cut_short {
            let noted = self.member.cut_short(silent_for).await;
            noted.map_err(error::store)?;
        }
        let registry = &self.member.fleet.registry;
        let (name, instance) = (&self.member.name, &greeting.instance);
        registry.succeed(name, &greeting.id, instance).await;
        self.member
            .take_stock(&greeting.replicas)
            .await
            .map_err(error::store)?;
        let fleet = self.member.fleet;
        let concerned = fleet.index.workloads_on(&self.member.name);
        timeout(SETTLE_WITHIN, fleet.dirty.settle(concerned))
            .await
            .map_err(|_| {
                let message = "the control plane is too busy to take the worker in";
                error::unavailable("TOO_BUSY", message)
            })
    }

    async fn welcome(&self) -> Result<(), Status> {
        let timeout = self.member.fleet.worker_timeout;
        let interval = timeout / HEARTBEATS_PER_TIMEOUT;
        self.send(session_response::Message::Welcome(v1::Welcome {
            protocol_version: SESSION_PROTOCOL_VERSION,
            term: self.member.fleet.term,
            heartbeat_interval: prost_types::Duration::try_from(interval).ok(),
            worker_timeout: prost_types::Duration::try_from(timeout).ok(),
            cluster_id: self.member.fleet.cluster_id.clone(),
        }))
        .await
    }

    /// Whether the message was a heartbeat.
    async fn take(
        &mut self,
        message: v1::SessionRequest,
        keeping: &mut Keeping,
    ) -> Result<bool, Status> {
        match message.message {
            Some(session_request::Message::Heartbeat(heartbeat)) => {
                let (fleet, name) = (self.member.fleet, self.member.name.as_str());
                fleet.leases.heard(name);
                fleet.usages.heard(name, heartbeat.usage);
                if self.unstored.is_empty() {
                    keeping.begin(heartbeat.sequence, &self.member);
                }
                let ack = v1::HeartbeatAck {
                    sequence: heartbeat.sequence,
                    kept_sequence: keeping.kept,
                };
                self.send(session_response::Message::HeartbeatAck(ack))
                    .await?;
                Ok(true)
            }
            Some(session_request::Message::Report(report)) => {
                keeping.dirty = true;
                self.member.tell_transitions(&report);
                self.store(report).await?;
                Ok(false)
            }
            Some(session_request::Message::Leave(leave)) => {
                self.member.depart(&leave).await;
                Ok(false)
            }
            Some(session_request::Message::Dropped(dropped)) => {
                self.member.drops(&dropped.message).await;
                Ok(false)
            }
            Some(session_request::Message::Hello(_)) => Err(error::invalid_field(
                "hello",
                "only the first message of a session is Hello",
            )),
            // A newer worker's message: what it means is not known, and it was told our protocol version.
            None => Ok(false),
        }
    }

    /// Stores a report, or keeps it until the store can be used again.
    async fn store(&mut self, report: v1::ReplicaReport) -> Result<(), Status> {
        match self.member.store_report(&report).await {
            Ok(()) => {
                self.unstored.remove(&report.replica);
                if report.phase() == Phase::Stopped {
                    self.orders.gone(&report.replica);
                }
                Ok(())
            }
            Err(StoreError::Unavailable(_)) => {
                self.unstored.insert(report.replica.clone(), report);
                Ok(())
            }
            Err(error) => Err(error::store(error)),
        }
    }

    /// Tells the worker what changed of what it should run.
    async fn assign(&mut self, complete: bool) -> Result<(), Status> {
        let fleet = self.member.fleet;
        let placed = fleet.index.replicas_on(&self.member.name);
        let difference = self.orders.update(&placed);
        let mut assign = Vec::with_capacity(difference.assign.len());
        for record in &difference.assign {
            match self.member.assignment(record).await.map_err(error::store)? {
                Some(assignment) => assign.push(assignment),
                None => self.orders.untold(&record.replica.id),
            }
        }
        self.fence(&mut assign).await.map_err(error::store)?;
        if complete || !assign.is_empty() || !difference.stop.is_empty() {
            self.send(session_response::Message::Assignments(v1::Assignments {
                term: fleet.term,
                generation: fleet.registry.next_generation(self.worker_id, self.seen),
                complete: complete && Guard::CompleteAssignments.stands(),
                assign,
                stop: difference.stop,
            }))
            .await?;
        }
        for record in &difference.never_held {
            self.member
                .not_held(&record.replica.id)
                .await
                .map_err(error::store)?;
        }
        Ok(())
    }

    /// Tells new holders of exclusive services from all before them. One number does for all that are told at once: they are
    /// of different workloads.
    async fn fence(&self, assign: &mut [v1::Assignment]) -> Result<(), StoreError> {
        let is_exclusive = |it: &&mut v1::Assignment| {
            let service = it.spec.as_ref().and_then(|spec| spec.service.as_ref());
            service.is_some_and(|service| service.exclusive)
        };
        let mut exclusive = assign.iter_mut().filter(is_exclusive).peekable();
        if exclusive.peek().is_none() {
            return Ok(());
        }
        let fleet = self.member.fleet;
        let drawing = fleet.fences.lock().await;
        let fence = fleet.state.next_fence(1).await?;
        drop(drawing);
        exclusive.for_each(|it| it.fence = fence);
        Ok(())
    }

    /// Waits while the worker does not read, up to its timeout.
    async fn send(&self, message: session_response::Message) -> Result<(), Status> {
        let response = v1::SessionResponse {
            message: Some(message),
        };
        let sent = timeout(
            self.member.fleet.worker_timeout,
            self.outbox.send(Ok(response)),
        );
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(error::gone("the worker closed its stream")),
            Err(_) => Err(error::late("the worker does not read its session")),
        }
    }
}

/// Whether this control plane may tell a worker what to run, and no other process is that worker.
fn admissible(fleet: &Fleet, greeting: &Greeting) -> Result<(), TurnedAway> {
    greeting.check(&fleet.cluster_id, fleet.term)?;
    match fleet.registry.successor(&greeting.id, &greeting.instance) {
        None => Ok(()),
        Some(name) => Err(TurnedAway {
            reason: "CopiedId",
            message: format!(
                "another process has joined with the id of this worker since, as worker {name}: the data directory was \
                 copied. Stop one of the two, and give it an id of its own by removing the file worker-id from its data \
                 directory"
            ),
        }),
    }
}

fn silent(timeout: Duration) -> Status {
    error::late(format!("no heartbeat for {timeout:?}"))
}

// === impl Keeping ===

impl Keeping {
    /// All that was reported before this heartbeat is stored, if not yet on the disk.
    fn begin(&mut self, sequence: u64, member: &Member<'_>) {
        if self.underway.is_some() {
            return;
        }
        if !self.dirty {
            self.kept = sequence;
            return;
        }
        self.dirty = false;
        self.underway = Some((sequence, member.keep().boxed()));
    }

    /// Returns each time that something is kept, or cannot be. Dropping the future loses nothing.
    async fn progress(&mut self) {
        let Some((sequence, keep)) = &mut self.underway else {
            return pending().await;
        };
        match keep.await {
            Ok(()) => self.kept = *sequence,
            Err(error) => {
                tracing::warn!(%error, "reports are not on the disk yet");
                self.dirty = true;
            }
        }
        self.underway = None;
    }
}
