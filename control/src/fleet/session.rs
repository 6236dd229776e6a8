//! One worker's session, from Hello to its end.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::{
    TryStreamExt as _,
    future::{BoxFuture, FutureExt as _, pending, ready},
};
use tokio::{
    sync::Notify,
    time::{sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use warren_proto::{
    SESSION_PROTOCOL_VERSION,
    v1::{self, replica::Phase, session_response},
};

use super::{
    Fleet,
    error::SessionError,
    hello::{Greeting, TurnedAway},
    intake::{Beat, Intake, Message, Numbered},
    listen::{Desk, Inbound, Listener, Outbox, Sender, now},
    listeners::ListenerNews,
    member::Member,
    orders::Orders,
    places::Greeted,
    registry::Seat,
};
use crate::{listen::Connection, store::StoreError, text};

/// The time within which a client that opens a session has to send Hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// The number of heartbeats that may be lost before the worker's lease expires.
const HEARTBEATS_PER_TIMEOUT: u32 = 5;
/// The time that the reconciler has for the replicas of a worker that came back.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);
/// The time that is left to store the last messages of a worker once its session has ended.
const FINISHING: Duration = Duration::from_secs(2);
/// The delay before reports that could not be stored are retried.
const RETRY: Duration = Duration::from_secs(1);

/// The half of a session that stores reports and sends assignments; it holds the worker's seat.
struct Session<'a> {
    member: Member<'a>,
    outbox: &'a Outbox,
    desk: Arc<Desk>,
    orders: Orders,
    /// The worker's id, and the generation that it has seen.
    worker_id: &'a str,
    seen: u64,
    /// The store says that the worker is connected.
    joined: bool,
    /// Wakes when what should run here may have changed.
    wake: Arc<Notify>,
    /// The worker sends nothing more: its messages are stored, and then the session ends.
    silent: CancellationToken,
}

/// The flush that brings everything that arrived before a heartbeat to disk.
type Keeping = Option<(Beat, BoxFuture<'static, Result<(), StoreError>>)>;

/// Serves a worker until it disconnects, is silent for too long or is replaced, or the control
/// plane shuts down. The error is sent to the worker.
pub async fn run(
    fleet: Arc<Fleet>,
    mut inbound: Inbound,
    outbox: &Outbox,
    greeted: Greeted,
    connection: Option<Connection>,
) -> Result<(), SessionError> {
    let hello = tokio::select! {
        biased;
        hello = timeout(HELLO_WITHIN, inbound.try_next()) => hello,
        () = greeted.gives_way() => return Err(SessionError::GivesWay),
        () = fleet.shutdown.cancelled() => return Err(SessionError::ShuttingDown),
    };
    let Ok(hello) = hello else {
        return Err(SessionError::NoHello(HELLO_WITHIN));
    };
    let Some(hello) = hello? else { return Ok(()) };
    let greeting = Greeting::parse(hello)?;
    // Up to this point the session and its connection could give way to another.
    let peer = connection.as_ref().map(Connection::peer);
    let _open = fleet.places.open(peer)?;
    let _under_way = connection
        .map(|connection| connection.begin())
        .transpose()?;
    drop(greeted);
    let name = greeting.name.clone();
    if let Err(away) = admissible(&fleet, &greeting) {
        let member = Member {
            fleet: &fleet,
            name,
        };
        member.turn_away(&greeting, &away).await;
        return Err(SessionError::NotAdmitted {
            worker: greeting.name,
            message: away.message,
        });
    }
    let seat = fleet.registry.enter(&name, &greeting.id).await;
    let mut seat = seat.map_err(|_| SessionError::NameTaken(name.clone()))?;
    let held = greeting
        .replicas
        .iter()
        .filter(|held| held.phase() != Phase::Stopped);
    let mut session = Session {
        outbox,
        desk: Arc::default(),
        orders: Orders::beginning_with(held.map(|held| held.replica.clone())),
        worker_id: &greeting.id,
        seen: greeting.generation(&fleet.cluster_id, fleet.term),
        joined: false,
        wake: fleet.index.session_wake(&name),
        silent: CancellationToken::new(),
        member: Member {
            fleet: &fleet,
            name,
        },
    };
    let replaced = seat.end.clone();
    let ended = tokio::select! {
        biased;
        // Every worker counts as not connected when a control plane starts: nothing is to be noted.
        // First, because connections end with the control plane, too.
        () = fleet.shutdown.cancelled() => return Err(SessionError::ShuttingDown),
        ended = session.serve(&greeting, &mut inbound, &mut seat) => ended,
        // At any await, even one on a connection that is dead: its worker waits for its new
        // session.
        () = replaced.cancelled() => Err(SessionError::Replaced),
    };
    if session.joined {
        let error = ended.as_ref().err();
        let cause = error.map_or_else(|| "it ended the session".to_owned(), text::message);
        tracing::info!(worker = %session.member.name, cause, "the worker is disconnected");
        fleet.usages.forget(session.member.name.as_str());
        // Readers that ask for lines from now on should not wait for an answer.
        seat.logs.close();
        let leave = session.member.leave(&cause, &replaced);
        // What it waits for may have ended.
        fleet.shutdown.run_until_cancelled(leave).await;
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
    ) -> Result<(), SessionError> {
        self.admit(greeting).await?;
        let name = self.member.name.clone();
        tracing::info!(worker = %name, address = greeting.address, "the worker is connected");
        let fleet = self.member.fleet;
        self.welcome().await?;
        // Before anything runs there.
        let (all, listeners) = fleet.listeners.news(&fleet.index);
        self.send(session_response::Message::FleetListeners(all))
            .await?;
        self.assign(true).await?;
        let listener = Listener {
            fleet: self.member.fleet,
            name,
            inbound,
            outbox: self.outbox,
            desk: self.desk.clone(),
        };
        let silent = self.silent.clone();
        let ended = {
            let mut listening = pin!(listener.run());
            let mut working = pin!(self.work(seat, listeners));
            tokio::select! {
                biased;
                heard = &mut listening => {
                    // What is being stored now is not given up.
                    silent.cancel();
                    let worked = timeout(FINISHING, working).await;
                    heard.and(worked.unwrap_or(Ok(())))
                }
                worked = &mut working => worked,
            }
        };
        // The last messages count.
        let _ = timeout(FINISHING, self.finish()).await;
        ended
    }

    /// Stores the worker's messages and sends it assignments, until it sends nothing more.
    async fn work(
        &mut self,
        seat: &mut Seat,
        mut listeners: ListenerNews,
    ) -> Result<(), SessionError> {
        let (desk, wake, silent) = (self.desk.clone(), self.wake.clone(), self.silent.clone());
        let mut routes = self.member.fleet.routes.news();
        let mut keeping: Keeping = None;
        let mut stores = false;
        loop {
            if keeping.is_none() {
                keeping = self.begin_to_keep();
            }
            // Storing and sending alternate: neither waits for the other, however much there is.
            stores = !stores;
            let due = desk.with(|intake| intake.ready_at(now()));
            tokio::select! {
                biased;
                () = silent.cancelled() => return Ok(()),
                (beat, kept) = progress(&mut keeping) => {
                    keeping = None;
                    self.kept(beat, kept);
                }
                () = until(due), if stores => {
                    if let Some(held) = desk.with(|intake| intake.next(now())) {
                        self.store(held).await?;
                    }
                }
                () = wake.notified() => self.assign(false).await?,
                Some(wanted) = seat.logs.recv() => {
                    self.send(session_response::Message::LogsWanted(wanted)).await?;
                }
                news = routes.next() => {
                    let news = Arc::unwrap_or_clone(news);
                    self.send(session_response::Message::FleetRoutes(news)).await?;
                }
                news = listeners.next() => {
                    let news = Arc::unwrap_or_clone(news);
                    self.send(session_response::Message::FleetListeners(news)).await?;
                }
                () = desk.news() => {}
                () = ready(()), if !stores => {}
            }
        }
    }

    /// Stores what is left of a session that has ended.
    async fn finish(&mut self) -> Result<(), SessionError> {
        let next = |desk: &Desk| desk.with(|intake| intake.next_in_order(now()));
        while let Some(held) = next(&self.desk) {
            let tried = self.store(held).await?;
            if !tried {
                break;
            }
        }
        Ok(())
    }

    /// Begins to flush what was stored once a heartbeat asks for it.
    fn begin_to_keep(&self) -> Keeping {
        let (beat, is_kept) = self.desk.with(|intake| {
            let beat = intake.stored()?;
            Some((beat, intake.is_kept(beat)))
        })?;
        if is_kept {
            self.desk.kept(beat.sequence);
            return None;
        }
        Some((beat, self.member.keep().boxed()))
    }

    fn kept(&self, beat: Beat, kept: Result<(), StoreError>) {
        match kept {
            Ok(()) => {
                self.desk.with(|intake| intake.keep(beat));
                self.desk.kept(beat.sequence);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot flush reports to disk");
                self.desk.with(|intake| intake.is_not_kept(beat));
            }
        }
    }

    /// Stores the worker and its replicas, and lets the reconciler decide about them.
    async fn admit(&mut self, greeting: &Greeting) -> Result<(), SessionError> {
        let was_cut_short = self.member.was_cut_short(greeting);
        let leases = &self.member.fleet.leases;
        let silent_for = leases.silent_for(self.member.name.as_str());
        self.member.join(greeting).await?;
        self.joined = true;
        if was_cut_short {
            let noted = self.member.cut_short(silent_for).await;
            noted?;
        }
        let fleet = self.member.fleet;
        let (name, instance) = (&self.member.name, &greeting.instance);
        let (address, at) = (&greeting.address, &greeting.listeners);
        fleet.listeners.announce(&fleet.index, name, address, at);
        fleet.registry.succeed(name, &greeting.id, instance).await;
        self.member.take_stock(&greeting.replicas).await?;
        let concerned = fleet.index.workloads_on(&self.member.name);
        timeout(SETTLE_WITHIN, fleet.dirty.settle(concerned))
            .await
            .map_err(|_| SessionError::TooBusy)
    }

    async fn welcome(&self) -> Result<(), SessionError> {
        let timeout = self.member.fleet.worker_timeout;
        let interval = timeout / HEARTBEATS_PER_TIMEOUT;
        self.urge(session_response::Message::Welcome(v1::Welcome {
            protocol_version: SESSION_PROTOCOL_VERSION,
            term: self.member.fleet.term,
            heartbeat_interval: prost_types::Duration::try_from(interval).ok(),
            worker_timeout: prost_types::Duration::try_from(timeout).ok(),
            cluster_id: self.member.fleet.cluster_id.clone(),
        }))
        .await
    }

    /// Stores the worker's messages, or keeps them until the store can be used again: a full disk
    /// must not cost a worker its session. Returns whether they were stored.
    async fn store(&mut self, held: Numbered) -> Result<bool, SessionError> {
        let stored = match &held.message {
            Message::Report(report) => {
                self.member.tell_transitions(report);
                self.member.store_report(report).await
            }
            Message::Leave(leave) => {
                self.member.depart(leave).await;
                Ok(())
            }
            Message::Dropped(dropped) => {
                self.member.drops(&dropped.message).await;
                Ok(())
            }
        };
        match stored {
            Ok(()) => {
                if let Message::Report(report) = &held.message
                    && report.phase() == Phase::Stopped
                {
                    self.orders.gone(&report.replica);
                }
                self.desk.with(Intake::done);
                Ok(true)
            }
            Err(StoreError::Unavailable(_)) => {
                let again = now() + RETRY;
                let parted = self.desk.with(|intake| intake.put_back(held, again));
                if let Some(report) = parted {
                    self.member.tell_transitions(&report);
                }
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sends the worker the changes of its assignment.
    async fn assign(&mut self, complete: bool) -> Result<(), SessionError> {
        let fleet = self.member.fleet;
        let placed = fleet.index.replicas_on(&self.member.name);
        let difference = self.orders.update(&placed);
        let mut assign = Vec::with_capacity(difference.assign.len());
        for record in &difference.assign {
            match self.member.assignment(record).await? {
                Some(assignment) => assign.push(assignment),
                None => self.orders.untold(&record.replica.id),
            }
        }
        if !assign.is_empty() {
            self.member.runs().await;
        }
        self.fence(&mut assign).await?;
        if complete || !assign.is_empty() || !difference.stop.is_empty() {
            let assignments = session_response::Message::Assignments(v1::Assignments {
                term: fleet.term,
                generation: fleet.registry.next_generation(self.worker_id, self.seen),
                complete,
                assign,
                stop: difference.stop,
            });
            // An acknowledgement lets the worker continue to run its replicas, so none overtakes
            // the first Assignments.
            match complete {
                true => self.urge(assignments).await?,
                false => self.send(assignments).await?,
            }
        }
        for record in &difference.never_held {
            self.member.not_held(&record.replica.id).await?;
        }
        Ok(())
    }

    /// Distinguishes new holders of exclusive services from all earlier ones. One fence suffices
    /// for all that are sent at once, because they belong to different workloads.
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
    async fn send(&self, message: session_response::Message) -> Result<(), SessionError> {
        self.send_by(&self.outbox.rest, message).await
    }

    /// The same, by the way on which acknowledgements follow it.
    async fn urge(&self, message: session_response::Message) -> Result<(), SessionError> {
        self.send_by(&self.outbox.urgent, message).await
    }

    async fn send_by(
        &self,
        way: &Sender,
        message: session_response::Message,
    ) -> Result<(), SessionError> {
        let response = v1::SessionResponse {
            message: Some(message),
        };
        let sent = timeout(self.member.fleet.worker_timeout, way.send(Ok(response)));
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(SessionError::Closed),
            Err(_) => Err(SessionError::NotRead),
        }
    }
}

/// Checks that this control plane may assign replicas to a worker, and that no other process is
/// connected as that worker.
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

/// Returns the result of flushing reports. Dropping the future loses nothing.
async fn progress(keeping: &mut Keeping) -> (Beat, Result<(), StoreError>) {
    match keeping {
        Some((beat, keep)) => (*beat, keep.await),
        None => pending().await,
    }
}

async fn until(due: Option<std::time::Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => pending().await,
    }
}
