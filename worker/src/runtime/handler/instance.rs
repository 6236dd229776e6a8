//! An instance: the task that owns its store, and the requests that it serves.

use std::{future::poll_fn, pin::pin, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};
use warren_model::spec::Reuse;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::{
    WasiHttpView as _,
    p3::{
        Request,
        bindings::{Service, ServicePre},
    },
};

use crate::runtime::{
    ComponentRuntime, Guest,
    failure::Failure,
    guest::GuestStore,
    host_memory::{Exceeded, HeldBody},
    memory::InstanceMemory,
    pools,
};

use super::{
    Head, Job,
    load::{Load, Next, Place, Work},
};

/// The time after which an idle instance is dropped.
const IDLE: Duration = Duration::from_secs(10);

/// The extra time of an overdue request before the instance ends it. Usually the task that waits
/// for the answer ends it sooner, but no task waits while the client reads nothing.
const LATE: Duration = Duration::from_secs(1);

/// A live instance, as seen by the code that passes requests to it.
pub(super) struct Instance {
    jobs: mpsc::Sender<Box<Job>>,
    shared: Arc<Shared>,
    /// The way in which it ended.
    ended: watch::Receiver<Option<Result<(), Failure>>>,
    task: AbortHandle,
}

/// The state that an instance and its requests share.
struct Shared {
    load: Mutex<Load>,
    /// The load has changed.
    changed: Notify,
}

/// A request's place in an instance. Dropping it without [`Self::finish`] condemns the instance.
pub(super) struct Lease {
    instance: Arc<Instance>,
    /// `None` once it is finished.
    place: Option<Place>,
}

/// The parts with which a new instance begins.
pub(super) struct First {
    pub place: Place,
    pub job: Box<Job>,
    /// The part of the worker's pools that the instance takes.
    pub room: pools::Place,
}

// === impl Instance ===

impl Instance {
    /// Starts a new instance with its first request.
    pub fn start(
        component: &Arc<ComponentRuntime>,
        pre: &ServicePre<Guest>,
        reuse: Reuse,
        First { place, job, room }: First,
    ) -> (Arc<Self>, Lease) {
        let (jobs, queue) = mpsc::channel(reuse.concurrency as usize);
        let (end, ended) = watch::channel(None);
        let shared = Arc::new(Shared {
            load: Mutex::new(Load::new(place.deadline())),
            changed: Notify::new(),
        });
        let task = tokio::spawn({
            let (component, pre) = (Arc::clone(component), pre.clone());
            let shared = Arc::clone(&shared);
            let memory = component.instance_memory();
            async move {
                // It drops after the store.
                let life = Life(&shared);
                let fate = Fate {
                    end,
                    memory: Arc::clone(&memory),
                };
                let guest = component.store(0, &memory, room);
                let serve = serve(
                    &component,
                    &pre,
                    guest,
                    (job, queue),
                    reuse,
                    fate.clone(),
                    life.0,
                );
                let serve = pin!(serve);
                let mut running = pin!(component.run(serve));
                let cut = tokio::select! {
                    // The reason of a guest that ends by itself takes precedence.
                    biased;
                    done = &mut running => done.err(),
                    failure = overdue(&component, life.0) => Some(failure),
                    shortage = memory.taken_back() => Some(shortage.into()),
                    () = component.stopped() => {
                        let works = life.0.load.lock().work() != Work::Nothing;
                        works.then_some(Failure::Stopped)
                    }
                };
                if let Some(failure) = cut {
                    fate.tell(Err(component.logged(failure)));
                }
            }
        });
        let instance = Arc::new(Self {
            jobs,
            shared,
            ended,
            task: task.abort_handle(),
        });
        let lease = Lease::new(&instance, place);
        (instance, lease)
    }

    pub fn is_open(&self) -> bool {
        !self.jobs.is_closed() && self.shared.load.lock().is_open()
    }

    /// Takes the request, or returns it.
    pub fn take(
        self: &Arc<Self>,
        reuse: Reuse,
        place: Place,
        job: Box<Job>,
    ) -> Result<Lease, (Place, Box<Job>)> {
        let mut load = self.shared.load.lock();
        if !load.has_room(reuse) {
            return Err((place, job));
        }
        if let Err(back) = self.jobs.try_send(job) {
            return Err((place, back.into_inner()));
        }
        let slot = load.take(place.deadline());
        drop(load);
        drop(slot);
        self.shared.changed.notify_one();
        Ok(Lease::new(self, place))
    }
}

/// Completes with the reason once an instance has exceeded its time.
async fn overdue(component: &ComponentRuntime, shared: &Shared) -> Failure {
    loop {
        let work = shared.load.lock().work();
        let (until, failure) = match work {
            Work::Nothing => {
                shared.changed.notified().await;
                continue;
            }
            Work::Answering { until } => (until + LATE, Failure::Unfinished(component.timeout())),
            Work::Finishing { until } => (until, Failure::Overtime(component.timeout())),
        };
        tokio::select! {
            () = shared.changed.notified() => {}
            () = sleep_until(until) => {
                if shared.load.lock().work() == work {
                    return failure;
                }
            }
        }
    }
}

// === impl Lease ===

impl Lease {
    fn new(instance: &Arc<Instance>, place: Place) -> Self {
        Self {
            instance: Arc::clone(instance),
            place: Some(place),
        }
    }

    /// Records that the answer is complete. The guest may finish its work.
    pub fn finish(mut self) {
        if let Some(place) = self.place.take() {
            let shared = &self.instance.shared;
            let slot = shared.load.lock().finish(place);
            drop(slot);
            shared.changed.notify_one();
        }
    }

