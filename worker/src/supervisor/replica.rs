//! One replica: what its life decides, done; what is done, told to its life.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use tokio::{
    sync::{oneshot, watch},
    task::{JoinError, JoinHandle},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use warren_model::spec::Restart;

use crate::{
    agent::{Assignment, NewestFence},
    ingress::{Router, ServicePort},
    lease::SharedLease,
    logs::{LogHub, ReplicaLog},
    policy,
    probe::{Prober, Verdict},
    publish::PublishGuard,
    runtime::{ServiceEnd, Turn},
    volumes::Mounts,
};

use super::{
    Handle, Meter, SupervisorParts,
    exits::{self, STDERR_LINES},
    life::{Action, Event, Life, Note, Phase},
    prepare::{self, CannotRun, Ready, prepare},
    readiness::Readiness,
    refusals::{Again, Told},
    report::Reporter,
    routes::Routes,
};

/// What a workload without a service has to finish its requests.
const GRACE: Duration = Duration::from_secs(10);

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Runs a replica until it has stopped. Dropping the future ends it at once.
pub(super) async fn run(assignment: Assignment, parts: &SupervisorParts, handle: Handle) {
    let Handle {
        stop,
        worker_ends,
        meter,
        fence,
    } = handle;
    let reporter = Reporter::new(&assignment, parts.reports.clone());
    let log = parts.logs.open(&assignment.replica);
    let _cleanup = Cleanup {
        replica: assignment.replica.clone(),
        router: parts.router.clone(),
        logs: parts.logs.clone(),
    };
    let (tell, mut refusals) = policy::refusals();
    let lease = prepare::lease(&assignment, parts);
    let mut preparing: Boxed<'_, Result<Ready, CannotRun>> = Box::pin(async {
        let ready = prepare(&assignment, parts, log.clone(), tell, &reporter).await?;
        held(lease.as_deref()).await;
        Ok(ready)
    });
    let policy = assignment.spec.service.as_ref().map(|s| s.restart.clone());
    let mut replica = Replica {
        life: Life::new(policy, assignment.restarts).with_short_run(parts.short_run),
        assignment: &assignment,
        parts,
        reporter: &reporter,
        log: log.clone(),
        lease: lease.clone(),
        fence,
        starts: 0,
        ready: watch::Sender::new(false),
        meter,
        held: None,
        service: None,
        over: CancellationToken::new(),
        starting: None,
        killing: None,
        readiness: None,
        liveness: None,
        backoff: None,
        draining: None,
        asked_to_stop: false,
    };
    let mut told = Told::default();
    while !replica.life.is_over() {
        tokio::select! {
            event = replica.next_event(&mut preparing, &stop, &worker_ends) => replica.take(event).await,
            Some(refusal) = refusals.recv() => replica.refused(&told.first(refusal, Instant::now())),
            () = told.due() => {}
        }
        let is_stopping = replica.life.phase() == Phase::Stopping;
        for again in told.again(Instant::now(), is_stopping) {
            replica.refused(&again);
        }
    }
}

/// What a replica holds from its preparation until it will not run again.
struct Held {
    prepared: crate::runtime::Prepared,
    network: crate::net::Network,
    published: Vec<PublishGuard>,
    /// The ports of the service that routes lead to.
    routed: Vec<Arc<ServicePort>>,
    /// After `prepared`, whose guests have them open.
    _mounts: Mounts,
}

/// Why the service is being ended.
enum Killing {
    /// It is no longer wanted.
    Stopped,
    Ended(ServiceEnd),
}

struct Replica<'a> {
    life: Life,
    assignment: &'a Assignment,
    parts: &'a SupervisorParts,
    reporter: &'a Reporter,
    log: ReplicaLog,
    /// An exclusive service starts only while it is held.
    lease: Option<Arc<SharedLease>>,
    /// Raised by each session that tells of the replica.
    fence: NewestFence,
    /// How often this process started the service.
    starts: u32,
    /// Read by published ports.
    ready: watch::Sender<bool>,
    /// Read with each heartbeat.
    meter: Meter,
    held: Option<Held>,
    service: Option<AbortOnDrop>,
    /// Cancelled when `service` has ended.
    over: CancellationToken,
    /// Told by the service's task when its `run` is called.
    starting: Option<oneshot::Receiver<()>>,
    /// What the end of the service will be told as, since it is being ended.
    killing: Option<Killing>,
    readiness: Option<Readiness>,
    liveness: Option<Prober>,
    backoff: Option<Boxed<'static, ()>>,
    /// Whether the grace ended first.
    draining: Option<Boxed<'static, bool>>,
    asked_to_stop: bool,
}

