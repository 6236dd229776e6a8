//! Serves requests through `wasi:http/incoming-handler` 0.2, each with a fresh instance.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use http::{Request, Response, uri::Scheme};
use tokio::{sync::oneshot, task::JoinHandle, time::Instant};
use wasmtime::Store;
use wasmtime_wasi_http::{
    WasiBody, WasiHttpView as _,
    p2::{
        bindings::{ProxyPre, http::types},
        body::{HostOutgoingBody, HyperOutgoingBody, StreamContext},
    },
};

use crate::{
    http::{Body, RequestMeta},
    runtime::{
        ComponentRuntime, Guest,
        failure::Failure,
        guest::GuestStore,
        host_memory::{self, Held},
    },
};

use super::{
    body::{self, Answering},
    name_authority,
};

type Outcome = Result<Response<HyperOutgoingBody>, types::ErrorCode>;

/// The task that runs a guest until its answer is complete. Dropping it ends the guest.
struct Running {
    /// `None` once the guest continues by itself.
    task: Option<JoinHandle<Result<(), Failure>>>,
    progress: Arc<Progress>,
}

/// The state that a guest and its answer share.
struct Progress {
    /// The guest ended by a trap, a timeout or an abort, so the body that it left is incomplete.
    failed: AtomicBool,
    stage: AtomicU8,
}

/// The progress of an answer.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Stage {
    Waiting,
    Begun,
    Whole,
}

/// Records a failure if it is dropped before the run has succeeded.
struct Run {
    progress: Arc<Progress>,
    succeeded: bool,
}

impl ComponentRuntime {
    pub(super) async fn ask(
        self: &Arc<Self>,
        pre: &ProxyPre<Guest>,
        request: Request<WasiBody>,
        meta: RequestMeta,
        deadline: Instant,
    ) -> Result<Response<Body>, Failure> {
        let method = request.method().clone();
        let slot = self.request_slot(deadline).await?;
        let place = match self.place(deadline).await {
            Ok(place) => place,
            Err(failure) => return Err(self.logged(failure)),
        };
        let (outcome, answered) = oneshot::channel();
        let progress = Arc::new(Progress::new());
        let task = tokio::spawn({
            let (component, pre) = (Arc::clone(self), pre.clone());
            let progress = Arc::clone(&progress);
            let memory = self.instance_memory();
            async move {
                let _slot = slot;
                let guest = component.store(0, &memory, place);
                let answer = component.answer(pre, request, meta, outcome, &progress, guest);
                let run = component.run(answer);
                let result = component.until(deadline, &memory, run).await;
                result.map_err(|failure| component.logged(progress.explain(failure)))
            }
        });
        // The guest may outlive its answer. A client that leaves before the answer is complete ends
        // the guest.
        let guest = Running {
            task: Some(task),
            progress,
        };
        match answered.await {
            Ok(Ok(response)) => {
                guest.progress.reach(Stage::Begun);
                body::answer(self, &method, response, guest)
            }
            Ok(Err(code)) => {
                guest.release();
                Err(self.logged(Failure::error_code(code)))
            }
            Err(_) => match guest.end().await {
                Ok(()) => Err(self.logged(Failure::NoAnswer)),
                Err(failure) => Err(failure),
            },
        }
    }

    async fn answer(
        &self,
        pre: ProxyPre<Guest>,
        mut request: Request<WasiBody>,
        meta: RequestMeta,
        outcome: oneshot::Sender<Outcome>,
        progress: &Arc<Progress>,
        mut guest: GuestStore,
    ) -> Result<(), Failure> {
        // It drops before the store, so that the failure is known before the body ends.
        let mut run = Run {
            progress: Arc::clone(progress),
            succeeded: false,
        };
        name_authority(&mut request, &meta);
        let scheme = if meta.scheme == Scheme::HTTPS {
            types::Scheme::Https
        } else {
            types::Scheme::Http
        };
        let head = host_memory::fields_bytes(request.headers());
        let result = async {
            // wasmtime reads no more of the head than the guest asks for.
            guest.store.data_mut().account().keep(Held::Fields, head)?;
            let mut http = guest.store.data_mut().http();
            let request = http.new_incoming_request(scheme, request)?;
            let outparam = http.new_response_outparam(outcome)?;
            let proxy = pre.instantiate_async(&mut guest.store).await?;
            proxy
                .wasi_http_incoming_handler()
                .call_handle(&mut guest.store, request, outparam)
                .await
        }
        .await;
        match result {
            Ok(()) => {
                abandon_bodies(&mut guest.store);
                run.succeeded = true;
                guest.finish();
                Ok(())
            }
            Err(error) => Err(self.failure(&error, &guest)),
        }
    }
}

/// Aborts the bodies that a guest has neither finished nor dropped. The interface requires that a
/// complete body is finished, and dropping the store would finish them all.
fn abandon_bodies(store: &mut Store<Guest>) {
    for resource in store.data_mut().http().table.iter_mut() {
        if let Some(body) = resource.downcast_mut::<HostOutgoingBody>() {
            let (none, _) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
            std::mem::replace(body, none).abort();
        }
    }
}

// === impl Running ===

impl Running {
    /// Waits for the end of a guest that has not answered.
    async fn end(mut self) -> Result<(), Failure> {
        match &mut self.task {
            Some(task) => task
                .await
                .unwrap_or_else(|_| Err(Failure::Trapped("it was ended".into()))),
            None => Ok(()),
        }
    }
}

impl Answering for Running {
    fn release(mut self) {
        self.progress.reach(Stage::Whole);
        self.task = None;
    }

    fn has_failed(&self) -> bool {
        self.progress.failed.load(Ordering::Acquire)
    }

    /// Never completes, because the guest's own task ends it in time.
    fn poll_expired(&mut self, _: &mut Context<'_>) -> Poll<Failure> {
        Poll::Pending
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

// === impl Progress ===

impl Progress {
    fn new() -> Self {
        Self {
            failed: AtomicBool::new(false),
            stage: AtomicU8::new(Stage::Waiting as u8),
        }
    }

    fn reach(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// Returns the failure that describes a timeout in the current stage.
    fn explain(&self, failure: Failure) -> Failure {
        let stage = self.stage.load(Ordering::Relaxed);
        match failure {
            Failure::Timeout(limit) if stage == Stage::Whole as u8 => Failure::Overtime(limit),
            Failure::Timeout(limit) if stage == Stage::Begun as u8 => Failure::Unfinished(limit),
            failure => failure,
        }
    }
}

// === impl Run ===

impl Drop for Run {
    fn drop(&mut self) {
        if !self.succeeded {
            self.progress.failed.store(true, Ordering::Release);
        }
    }
}
