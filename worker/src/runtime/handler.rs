//! Serves requests through `wasi:http/handler` 0.3. A request goes to a fresh instance, or to one
//! that serves several requests, as the manifest says.

mod answer;
mod fresh;
mod instance;
mod load;

use std::sync::Arc;

use http::{Request, Response};
use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};
use warren_model::spec::Reuse;
use wasmtime_wasi_http::{WasiBody, p3::bindings::ServicePre};

use crate::http::{Body, RequestMeta};

use super::{ComponentRuntime, Guest, failure::Failure, http::body};
use answer::Answer;
use instance::{First, Instance, Lease};
use load::Place;

/// The instances of one component.
pub(super) struct Handler {
    pre: ServicePre<Guest>,
    /// `None` if each request has an instance of its own.
    reuse: Option<Reuse>,
    /// The instances that may take more requests.
    open: Mutex<Vec<Arc<Instance>>>,
}

/// A request on its way to an instance.
struct Job {
    request: Request<WasiBody>,
    answer: oneshot::Sender<Result<Head, Failure>>,
}

/// The head of an answer and the channel that ends its body. The body needs the instance to run.
struct Head {
    response: Response<WasiBody>,
    /// This is dropped when the body is complete or no longer read. The instance is then done with
    /// the request.
    done: oneshot::Sender<()>,
}

// === impl Handler ===

impl Handler {
    pub fn new(pre: ServicePre<Guest>, reuse: Option<Reuse>) -> Self {
        Self {
            pre,
            reuse: reuse.filter(|reuse| reuse.requests > 1),
            open: Mutex::default(),
        }
    }

    /// Answers a request until `deadline`, which covers the time from its arrival to the last byte
    /// of the answer, and in which its guest may also finish its work. Dropping the future, or the
    /// body before it is complete, gives up the request, and ends the instance if it serves no
    /// other.
    pub async fn handle(
        &self,
        component: &Arc<ComponentRuntime>,
        mut request: Request<WasiBody>,
        meta: &RequestMeta,
        deadline: Instant,
    ) -> Result<Response<Body>, Failure> {
        super::http::name_target(&mut request, meta);
        let Some(reuse) = self.reuse else {
            return fresh::answer(component, &self.pre, request, deadline).await;
        };
        let method = request.method().clone();
        let slot = component.request_slot(deadline).await?;
        let (answer, answered) = oneshot::channel();
        let job = Box::new(Job { request, answer });
        let lease = match self.take(reuse, Place::new(slot, deadline), job) {
            Ok(lease) => lease,
            Err((place, job)) => match component.place(deadline).await {
                Ok(room) => self.start(component, reuse, First { place, job, room }),
                Err(failure) => return Err(component.logged(failure)),
            },
        };
        match timeout_at(deadline, answered).await {
            Ok(Ok(Ok(Head { response, done }))) => {
                let answer = Answer::new(lease, done, deadline, component.timeout());
                body::answer(component, &method, response, answer)
            }
            Ok(Ok(Err(failure))) => {
                lease.finish();
                Err(component.logged(failure))
            }
            Ok(Err(_)) => Err(lease.failure().await),
            Err(_) => Err(component.logged(Failure::Timeout(component.timeout()))),
        }
    }

    /// Passes the request to an instance that has room, or returns it.
    fn take(
        &self,
        reuse: Reuse,
        mut place: Place,
        mut job: Box<Job>,
    ) -> Result<Lease, (Place, Box<Job>)> {
        let mut open = self.open.lock();
        open.retain(|instance| instance.is_open());
        for instance in &*open {
            match instance.take(reuse, place, job) {
                Ok(lease) => return Ok(lease),
                Err(back) => (place, job) = back,
            }
        }
        Err((place, job))
    }

    /// Starts a new instance with its first request.
    fn start(&self, component: &Arc<ComponentRuntime>, reuse: Reuse, first: First) -> Lease {
        let (instance, lease) = Instance::start(component, &self.pre, reuse, first);
        self.open.lock().push(instance);
        lease
    }
}
