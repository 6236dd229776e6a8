//! One instance: the task that owns its store, and the requests that it is serving.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::timeout,
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

use crate::runtime::{ComponentRuntime, Guest, failure::Failure, memory::InstanceMemory};

use super::{Answer, Job};

/// An instance that nobody needs any more is dropped after this time.
const IDLE: Duration = Duration::from_secs(10);

/// A live instance, as those who give it requests see it.
pub(super) struct Instance {
    jobs: mpsc::Sender<Box<Job>>,
    load: Mutex<Load>,
    /// How it ended.
    ended: watch::Receiver<Option<Result<(), Failure>>>,
    task: AbortHandle,
}

#[derive(Default)]
struct Load {
    running: u32,
    taken: u32,
    /// A request was given up in it: it takes no more, and is cut once no other runs.
    condemned: bool,
}

/// A request's place in an instance. Dropped before [`Self::finish`], it condemns the instance.
pub(super) struct Lease {
    instance: Arc<Instance>,
    finished: bool,
}

// === impl Instance ===

impl Instance {
    /// A new instance with its first request.
    pub fn start(
        component: &Arc<ComponentRuntime>,
        pre: &ServicePre<Guest>,
        reuse: Reuse,
        job: Box<Job>,
    ) -> (Arc<Self>, Lease) {
        let (jobs, queue) = mpsc::channel(reuse.concurrency as usize);
        let (end, ended) = watch::channel(None);
        let task = tokio::spawn({
            let (component, pre) = (Arc::clone(component), pre.clone());
            let memory = component.instance_memory();
            async move {
                let fate = Fate {
                    end,
                    memory: Arc::clone(&memory),
                };
                let serve = serve(&component, &pre, queue, reuse, job, fate);
                tokio::select! {
                    // Its fate is told, also when it is cut.
                    _ = component.run(serve) => {}
                    () = component.stopped() => {}
                    shortage = memory.taken_back() => component.log_failure(&shortage.into()),
                }
            }
        });
        let instance = Arc::new(Self {
            jobs,
            load: Mutex::new(Load {
                running: 1,
                taken: 1,
                condemned: false,
            }),
            ended,
            task: task.abort_handle(),
        });
        let lease = Lease::new(&instance);
        (instance, lease)
    }

    pub fn is_open(&self) -> bool {
        !self.jobs.is_closed() && !self.load.lock().condemned
    }

    /// Takes the request, or gives it back.
    pub fn take(self: &Arc<Self>, reuse: Reuse, job: Box<Job>) -> Result<Lease, Box<Job>> {
        let mut load = self.load.lock();
        let has_room =
            !load.condemned && load.running < reuse.concurrency && load.taken < reuse.requests;
        if !has_room {
            return Err(job);
        }
        self.jobs
            .try_send(job)
            .map_err(mpsc::error::TrySendError::into_inner)?;
        load.running += 1;
        load.taken += 1;
        Ok(Lease::new(self))
    }
}

// === impl Lease ===

impl Lease {
    fn new(instance: &Arc<Instance>) -> Self {
        Self {
            instance: Arc::clone(instance),
            finished: false,
        }
    }

    /// The request has its whole answer.
    pub fn finish(mut self) {
        self.finished = true;
    }

    /// Why the instance ended before its answer.
    pub async fn failure(&self) -> Failure {
        let mut ended = self.instance.ended.clone();
        match ended.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Err(failure))) => failure.clone(),
            Ok(_) => Failure::Trapped("it returned without an answer".into()),
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
        let mut load = self.instance.load.lock();
        load.running -= 1;
        load.condemned |= !self.finished;
        if load.condemned && load.running == 0 {
            self.instance.task.abort();
        }
    }
}

/// Tells how an instance ended, and that it was cut if nothing else was told.
struct Fate {
    end: watch::Sender<Option<Result<(), Failure>>>,
    memory: Arc<InstanceMemory>,
}

impl Fate {
    fn tell(&self, result: Result<(), Failure>) {
        self.end.send_replace(Some(result));
    }
}

impl Drop for Fate {
    fn drop(&mut self) {
        if self.end.borrow().is_none() {
            let shortage = self.memory.ending().map(Failure::from);
            self.tell(Err(shortage.unwrap_or(Failure::Stopped)));
        }
    }
}

/// Serves until it has taken all the requests that it may, or none comes for a while.
async fn serve(
    component: &ComponentRuntime,
    pre: &ServicePre<Guest>,
    mut queue: mpsc::Receiver<Box<Job>>,
    reuse: Reuse,
    first: Box<Job>,
    fate: Fate,
) -> Result<(), Failure> {
    let mut guest = component.store(0, &fate.memory);
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
                loop {
                    let idle = running.is_empty();
                    tokio::select! {
                        job = next(&mut queue, idle), if left > 0 => match job {
                            Some(job) => {
                                left -= 1;
                                running.push(handle(store, &service, job));
                            }
                            None => left = 0,
                        },
                        Some(result) = running.next(), if !idle => result?,
                        else => return Ok(()),
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
            let failure = component.failure(&error, &guest);
            component.log_failure(&failure);
            fate.tell(Err(failure));
        }
    }
    Ok(())
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
        let http = store.data_mut().http();
        // What became of the request's body is the guest's own business.
        let (request, _) = Request::from_http(http.hooks, request);
        request
    });
    let response = tokio::select! {
        response = service.handle(store, request) => response?,
        () = answer.closed() => return Ok(()),
    };
    let response = match response {
        Ok(response) => response,
        Err(code) => {
            let text = format!("it answered with an error: {code}");
            // Nobody may be waiting any more.
            let _ = answer.send(Err(Failure::Trapped(text)));
            return Ok(());
        }
    };
    let response = store.with(|store| response.into_http(store, async { Ok(()) }))?;
    let (done, is_done) = tokio::sync::oneshot::channel();
    if answer.send(Ok(Answer { response, done })).is_ok() {
        // Dropped, never sent.
        let _ = is_done.await;
    }
    Ok(())
}
