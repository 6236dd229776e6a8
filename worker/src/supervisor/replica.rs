//! The task of one replica: it carries out what its life decides, and passes events to it.

use std::{
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use tokio::{
    sync::{oneshot, watch},
    task::JoinError,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use warren_model::{reason, spec::Restart};

use crate::{
    ingress::{Router, ServicePort},
    lease::SharedLease,
    logs::{LogHub, ReplicaLog},
    policy,
    probe::{Prober, Verdict},
    publish::PublishGuard,
    replica::{Assignment, NewestFence},
    runtime::{ServiceEnd, Turn},
    volumes::Mounts,
};

use super::{
    Handle, Meter, SupervisorParts,
    exits::{self, STDERR_LINES},
    life::{Action, Event, Life, Note, Phase},
    prepare::{self, CannotRun, Ready, prepare},
    readiness::Readiness,
    refusals::{RefusalDigest, Repeat},
    report::Reporter,
    routes::Routes,
};

/// How long a workload without a service may take to finish its requests.
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
    let (sender, mut refusals) = policy::refusals();
    let lease = prepare::lease(&assignment, parts);
    let mut preparing: Boxed<'_, Result<Ready, CannotRun>> = Box::pin(async {
        let ready = prepare(&assignment, parts, log.clone(), sender, &reporter).await?;
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
        end_cause: None,
        readiness: None,
        liveness: None,
        backoff: None,
        draining: None,
        asked_to_stop: false,
    };
    let mut digest = RefusalDigest::default();
    while !replica.life.is_over() {
        tokio::select! {
            event = replica.next_event(&mut preparing, &stop, &worker_ends) => replica.take(event).await,
            Some(refusal) = refusals.recv() => replica.refused(&digest.first(refusal, Instant::now())),
            () = digest.due() => {}
        }
        let is_stopping = replica.life.phase() == Phase::Stopping;
        for repeat in digest.repeats(Instant::now(), is_stopping) {
            replica.refused(&repeat);
        }
    }
}

/// The resources that a replica holds from its preparation until it will not run again.
struct Held {
    prepared: crate::runtime::Prepared,
    network: warren_net::Network,
    published: Vec<PublishGuard>,
    /// The ports of the service that routes lead to.
    routed: Vec<Arc<ServicePort>>,
    /// Dropped after `prepared`, whose guests have the directories open.
    _mounts: Mounts,
}

/// Why the replica ends its service.
enum EndCause {
    /// The replica is stopping.
    Stopped,
    Ended(ServiceEnd),
}

struct Replica<'a> {
    life: Life,
    assignment: &'a Assignment,
    parts: &'a SupervisorParts,
    reporter: &'a Reporter,
    log: ReplicaLog,
    /// The lease of an exclusive service, which starts only while the lease is held.
    lease: Option<Arc<SharedLease>>,
    /// Raised by each session that assigns the replica.
    fence: NewestFence,
    /// How often this process has started the service.
    starts: u32,
    /// Whether published ports accept connections.
    ready: watch::Sender<bool>,
    /// The resource usage, which is read with each heartbeat.
    meter: Meter,
    held: Option<Held>,
    service: Option<AbortOnDropHandle<ServiceEnd>>,
    /// Cancelled when `service` has ended.
    over: CancellationToken,
    /// Notified by the service's task when its `run` is called.
    starting: Option<oneshot::Receiver<()>>,
    /// Why the replica is ending the service, which determines how the end is reported.
    end_cause: Option<EndCause>,
    readiness: Option<Readiness>,
    liveness: Option<Prober>,
    backoff: Option<Boxed<'static, ()>>,
    /// Resolves to whether the grace expired before everything had finished.
    draining: Option<Boxed<'static, bool>>,
    asked_to_stop: bool,
}