impl Replica<'_> {
    /// What happens next. Dropping the future loses nothing.
    async fn next_event(
        &mut self,
        preparing: &mut Boxed<'_, Result<Ready, CannotRun>>,
        stop: &CancellationToken,
        worker_ends: &CancellationToken,
    ) -> Event {
        let is_pending = self.life.phase() == Phase::Pending;
        tokio::select! {
            // In the order of a life: a service that ended at once had started before.
            biased;
            () = stop.cancelled(), if !self.asked_to_stop => {
                self.asked_to_stop = true;
                Event::Stop
            }
            () = worker_ends.cancelled(), if !self.asked_to_stop => {
                self.asked_to_stop = true;
                Event::WorkerEnds
            }
            result = preparing, if is_pending => match result {
                Ok(ready) => {
                    self.hold(ready);
                    Event::Prepared
                }
                Err(CannotRun { reason, message }) => Event::CannotRun { reason, message },
            },
            () = started(&mut self.starting) => {
                self.watch();
                Event::Started
            }
            end = ended(&mut self.service) => self.ended(end),
            verdict = readiness(&mut self.readiness) => match verdict {
                Verdict::Healthy => Event::Ready,
                Verdict::Unhealthy(why) => Event::NotReady { why },
            },
            why = unhealthy(&mut self.liveness) => Event::Unhealthy {
                why: format!("its liveness probe {why}"),
            },
            () = elapsed(&mut self.backoff) => {
                self.backoff = None;
                Event::BackoffElapsed
            }
            late = drained(&mut self.draining) => {
                self.draining = None;
                Event::Drained { late }
            }
        }
    }

    async fn take(&mut self, event: Event) {
        let step = self.life.step(event, Instant::now());
        for action in &step.actions {
            self.act(action).await;
        }
        for note in &step.notes {
            let replica = &self.assignment.replica;
            tracing::info!(%replica, reason = note.reason, "{}", note.message);
        }
        self.reporter.step(&self.life, &step);
    }

    async fn act(&mut self, action: &Action) {
        match *action {
            Action::Start => self.start(),
            Action::Wait(wait) => self.wait(wait),
            Action::AwaitLease => self.wait(Duration::ZERO),
            Action::SetReady(ready) => {
                self.parts.router.set_ready(&self.assignment.replica, ready);
                self.ready.send_replace(ready);
            }
            Action::Drain => self.draining = Some(self.drain()),
            Action::Kill => self.kill(Killing::Stopped),
            Action::End(ref end) => self.kill(Killing::Ended(end.clone())),
            Action::Release => {
                self.log.end();
                self.parts.router.remove(&self.assignment.replica);
                self.reporter.endpoints(Vec::new());
                *self.meter.lock() = None;
                // Before anyone is told: whoever takes the replica's place may want the same ports.
                let published = self.held.take().map(|held| held.published);
                join_all(published.into_iter().flatten().map(PublishGuard::close)).await;
            }
        }
    }

    /// The guest saw an error code, which says neither what to change nor where.
    fn refused(&self, Again { refusal, count }: &Again) {
        let replica = &self.assignment.replica;
        tracing::info!(%replica, count, "{refusal}");
        let note = Note::warning("Refused", refusal.clone());
        self.reporter.note(&note, *count);
    }

    fn hold(&mut self, ready: Ready) {
        let routes = Routes::new(self.assignment, &ready.prepared, &ready.network, &self.log);
        let published = ready.published.into_iter();
        let published = published.map(|port| port.serve(self.ready.subscribe()));
        let published = published.collect();
        let replica = &self.assignment.replica;
        self.parts.router.set(replica, routes.targets);
        *self.meter.lock() = Some(Arc::clone(&ready.prepared.usage));
        self.held = Some(Held {
            prepared: ready.prepared,
            network: ready.network,
            published,
            routed: routes.ports,
            _mounts: ready.mounts,
        });
    }

    fn wait(&mut self, wait: Duration) {
        let lease = self.lease.clone();
        self.backoff = Some(Box::pin(async move {
            sleep(wait).await;
            held(lease.as_deref()).await;
        }));
    }

    fn start(&mut self) {
        let Some(held) = &self.held else { return };
        let Some(service) = held.prepared.service.clone() else {
            return;
        };
        self.log.begin_run(self.life.restarts());
        let turn = self.turn();
        self.over = CancellationToken::new();
        let (started, starting) = oneshot::channel();
        self.starting = Some(starting);
        self.service = Some(AbortOnDrop(tokio::spawn(async move {
            let started = || {
                // Nobody waits for it when the replica stops meanwhile.
                let _ = started.send(());
            };
            service.run(turn, started).await
        })));
    }

    fn turn(&mut self) -> Option<Turn> {
        // Before its fence is read.
        let tenure = self.lease.as_ref()?.tenure();
        let fence = self.fence.get()?.of_start(self.starts);
        self.starts = self.starts.saturating_add(1);
        Some(Turn { fence, tenure })
    }

    /// The service's `run` is called now.
    fn watch(&mut self) {
        let (Some(held), Some(service)) = (&self.held, &self.assignment.spec.service) else {
            return;
        };
        let network = &held.network;
        self.readiness = Some(Readiness::new(network, service));
        let liveness = service.liveness.as_ref();
        self.liveness = liveness.map(|probe| Prober::new(network, probe));
    }

    fn kill(&mut self, killing: Killing) {
        // Nobody asks a service that is being ended.
        self.readiness = None;
        self.liveness = None;
        self.killing = Some(killing);
        if let Some(service) = &self.service {
            service.0.abort();
        }
    }

    fn ended(&mut self, end: Result<ServiceEnd, JoinError>) -> Event {
        self.service = None;
        self.over.cancel();
        self.starting = None;
        self.readiness = None;
        self.liveness = None;
        let ran_for = self.life.ran_for(Instant::now());
        let killing = self.killing.take();
        let stderr = self.log.last_stderr("service", STDERR_LINES);
        let end = match (end, killing) {
            (Ok(end), _) | (Err(_), Some(Killing::Ended(end))) => end,
            (Err(_), Some(Killing::Stopped)) => {
                self.reporter.exited(exits::stopped(ran_for, stderr));
                return Event::Killed;
            }
            // A panic of ours while the guest called us: it costs this guest and no other.
            (Err(error), None) => {
                ServiceEnd::Trapped(format!("the worker failed in a call: {error}"))
            }
        };
        self.reporter.exited(exits::exit(&end, ran_for, stderr));
        Event::Ended {
            end,
            jitter: rand::random(),
        }
    }

    /// Requests in flight, upgraded and published connections finish, and so does a service that is
    /// to end once; or the grace ends, which is the answer. What is left of the service's then ends
    /// with it.
    fn drain(&self) -> Boxed<'static, bool> {
        let Some(held) = &self.held else {
            return Box::pin(async { false });
        };
        let components = held.prepared.components.clone();
        let idle: Vec<_> = held.published.iter().map(PublishGuard::idle).collect();
        let routed = held.routed.clone();
        let service = self.assignment.spec.service.as_ref();
        let grace = service.map_or(GRACE, |s| s.stop_grace);
        let grace = grace.min(self.parts.longest_grace);
        // One that always runs waits for work, of which none comes any more: it has no end to wait
        // for.
        let returns = service.is_some_and(|s| s.restart.restart != Restart::Always);
        let over = (returns && self.service.is_some()).then(|| self.over.clone());
        Box::pin(async move {
            let all = async {
                join_all(components.iter().map(|c| c.drain())).await;
                join_all(routed.iter().map(|port| port.drain())).await;
                join_all(idle).await;
                if let Some(over) = over {
                    over.cancelled().await;
                }
            };
            let late = timeout(grace, all).await.is_err();
            for component in components {
                component.stop();
            }
            late
        })
    }
}