    /// Waits for the reason why the instance ended before its answer.
    pub async fn failure(&self) -> Failure {
        let mut ended = self.instance.ended.clone();
        match ended.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Err(failure))) => failure.clone(),
            Ok(_) => Failure::NoAnswer,
            Err(_) => Failure::Stopped,
        }
    }

    /// Returns whether the instance has failed, and with it every incomplete answer.
    pub fn has_failed(&self) -> bool {
        let ended = &self.instance.ended;
        matches!(*ended.borrow(), Some(Err(_)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        let shared = &self.instance.shared;
        let (next, slot) = shared.load.lock().give_up(place, Instant::now());
        if next == Next::Ends {
            self.instance.task.abort();
        }
        drop(slot);
        shared.changed.notify_one();
    }
}

/// Records that an instance has ended, in whatever way, so that its places are free.
struct Life<'a>(&'a Shared);

impl Drop for Life<'_> {
    fn drop(&mut self) {
        let slot = self.0.load.lock().end();
        drop(slot);
    }
}

/// Reports how an instance ended. If it is dropped without a report, the instance was cut.
#[derive(Clone)]
struct Fate {
    end: watch::Sender<Option<Result<(), Failure>>>,
    memory: Arc<InstanceMemory>,
}

impl Fate {
    /// Only the first report counts.
    fn tell(&self, result: Result<(), Failure>) {
        self.end.send_if_modified(|fate| {
            let is_first = fate.is_none();
            if is_first {
                *fate = Some(result);
            }
            is_first
        });
    }
}

impl Drop for Fate {
    fn drop(&mut self) {
        let shortage = self.memory.ending().map(Failure::from);
        self.tell(Err(shortage.unwrap_or(Failure::Stopped)));
    }
}

/// Serves until the instance has taken all the requests that it may, or has been idle for a while,
/// and the guest has finished its work.
async fn serve(
    component: &ComponentRuntime,
    pre: &ServicePre<Guest>,
    mut guest: GuestStore,
    (first, mut queue): (Box<Job>, mpsc::Receiver<Box<Job>>),
    reuse: Reuse,
    fate: Fate,
    shared: &Shared,
) -> Result<(), Failure> {
    // It drops before the store, so that the failure of an answer is known before its body ends.
    let fate = fate;
    let result = async {
        let service = pre.instantiate_async(&mut guest.store).await?;
        guest
            .store
            .run_concurrent(async |store| {
                let mut running = FuturesUnordered::new();
                running.push(handle(store, &service, first));
                let mut left = reuse.requests - 1;
                let mut is_quiet = false;
                loop {
                    let idle = running.is_empty();
                    if idle && is_quiet && left == 0 {
                        return Ok(());
                    }
                    tokio::select! {
                        job = next(&mut queue, idle), if left > 0 => match job {
                            Some(job) => {
                                left -= 1;
                                is_quiet = false;
                                shared.load.lock().begin();
                                running.push(handle(store, &service, job));
                            }
                            None => left = 0,
                        },
                        Some(result) = running.next(), if !idle => result?,
                        // The guest spawned tasks, or the task of an abandoned request is left.
                        () = no_tasks(store), if idle && !is_quiet => {
                            is_quiet = true;
                            let slot = shared.load.lock().quiet();
                            drop(slot);
                        }
                    }
                }
            })
            .await
            .flatten()
    }
    .await;
    match result {
        Ok(()) => {
            fate.tell(Ok(()));
            guest.finish();
        }
        Err(error) => {
            shared.load.lock().fail();
            let failure = component.failure(&error, &guest);
            fate.tell(Err(component.logged(failure)));
        }
    }
    Ok(())
}

/// Completes once the guest has no task left.
pub(super) async fn no_tasks(store: &Accessor<Guest>) {
    poll_fn(|cx| store.poll_no_interesting_tasks(cx)).await;
}

/// Returns the next request. An idle instance waits only for a limited time.
async fn next(queue: &mut mpsc::Receiver<Box<Job>>, idle: bool) -> Option<Box<Job>> {
    if !idle {
        return queue.recv().await;
    }
    match timeout(IDLE, queue.recv()).await {
        Ok(job) => job,
        Err(_) => {
            queue.close();
            // A request may have arrived before it was closed.
            queue.recv().await
        }
    }
}

/// Serves one request until its answer is complete or no longer wanted. An error ends the instance.
pub(super) async fn handle(
    store: &Accessor<Guest>,
    service: &Service,
    job: Box<Job>,
) -> wasmtime::Result<()> {
    let Job {
        request,
        mut answer,
    } = *job;
    let request = store.with(|mut store| {
        let guest = store.data_mut();
        guest.hold_head(request.headers())?;
        // The fate of the request's body does not matter here.
        let (request, _) = Request::from_http(guest.http().hooks, request);
        Ok(request)
    });
    let request = match request {
        Ok(request) => request,
        Err(exceeded) => {
            // The receiver may be gone, as below.
            let _ = answer.send(Err(Exceeded::into(exceeded)));
            return Ok(());
        }
    };
    let response = tokio::select! {
        response = service.handle(store, request) => response?,
        () = answer.closed() => return Ok(()),
    };
    let response = match response {
        Ok(response) => response,
        Err(code) => {
            // The receiver may be gone.
            let _ = answer.send(Err(Failure::error_code(code)));
            return Ok(());
        }
    };
    let response = store.with(|mut store| {
        let piece = store.data_mut().hold_piece()?;
        let response = response.into_http(store, async { Ok(()) })?;
        wasmtime::error::Ok(match response.body().is_end_stream() {
            true => response,
            false => response.map(|body| HeldBody::new(body, piece).boxed_unsync()),
        })
    })?;
    let (done, is_done) = tokio::sync::oneshot::channel();
    if answer.send(Ok(Head { response, done })).is_ok() {
        // The sender is dropped and never sends.
        let _ = is_done.await;
    }
    Ok(())
}
