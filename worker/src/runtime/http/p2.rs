//! Serves requests through `wasi:http/incoming-handler` 0.2, each with a fresh instance.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use http::{Request, Response, uri::Scheme};
use tokio::{sync::oneshot, task::AbortHandle, time::Instant};
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
        pools::Place,
        slots::Slot,
    },
};

use super::{
    body::{self, Answering},
    name_authority,
};

type Outcome = Result<Response<HyperOutgoingBody>, types::ErrorCode>;

/// A request, and the place of its answer.
struct Asked {
    request: Request<WasiBody>,
    meta: RequestMeta,
    outcome: oneshot::Sender<Outcome>,
}

/// A guest that has begun its answer. Dropping it ends the guest.
struct Running {
    /// The task that runs the guest. `None` once the guest has ended or continues by itself.
    task: Option<AbortHandle>,
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
        let (outcome, mut answered) = oneshot::channel();
        let progress = Arc::new(Progress::new());
        let asked = Asked {
            request,
            meta,
            outcome,
        };
        // A box, so that a pointer is moved to whatever runs it, and not kilobytes.
        let mut run = Box::pin(self.run_guest(pre, asked, (slot, place), deadline, &progress));
        // The guest runs here until it answers. Small answers are complete by then, and their
        // guests have ended.
        let mut answer = None;
        let ended = poll_fn(|cx| {
            let ended = run.as_mut().poll(cx);
            answer = answered.try_recv().ok();
            match ended {
                Poll::Pending if answer.is_none() => Poll::Pending,
                ended => Poll::Ready(ended),
            }
        })
        .await;
        match (answer, ended) {
            (Some(answer), ended) => {
                progress.reach(Stage::Begun);
                // The guest may outlive its answer. A client that leaves before the answer is
                // complete ends the guest.
                let task = ended.is_pending().then(|| tokio::spawn(run).abort_handle());
                let guest = Running { task, progress };
                match answer {
                    Ok(response) => body::answer(self, &method, response, guest),
                    Err(code) => {
                        guest.release();
                        Err(self.logged(Failure::error_code(code)))
                    }
                }
            }
            (None, Poll::Ready(Err(failure))) => Err(failure),
            (None, _) => Err(self.logged(Failure::NoAnswer)),
        }
    }

    /// Runs a guest until it has finished its work, also after its answer.
    fn run_guest(
        self: &Arc<Self>,
        pre: &ProxyPre<Guest>,
        asked: Asked,
        (slot, place): (Slot, Place),
        deadline: Instant,
        progress: &Arc<Progress>,
    ) -> impl Future<Output = Result<(), Failure>> + Send + use<> {
        let (component, pre, progress) = (Arc::clone(self), pre.clone(), Arc::clone(progress));
        async move {
            let _slot = slot;
            let memory = component.instance_memory();
            let guest = component.store(0, &memory, place);
            let answer = pin!(component.answer(&pre, asked, &progress, guest));
            let run = pin!(component.run(answer));
            let result = component.until(deadline, &memory, run).await;
            result.map_err(|failure| component.logged(progress.explain(failure)))
        }
    }

    async fn answer(
        &self,
        pre: &ProxyPre<Guest>,
        asked: Asked,
        progress: &Arc<Progress>,
        mut guest: GuestStore,
    ) -> Result<(), Failure> {
        // It drops before the store, so that the failure is known before the body ends.
        let mut run = Run {
            progress: Arc::clone(progress),
            succeeded: false,
        };
        let Asked {
            mut request,
            meta,
            outcome,
        } = asked;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};

    use super::*;
    use crate::{
        http::{ClientBody, HttpTarget as _},
        runtime::{
            component::Http,
            http::ComponentHandle,
            tests::{Bench, doors::answering},
        },
    };

    /// The most bytes of the future that answers a request. The connection owns it.
    const ANSWER: usize = 3 << 10;

    /// The most bytes of the future that runs a guest. It is written to the heap once.
    const GUEST: usize = 8 << 10;

    #[tokio::test]
    async fn the_futures_of_a_request_are_small() {
        let component = answering(&["wasi:http/incoming-handler@0.2.12"]);
        let prepared = Bench::new().prepare(None, &[("api", &component)]).await;
        let component = Arc::clone(&prepared.unwrap().components[0]);
        let meta = RequestMeta {
            scheme: Scheme::HTTP,
            authority: "api".into(),
            peer: ([127, 0, 0, 1], 1).into(),
        };

        let handle = ComponentHandle(Arc::clone(&component));
        let request = Request::new(ClientBody::empty());
        let answer = handle.call(handle.admit().unwrap(), request, meta.clone());
        let size = size_of_val(&*answer);
        println!("the answer takes {size} bytes");
        assert!(size <= ANSWER, "{size}");

        let Some(Http::P2(pre)) = component.http() else {
            panic!("it answers by another generation");
        };
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let asked = Asked {
            request: Request::new(body),
            meta,
            outcome: oneshot::channel().0,
        };
        let deadline = component.deadline();
        let slot = component.request_slot(deadline).await.unwrap();
        let place = component.place(deadline).await.unwrap();
        let progress = Arc::new(Progress::new());
        let guest = component.run_guest(pre, asked, (slot, place), deadline, &progress);
        let size = size_of_val(&guest);
        println!("the guest takes {size} bytes");
        assert!(size <= GUEST, "{size}");
    }
}