/// Takes the replica out of what the whole worker shares, however its task ends.
struct Cleanup {
    replica: String,
    router: Router,
    logs: LogHub,
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        self.router.remove(&self.replica);
        self.logs.close(&self.replica);
    }
}

struct AbortOnDrop(JoinHandle<ServiceEnd>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Never when the service ended before it had started: that has an event of its own.
async fn started(starting: &mut Option<oneshot::Receiver<()>>) {
    if let Some(receiver) = starting {
        let told = receiver.await;
        *starting = None;
        if told.is_ok() {
            return;
        }
    }
    pending::<()>().await;
}

async fn ended(service: &mut Option<AbortOnDrop>) -> Result<ServiceEnd, JoinError> {
    match service {
        Some(service) => (&mut service.0).await,
        None => pending().await,
    }
}

async fn readiness(readiness: &mut Option<Readiness>) -> Verdict {
    match readiness {
        Some(readiness) => readiness.changed().await,
        None => pending().await,
    }
}

/// Why the service is not healthy any more.
async fn unhealthy(liveness: &mut Option<Prober>) -> String {
    let Some(prober) = liveness else {
        return pending().await;
    };
    loop {
        if let Verdict::Unhealthy(why) = prober.changed().await {
            return why;
        }
    }
}

async fn drained(draining: &mut Option<Boxed<'static, bool>>) -> bool {
    match draining {
        Some(draining) => draining.await,
        None => pending().await,
    }
}

/// Waits until the replica may run on this worker.
async fn held(lease: Option<&SharedLease>) {
    if let Some(lease) = lease {
        lease.held().await;
    }
}

async fn elapsed(timer: &mut Option<Boxed<'static, ()>>) {
    match timer {
        Some(timer) => timer.await,
        None => pending().await,
    }
}
