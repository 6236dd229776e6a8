//! One instance: the task that owns its store, and the requests that it is serving.

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

/// An instance that nobody needs any more is dropped after this time.
const IDLE: Duration = Duration::from_secs(10);

/// The task that waits for an answer ends a request that is overdue. Where the client reads
/// nothing, so that no task waits, the instance ends it after this time.
const LATE: Duration = Duration::from_secs(1);

/// A live instance, as those who give it requests see it.
pub(super) struct Instance {
    jobs: mpsc::Sender<Box<Job>>,
    shared: Arc<Shared>,
    /// How it ended.
    ended: watch::Receiver<Option<Result<(), Failure>>>,
    task: AbortHandle,
}

/// What an instance and its requests know of each other.
struct Shared {
    load: Mutex<Load>,
    /// The load has changed.
    changed: Notify,
}

/// A request's place in an instance. Dropped before [`Self::finish`], it condemns the instance.
pub(super) struct Lease {
    instance: Arc<Instance>,
    /// `None` once it is finished.
    place: Option<Place>,
}

/// What a new instance begins with.
pub(super) struct First {
    pub place: Place,
    pub job: Box<Job>,
    /// What the instance takes of the worker's pools.
    pub room: pools::Place,
}

// === impl Instance ===

impl Instance {
    /// A new instance with its first request.
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
                // Dropped after the store.
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
                let mut running = pin!(component.run(serve));
                let cut = tokio::select! {
                    // A guest that ends by itself has said why.
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

    /// Takes the request, or gives it back.
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

/// Returns with the reason when an instance has taken longer than it may.
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

    /// The request has its whole answer, and its guest may finish its work.
    pub fn finish(mut self) {
        if let Some(place) = self.place.take() {
            let shared = &self.instance.shared;
            let slot = shared.load.lock().finish(place);
            drop(slot);
            shared.changed.notify_one();
        }
    }

    /// Why the instance ended before its answer.
    pub async fn failure(&self) -> Failure {
        let mut ended = self.instance.ended.clone();
        match ended.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Err(failure))) => failure.clone(),
            Ok(_) => Failure::NoAnswer,
            Err(_) => Failure::Stopped,
        }
    }

    /// Whether the instance has failed, and with it every answer that is not whole.
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

/// Notes that an instance has ended, however that was: what it held is free.
struct Life<'a>(&'a Shared);

impl Drop for Life<'_> {
    fn drop(&mut self) {
        let slot = self.0.load.lock().end();
        drop(slot);
    }
}

/// Tells how an instance ended, and that it was cut if nothing else was told.
#[derive(Clone)]
struct Fate {
    end: watch::Sender<Option<Result<(), Failure>>>,
    memory: Arc<InstanceMemory>,
}

impl Fate {
    /// The first word counts.
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

/// Serves until it has taken all the requests that it may, or none comes for a while, and the guest
/// has finished its work.
async fn serve(
    component: &ComponentRuntime,
    pre: &ServicePre<Guest>,
    mut guest: GuestStore,
    (first, mut queue): (Box<Job>, mpsc::Receiver<Box<Job>>),
    reuse: Reuse,
    fate: Fate,
    shared: &Shared,
) -> Result<(), Failure> {
    // Dropped before the store, so that an answer's body is known to have failed before it ends.
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
                        // Tasks that the guest spawned, or that of a request that was given up.
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

/// Returns once the guest does nothing any more.
async fn no_tasks(store: &Accessor<Guest>) {
    poll_fn(|cx| store.poll_no_interesting_tasks(cx)).await;
}

/// The next request; for an idle instance only as long as it waits.
async fn next(queue: &mut mpsc::Receiver<Box<Job>>, idle: bool) -> Option<Box<Job>> {
    if !idle {
        return queue.recv().await;
    }
    match timeout(IDLE, queue.recv()).await {
        Ok(job) => job,
        Err(_) => {
            queue.close();
            // One may have come before it was closed.
            queue.recv().await
        }
    }
}

/// One request, until its answer is whole or nobody wants it any more. An error ends the instance.
async fn handle(store: &Accessor<Guest>, service: &Service, job: Box<Job>) -> wasmtime::Result<()> {
    let Job {
        request,
        mut answer,
    } = *job;
    let request = store.with(|mut store| {
        let guest = store.data_mut();
        guest.hold_head(request.headers())?;
        // What became of the request's body is the guest's own business.
        let (request, _) = Request::from_http(guest.http().hooks, request);
        Ok(request)
    });
    let request = match request {
        Ok(request) => request,
        Err(exceeded) => {
            // As below.
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
            // Nobody may be waiting any more.
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
        // Dropped, never sent.
        let _ = is_done.await;
    }
    Ok(())
}
