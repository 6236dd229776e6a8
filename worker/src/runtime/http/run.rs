//! Runs a guest that answers one request, for both generations of the interface.
//!
//! The guest runs in the task that waits for its answer, usually that of its connection. A small
//! answer is complete, and its guest has ended, before that task waits for anything. Otherwise the
//! guest gets a task of its own once its answer has begun: a connection does not poll a body while
//! its client reads nothing, but a guest must end in time.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use futures::task::AtomicWaker;
use http::{Method, Response};
use tokio::{sync::oneshot, task::AbortHandle, time::Instant};
use wasmtime_wasi_http::WasiBody;

use crate::{
    http::Body,
    runtime::{ComponentRuntime, failure::Failure, guest::GuestStore, pools::Place, slots::Slot},
};

use super::{
    body::{self, Answering},
    gathered::gather,
};

/// The parts with which a guest begins.
pub(in crate::runtime) struct Seat {
    pub slot: Slot,
    pub place: Place,
    pub deadline: Instant,
}

/// The head of an answer, and the sender that is dropped once its body is complete, for guests that
/// wait for that.
pub(in crate::runtime) type Begun = (Response<WasiBody>, Option<oneshot::Sender<()>>);

/// The state that a guest and its answer share.
pub(in crate::runtime) struct Progress {
    /// The guest ended by a trap, a timeout or an abort, so the body that it left is incomplete.
    failed: AtomicBool,
    /// Wakes the body when the guest has failed.
    body: AtomicWaker,
    stage: AtomicU8,
    /// The task that runs the guest, if it has one.
    task: OnceLock<AbortHandle>,
}

/// The progress of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    Waiting,
    Begun,
    /// The answer is complete, and the guest may continue by itself.
    Whole,
    /// The answer is no longer wanted, and neither is the guest.
    GivenUp,
}

/// Records a failure if it is dropped before the guest has succeeded. It must drop before the
/// store, so that the failure is known before the body ends.
pub(in crate::runtime) struct Outcome {
    progress: Arc<Progress>,
    succeeded: bool,
}

/// A guest that has begun its answer. Dropping it ends the guest.
struct Running {
    progress: Arc<Progress>,
    _done: Option<oneshot::Sender<()>>,
}

// === impl Seat ===

impl Seat {
    /// Waits until a guest of this component may begin.
    pub async fn wait(component: &ComponentRuntime, deadline: Instant) -> Result<Self, Failure> {
        let slot = component.request_slot(deadline).await?;
        match component.place(deadline).await {
            Ok(place) => Ok(Self {
                slot,
                place,
                deadline,
            }),
            Err(failure) => Err(component.logged(failure)),
        }
    }
}

// === impl ComponentRuntime ===

impl ComponentRuntime {
    /// Runs a guest until it has begun its answer, which `begun` returns then, or has ended. `run`
    /// comes from [`Self::run_guest`], in a box so that a pointer is moved to whatever runs it, and
    /// not kilobytes.
    pub(in crate::runtime) async fn answer_by<R>(
        self: &Arc<Self>,
        method: &Method,
        mut run: Pin<Box<R>>,
        progress: Arc<Progress>,
        mut begun: impl FnMut() -> Option<Result<Begun, Failure>>,
    ) -> Result<Response<Body>, Failure>
    where
        R: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let mut answer = None;
        let mut ended = poll_fn(|cx| {
            let ended = run.as_mut().poll(cx);
            answer = begun();
            match ended {
                Poll::Pending if answer.is_none() => Poll::Pending,
                ended => Poll::Ready(ended),
            }
        })
        .await;
        let Some(answer) = answer else {
            return Err(match ended {
                Poll::Ready(Err(failure)) => failure,
                _ => self.logged(Failure::NoAnswer),
            });
        };
        progress.reach(Stage::Begun);
        let running = |done| Running {
            progress: Arc::clone(&progress),
            _done: done,
        };
        let mut answer = match answer {
            Ok((response, done)) => body::answer(self, method, response, running(done)),
            Err(failure) => {
                running(None).release();
                Err(self.logged(failure))
            }
        };
        if ended.is_pending()
            && let Ok(response) = &mut answer
        {
            poll_fn(|cx| {
                gather(response.body_mut(), cx, |cx| {
                    if progress.stage() != Stage::GivenUp {
                        ended = run.as_mut().poll(cx);
                    }
                    ended.is_pending() && progress.stage() != Stage::GivenUp
                });
                Poll::Ready(())
            })
            .await;
        }
        // The guest may outlive its answer. A client that leaves before the answer is complete ends
        // the guest.
        if ended.is_pending() && progress.stage() != Stage::GivenUp {
            let task = tokio::spawn(run).abort_handle();
            progress.task.get_or_init(|| task);
        }
        answer
    }

    /// Runs a guest until it has finished its work, also after its answer. `work` calls the guest
    /// and completes then.
    pub(in crate::runtime) fn run_guest<W>(
        self: &Arc<Self>,
        seat: Seat,
        work: impl FnOnce(GuestStore, Outcome) -> W + Send + 'static,
        progress: &Arc<Progress>,
    ) -> impl Future<Output = Result<(), Failure>> + Send + 'static
    where
        W: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let (component, progress) = (Arc::clone(self), Arc::clone(progress));
        async move {
            let Seat {
                slot: _slot,
                place,
                deadline,
            } = seat;
            let memory = component.instance_memory();
            let outcome = Outcome {
                progress: Arc::clone(&progress),
                succeeded: false,
            };
            let work = pin!(work(component.store(0, &memory, place), outcome));
            let run = pin!(component.run(work));
            let result = component.until(deadline, &memory, run).await;
            result.map_err(|failure| component.logged(progress.explain(failure)))
        }
    }
}

// === impl Running ===

impl Answering for Running {
    fn release(self) {
        self.progress.reach(Stage::Whole);
    }

    fn has_failed(&self) -> bool {
        self.progress.failed.load(Ordering::Acquire)
    }

    /// The guest's own task ends it in time and logs the reason.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<Failure>> {
        self.progress.body.register(cx.waker());
        match self.has_failed() {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.progress.stage() == Stage::Whole {
            return;
        }
        self.progress.reach(Stage::GivenUp);
        if let Some(task) = self.progress.task.get() {
            task.abort();
        }
    }
}

// === impl Progress ===

impl Progress {
    pub fn new() -> Self {
        Self {
            failed: AtomicBool::new(false),
            body: AtomicWaker::new(),
            stage: AtomicU8::new(Stage::Waiting as u8),
            task: OnceLock::new(),
        }
    }

    fn reach(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            0 => Stage::Waiting,
            1 => Stage::Begun,
            2 => Stage::Whole,
            _ => Stage::GivenUp,
        }
    }

    /// Returns the failure that describes a timeout in the current stage.
    fn explain(&self, failure: Failure) -> Failure {
        let stage = self.stage();
        match failure {
            Failure::Timeout(limit) if stage == Stage::Whole => Failure::Overtime(limit),
            Failure::Timeout(limit) if stage == Stage::Begun => Failure::Unfinished(limit),
            failure => failure,
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// Records that the guest has finished its work without a failure.
    pub fn succeed(mut self) {
        self.succeeded = true;
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        if !self.succeeded {
            self.progress.failed.store(true, Ordering::Release);
            self.progress.body.wake();
        }
    }
}
