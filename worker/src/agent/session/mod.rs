//! The session with the control plane: opened again for as long as the worker lives. Whatever happens to it, replicas go on.

mod error;
mod open;
mod outbox;

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
    assignment::Seen,
    backoff::Backoff,
    remote::{Channel, Remote},
    reports::ReportBook,
    state::Keeper,
};
use crate::{ingress::FleetRoutes, lease::SharedLease, logs::LogHub};

/// Who the worker is and where its control planes are.
pub struct SessionConfig {
    /// At least one; tried in turn.
    pub control: Vec<Arc<dyn Remote>>,
    pub worker_id: String,
    pub name: Name,
    /// Where others reach the worker: an "http://HOST:PORT" URL.
    pub address: String,
    pub labels: BTreeMap<String, String>,
    pub volumes: Vec<v1::HostVolume>,
    pub capacity: v1::Resources,
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
    pub ending: Ending,
}

/// What is remembered from one try to the next.
#[derive(Default)]
struct Tries {
    backoff: Backoff,
    seen: Seen,
    /// What was last told of a failure.
    problem: String,
}

/// How a session is told to end, in two steps.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// The worker stops: nothing new is run. Reports and heartbeats go on.
    pub draining: CancellationToken,
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
            seen: self.seen,
            ..Tries::default()
        };
        let mut left = mem::take(&mut self.left);
        let patience = time::Instant::now() + PATIENCE;
        for (number, control) in (1..).zip(self.config.control.iter().cycle()) {
            let ended = {
                let mut session = pin!(self.attend(&**control, &mut tries));
                loop {
                    tokio::select! {
                        biased;
                        ended = &mut session => break ended,
                        () = time::sleep_until(patience), if !left.is_empty() => {
                            self.start_alone(mem::take(&mut left));
                        }
                    }
                }
            };
            let Err(error) = ended else { break };
            if error.needs_people() && !*self.opened.borrow() {
                return Err(error);
            }
            tries.report(&**control, &error);
            // All were asked.
            if number >= self.config.control.len() {
                self.start_alone(mem::take(&mut left));
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
    fn start_alone(&self, left: Vec<Assignment>) {
        let no_more = self.told.load(Relaxed) || self.ending.draining.is_cancelled();
        if left.is_empty() || no_more {
            return;
        }
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
    async fn attend(&self, control: &dyn Remote, tries: &mut Tries) -> Result<(), SessionError> {
        let opening = time::timeout(OPENING, self.open(control, &mut tries.seen));
        let open = tokio::select! {
            biased;
            () = self.ending.close.cancelled() => return Ok(()),
            open = opening => open.map_err(|_| SessionError::Silent(OPENING))??,
        };
        tries.backoff = Backoff::default();
        tries.problem.clear();
        open.run().await
    }

    async fn open<'a>(
        &'a self,
        control: &dyn Remote,
        seen: &'a mut Seen,
    ) -> Result<Open<'a>, SessionError> {
        let refused = |status| SessionError::of(status, self.config.name.as_str());
        let channel = control.connect().await?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (hello, version) = self.hello();
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
        if welcome.term < seen.term {
            return Err(SessionError::OldTerm {
                term: welcome.term,
                seen: seen.term,
            });
        }

        tracing::info!(
            control = control.url(),
            term = welcome.term,
            "session with the control plane is open"
        );
        let bulk = control.connect_lazy();
        self.source.send_replace(Some(bulk.clone()));
        self.opened.send_replace(true);
        let timing = Timing::of(&welcome);
        Ok(Open::new(
            self,
            seen,
            sender,
            inbound,
            Outbox::new(version),
            timing,
            bulk,
        ))
    }

    /// Hello, and the version of the reports that it tells in full.
    fn hello(&self) -> (v1::Hello, u64) {
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
            capacity: Some(self.config.capacity),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            replicas: known.reports,
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