impl Replica<'_> {
    /// Waits for the next event. Cancel safe: no event is lost.
    async fn next_event(
        &mut self,
        preparing: &mut Boxed<'_, Result<Ready, CannotRun>>,
        stop: &CancellationToken,
        worker_ends: &CancellationToken,
    ) -> Event {
        let is_pending = self.life.phase() == Phase::Pending;
        tokio::select! {
            // In the order of a life: a service that ended at once must be seen as started before.
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
            Action::Kill => self.kill(EndCause::Stopped),
            Action::End(ref end) => self.kill(EndCause::Ended(end.clone())),
            Action::Release => {
                self.log.end();
                self.parts.router.remove(&self.assignment.replica);
                self.reporter.endpoints(Vec::new());
                *self.meter.lock() = None;
                // Done before the end is reported, as a replacement may want the same ports.
                let published = self.held.take().map(|held| held.published);
                join_all(published.into_iter().flatten().map(PublishGuard::close)).await;
            }
        }
    }

    /// Reports what a guest was refused: the guest itself only saw an error code, which says
    /// neither what to change nor where.
    fn refused(&self, Repeat { refusal, count }: &Repeat) {
        let replica = &self.assignment.replica;
        tracing::info!(%replica, count, "{refusal}");
        let note = Note::warning(reason::REFUSED, refusal.clone());
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
        self.service = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let started = || {
                // The receiver is gone if the replica is stopping.
                let _ = started.send(());
            };
            service.run(turn, started).await
        })));
    }

    fn turn(&mut self) -> Option<Turn> {
        // The tenure must begin before the fence is read.
        let tenure = self.lease.as_ref()?.tenure();
        let fence = self.fence.get()?.of_start(self.starts);
        self.starts = self.starts.saturating_add(1);
        Some(Turn { fence, tenure })
    }

    /// Starts to watch the health of the service, whose `run` is called now.
    fn watch(&mut self) {
        let (Some(held), Some(service)) = (&self.held, &self.assignment.spec.service) else {
            return;
        };
        let network = &held.network;
        self.readiness = Some(Readiness::new(network, service));
        let liveness = service.liveness.as_ref();
        self.liveness = liveness.map(|probe| Prober::new(network, probe));
    }

    fn kill(&mut self, cause: EndCause) {
        // A service that is being ended is not probed.
        self.readiness = None;
        self.liveness = None;
        self.end_cause = Some(cause);
        if let Some(service) = &self.service {
            service.abort();
        }
    }

    fn ended(&mut self, end: Result<ServiceEnd, JoinError>) -> Event {
        self.service = None;
        self.over.cancel();
        self.starting = None;
        self.readiness = None;
        self.liveness = None;
        let ran_for = self.life.ran_for(Instant::now());
        let cause = self.end_cause.take();
        let stderr = self.log.last_stderr("service", STDERR_LINES);
        let end = match (end, cause) {
            (Ok(end), _) | (Err(_), Some(EndCause::Ended(end))) => end,
            (Err(_), Some(EndCause::Stopped)) => {
                self.reporter.exited(exits::stopped(ran_for, stderr));
                return Event::Killed;
            }
            // The worker panicked in a call of the guest. This ends only this guest.
            (Err(error), None) => {
                ServiceEnd::Trapped(format!("the worker failed in a call of the guest: {error}"))
            }
        };
        self.reporter.exited(exits::exit(&end, ran_for, stderr));
        Event::Ended {
            end,
            jitter: rand::random(),
        }
    }

    /// Waits until requests in flight, upgraded connections and published connections have
    /// finished, and so has a service that is meant to end. Resolves to whether the grace expired
    /// first. Whatever is left of the service then ends with it.
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
        // A service that always restarts is not expected to end by itself, so do not wait for its
        // end.
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

/// Removes the replica from the worker's shared state, however its task ends.
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

/// Waits until the service has started. Never resolves if it ended before that, which has its own
/// event.
async fn started(starting: &mut Option<oneshot::Receiver<()>>) {
    if let Some(receiver) = starting {
        let started = receiver.await;
        *starting = None;
        if started.is_ok() {
            return;
        }
    }
    pending::<()>().await;
}

async fn ended(
    service: &mut Option<AbortOnDropHandle<ServiceEnd>>,
) -> Result<ServiceEnd, JoinError> {
    match service {
        Some(service) => service.await,
        None => pending().await,
    }
}

async fn readiness(readiness: &mut Option<Readiness>) -> Verdict {
    match readiness {
        Some(readiness) => readiness.changed().await,
        None => pending().await,
    }
}

/// Waits until the service is unhealthy, and returns why.
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
