//! The session with the control plane: opened again for as long as the worker lives. Whatever happens to it, replicas go on.

mod error;
mod open;
mod outbox;
mod unfollowed;

use std::{
    collections::BTreeMap,
    mem,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use prost::Message as _;
use tokio::{
    sync::{mpsc, watch},
    time,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use warren_model::{guard::Guard, name::Name};
use warren_proto::{
    SESSION_PROTOCOL_VERSION,
    v1::{self, session_request, session_response},
};

pub use self::error::{InvalidControl, SessionError};
use self::{
    open::{Open, Timing},
    outbox::Outbox,
};
use super::{
    Assignment, Replicas,
    backoff::Backoff,
    remote::{Channel, Remote},
    reports::ReportBook,
    seen::Seen,
    state::Keeper,
};
use crate::{ingress::FleetRoutes, lease::SharedLease, logs::LogHub};

/// Who the worker is and where its control planes are.
pub struct SessionConfig {
    /// At least one; tried in turn.
    pub control: Vec<Arc<dyn Remote>>,
    pub worker_id: String,
    /// Made anew by each process: tells it from another one on a copy of the data directory.
    pub instance: String,
    pub name: Name,
    /// Where others reach the worker: an "http://HOST:PORT" URL.
    pub address: String,
    /// Where it answers HTTP for every route: an "http://HOST:PORT" URL.
    pub http_address: String,
    pub labels: BTreeMap<String, String>,
    pub volumes: Vec<v1::HostVolume>,
    /// Whose ports it shares: see `Hello.network`.
    pub network: String,
    pub capacity: v1::Resources,
    /// For how long its replicas are kept for its return when it stops in order. Zero: not at all.
    pub stop_keeps: Duration,
}

/// The worker's session with whichever control plane answers.
pub struct Session {
    pub config: SessionConfig,
    pub replicas: Arc<dyn Replicas>,
    pub reports: ReportBook,
    /// Told which workers serve which routes.
    pub routes: Arc<FleetRoutes>,
    pub logs: LogHub,
    /// Renewed with each heartbeat that is acknowledged.
    pub lease: Arc<SharedLease>,
    pub keeper: Arc<Keeper>,
    /// What an earlier worker ran: run again if no control plane can be asked.
    pub left: Vec<Assignment>,
    /// What it had seen.
    pub seen: Seen,
    /// Set when a control plane has said all that should run.
    pub told: AtomicBool,
    /// Where artifacts come from: a connection of its own, so that bytes never delay a heartbeat.
    pub source: watch::Sender<Option<Channel>>,
    /// Becomes true with the first session, or when the worker goes on without one.
    pub opened: watch::Sender<bool>,
    /// Why a control plane that answers does not take this worker in; `None` while there is none
    /// such.
    pub refused: watch::Sender<Option<String>>,
    pub ending: Ending,
}

/// What is remembered from one try to the next.
#[derive(Default)]
struct Tries {
    backoff: Backoff,
    seen: Seen,
    /// It runs what somebody said: it follows no other cluster, and no earlier term, before it is
    /// started again.
    bound: Arc<AtomicBool>,
    /// What was last told of a failure.
    problem: String,
}

/// How a session is told to end, step by step.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// The worker stops: nothing new is run. Reports and heartbeats go on.
    pub draining: CancellationToken,
    /// Nothing runs any more.
    pub stopped: CancellationToken,
    /// All has stopped: what is left is sent, within two seconds, then the session ends.
    pub close: CancellationToken,
}

/// For a connection to be made, and for a silent one to be taken for dead.
const CONNECT: Duration = Duration::from_secs(5);
/// For a session to open: connect, Hello, Welcome. The control plane first brings its records in line with Hello.
const OPENING: Duration = Duration::from_secs(30);
/// For a control plane to say what should run, before a worker that starts goes on with what it last ran.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between tries that cannot succeed before somebody has changed something.
const SLOW: Duration = Duration::from_secs(10);
/// Messages between this task and the connection.
const QUEUE: usize = 64;
/// A thousand replicas with large specs, all assigned in one message.
const MAX_MESSAGE: usize = 64 << 20;
/// gRPC's usual bound of a message is 4 MiB: a Hello above this tells the rest in reports.
const MAX_HELLO: usize = 2 << 20;

/// A way to a control plane at an "http://HOST:PORT" URL. Connects to nothing yet.
pub fn endpoint(url: &str) -> Result<Endpoint, InvalidControl> {
    let invalid = |why| InvalidControl {
        url: url.to_owned(),
        why,
    };
    if url.starts_with("https://") {
        return Err(invalid("this version has no TLS: use http://"));
    }
    let not_a_url = || invalid("it should be an http://HOST:PORT URL");
    // tonic also takes what is no URL, such as a path of a socket.
    let url = Some(url)
        .filter(|url| url.starts_with("http://"))
        .ok_or_else(not_a_url)?;
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| not_a_url())?;
    Ok(endpoint
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(CONNECT)
        .keep_alive_timeout(CONNECT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}

// === impl Tries ===

impl Tries {
    /// Once for each problem, and not with every try of an outage.
    fn report(&mut self, control: &dyn Remote, error: &SessionError) {
        let control = control.url();
        let problem = format!("{control} {error}");
        if self.problem != problem {
            tracing::warn!(control, %error, "no session with the control plane; replicas go on");
            self.problem = problem;
        }
    }
}

// === impl Session ===

impl Session {
    /// Keeps a session open until it is told to close. Fails only before the first one has opened, and only where
    /// somebody has to change something.
    pub async fn run(mut self) -> Result<(), SessionError> {
        let mut tries = Tries {
            seen: mem::take(&mut self.seen).under(self.config.name.as_str()),
            ..Tries::default()
        };
        let mut left = mem::take(&mut self.left);
        let patience = time::Instant::now() + PATIENCE;
        let urls = self.config.control.len();
        for (number, control) in (1..).zip(self.config.control.iter().cycle()) {
            let ended = {
                // One that was heard before comes first, where several are named.
                let may_switch = urls == 1 || number > urls;
                let bound = Arc::clone(&tries.bound);
                let mut session = pin!(self.attend(&**control, &mut tries, may_switch));
                loop {
                    tokio::select! {
                        biased;
                        ended = &mut session => break ended,
                        () = time::sleep_until(patience), if !left.is_empty() => {
                            self.start_alone(mem::take(&mut left), &bound);
                        }
                    }
                }
            };
            let Err(error) = ended else { break };
            if error.needs_people() && !*self.opened.borrow() {
                return Err(error);
            }
            tries.report(&**control, &error);
            if error.is_refusal() {
                self.refused.send_replace(Some(error.to_string()));
            } else if number >= urls {
                // All were asked.
                self.start_alone(mem::take(&mut left), &tries.bound);
            }
            let wait = if error.needs_people() {
                SLOW
            } else {
                tries.backoff.next()
            };
            tokio::select! {
                biased;
                () = self.ending.close.cancelled() => break,
                () = time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    /// Goes on with what ran last, unless a control plane has said what should run.
    fn start_alone(&self, left: Vec<Assignment>, bound: &AtomicBool) {
        let no_more = self.told.load(Relaxed) || self.ending.draining.is_cancelled();
        if left.is_empty() || no_more {
            return;
        }
        bound.store(true, Relaxed);
        let replicas = left.len();
        tracing::warn!(
            replicas,
            "no control plane says what should run: going on with what ran last"
        );
        for assignment in left {
            self.replicas.assign(assignment);
        }
        self.opened.send_replace(true);
    }

    /// Opens a session and stays in it to its end, which is `Ok` where the worker wanted it.
    async fn attend(
        &self,
        control: &dyn Remote,
        tries: &mut Tries,
        may_switch: bool,
    ) -> Result<(), SessionError> {
        let bound = Arc::clone(&tries.bound);
        let may_switch = || may_switch && !bound.load(Relaxed);
        let opening = time::timeout(OPENING, self.open(control, &mut tries.seen, may_switch));
        let open = tokio::select! {
            biased;
            () = self.ending.close.cancelled() => return Ok(()),
            open = opening => open.map_err(|_| SessionError::Silent(OPENING))??,
        };
        tries.backoff = Backoff::default();
        tries.bound.store(true, Relaxed);
        tries.problem.clear();
        open.run().await
    }

    async fn open<'a>(
        &'a self,
        control: &dyn Remote,
        seen: &'a mut Seen,
        may_switch: impl Fn() -> bool,
    ) -> Result<Open<'a>, SessionError> {
        let refused = |status| SessionError::of(status, self.config.name.as_str());
        let channel = control.connect().await?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (hello, version) = self.hello(seen, may_switch());
        let leaves = hello.leave.is_some();
        let hello = v1::SessionRequest {
            message: Some(session_request::Message::Hello(hello)),
        };
        // The queue is empty, so this does not wait.
        let _ = sender.send(hello).await;

        let mut client = v1::fleet_service_client::FleetServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE);
        let stream = client
            .session(ReceiverStream::new(receiver))
            .await
            .map_err(refused)?;
        let mut inbound = stream.into_inner();
        let first = inbound
            .message()
            .await
            .map_err(refused)?
            .ok_or(SessionError::Ended)?;
        let Some(session_response::Message::Welcome(welcome)) = first.message else {
            return Err(SessionError::NoWelcome);
        };
        if welcome.protocol_version != SESSION_PROTOCOL_VERSION {
            return Err(SessionError::Version(welcome.protocol_version));
        }
        let (cluster, term) = (welcome.cluster_id.as_str(), welcome.term);
        if seen.meet(cluster, term, may_switch())? {
            tracing::warn!(
                cluster,
                term,
                "following another control plane than before: what ran for that one is not started again"
            );
        }

        tracing::info!(
            control = control.url(),
            cluster,
            term,
            "session with the control plane is open"
        );
        let bulk = control.connect_lazy();
        self.source.send_replace(Some(bulk.clone()));
        self.opened.send_replace(true);
        self.refused.send_replace(None);
        let timing = Timing::of(&welcome);
        Ok(Open::new(
            self,
            seen,
            sender,
            inbound,
            Outbox::new(version),
            timing,
            bulk,
        )
        .leaving(leaves))
    }

    fn leave(&self, stopped: bool) -> v1::Leave {
        let keep = Some(self.config.stop_keeps).filter(|keep| !keep.is_zero());
        v1::Leave {
            keep: keep.and_then(|keep| keep.try_into().ok()),
            stopped,
        }
    }

    /// Hello, and the version of the reports that it tells in full.
    fn hello(&self, seen: &Seen, may_switch: bool) -> (v1::Hello, u64) {
        let known = match Guard::ReportsRepeated.stands() {
            true => self.reports.all(),
            false => self.reports.since(self.reports.all().version),
        };
        let mut hello = v1::Hello {
            protocol_version: SESSION_PROTOCOL_VERSION,
            worker_id: self.config.worker_id.clone(),
            name: self.config.name.to_string(),
            address: self.config.address.clone(),
            labels: self.config.labels.clone(),
            volumes: self.config.volumes.clone(),
            network: self.config.network.clone(),
            capacity: Some(self.config.capacity),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            replicas: known.reports,
            http_address: self.config.http_address.clone(),
            seen: (*seen != Seen::default().under(&seen.worker)).then(|| v1::Seen {
                cluster_id: seen.cluster.clone(),
                term: seen.term,
                generation: seen.generation,
            }),
            may_switch,
            instance: self.config.instance.clone(),
            leave: self
                .ending
                .draining
                .is_cancelled()
                .then(|| self.leave(false)),
        };
        if hello.encoded_len() <= MAX_HELLO {
            return (hello, known.version);
        }
        for report in &mut hello.replicas {
            report.transitions.clear();
            report.earlier.clear();
            report.last_exits.clear();
            report.conditions.clear();
            report.last_exit = None;
        }
        (hello, 0)
    }
}

#[cfg(test)]
mod tests;
