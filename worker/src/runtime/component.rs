//! One component of one replica, whose instances are bounded in number, time and memory.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use warren_model::{
    component::WasiGeneration,
    name::Name,
    spec::{BodyLimits, Component as Spec},
};
use wasmtime::{
    Engine,
    component::{Component, Instance, InstancePre},
};
use wasmtime_wasi_http::{p2::bindings::ProxyPre, p3::bindings::ServicePre};

use crate::{http::Admission, lease::LeaseExpired, logs::Stream, policy::Role};

use super::{
    Guest,
    failure::Failure,
    guest::{GuestStore, GuestTemplate},
    handler::Handler,
    host_memory::{Charge, Held, HostBudget},
    memory::InstanceMemory,
    pools::Place,
    slots::{Slot, Slots},
};

/// The limit of nested calls between components. It is enough for any real chain, and low enough
/// that the stacks of a runaway chain stay small.
const CALL_DEPTH: u32 = 16;

/// The longest time that a request waits for a place in the worker's pools, after it got a place
/// among the invocations of its component. Its workload already holds its share of the pools, and a
/// client that gets an error can do more about it than one that waits.
const PLACE_WAIT: Duration = Duration::from_secs(5);

/// A component that can be invoked. Unless `reuse` says otherwise, each invocation has an instance
/// of its own.
pub struct ComponentRuntime {
    name: Name,
    engine: Engine,
    template: GuestTemplate,
    pre: InstancePre<Guest>,
    http: Option<Http>,
    timeout: Duration,
    bodies: BodyLimits,
    slots: Slots,
    stopped: CancellationToken,
}

/// The way in which a component answers HTTP.
pub(super) enum Http {
    /// Through `wasi:http/incoming-handler` 0.2.
    P2(ProxyPre<Guest>),
    /// Through `wasi:http/handler` 0.3.
    P3(Handler),
}

/// The guest that makes a WIT call.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) role: Role,
    /// The number of calls that led to it.
    pub(super) depth: u32,
    pub(super) host_budget: Arc<HostBudget>,
}

/// A live instance and the place that it takes. Dropping it ends the instance.
pub struct Invocation {
    _slot: Slot,
    pub guest: GuestStore,
    pub instance: Instance,
}

impl Caller {
    pub(super) fn of(guest: &Guest) -> Self {
        Self {
            role: guest.role(),
            depth: guest.depth(),
            host_budget: Arc::clone(guest.host_budget()),
        }
    }

    /// Charges the caller for this many bytes of arguments until the call has ended.
    pub(super) fn hold(&self, bytes: usize) -> Result<Charge, Failure> {
        let charge = self.host_budget.take(Held::Values, bytes);
        charge.map_err(Failure::CallTooLarge)
    }
}

impl ComponentRuntime {
    /// Returns a runtime for a component. `answers_by` is the generation of WASI by which it
    /// answers HTTP, if it does.
    pub(super) fn new(
        spec: &Spec,
        template: GuestTemplate,
        pre: InstancePre<Guest>,
        answers_by: Option<WasiGeneration>,
    ) -> wasmtime::Result<Self> {
        let http = match answers_by {
            None => Ok(None),
            Some(WasiGeneration::P2) => ProxyPre::new(pre.clone()).map(Http::P2).map(Some),
            Some(WasiGeneration::P3) => ServicePre::new(pre.clone())
                .map(|service| Some(Http::P3(Handler::new(service, spec.reuse)))),
        };
        let http = match http {
            Ok(http) => http,
            // The handler has another type than WASI's. No request will be routed to it.
            Err(_) if spec.routes.is_empty() => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            name: spec.name.clone(),
            engine: pre.engine().clone(),
            template,
            http,
            pre,
            timeout: spec.timeout,
            bodies: spec.bodies,
            slots: Slots::new(spec.concurrency),
            stopped: CancellationToken::new(),
        })
    }

    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns the time from the arrival of a request to the end of its guest's work.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns when an invocation that arrives now must have ended.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    pub(super) fn host_budget(&self) -> &Arc<HostBudget> {
        &self.template.host_budget
    }

    pub(super) fn bodies(&self) -> BodyLimits {
        self.bodies
    }

    pub(super) fn component(&self) -> &Component {
        self.pre.component()
    }

    pub(super) fn http(&self) -> Option<&Http> {
        self.http.as_ref()
    }

    /// Admits an HTTP request, unless the component is stopping.
    pub(super) fn admit(&self) -> Option<Admission> {
        self.slots.admit()
    }

    /// Waits for a place for an HTTP request that was admitted and must have ended by `deadline`.
    pub(super) async fn request_slot(&self, deadline: Instant) -> Result<Slot, Failure> {
        self.slots.request(deadline, self.timeout).await
    }

    /// Returns a place for a WIT call. A call of the service waits for one, as a request does. A
    /// component that calls another does not wait, because it holds a place and an instance that
    /// others wait for.
    async fn call_slot(&self, role: Role, deadline: Instant) -> Result<Slot, Failure> {
        match role {
            Role::Service => self.slots.wait(deadline, self.timeout).await,
            Role::Component => self.slots.now(),
        }
    }

    /// Runs `work`, which calls into the component, within its share of the CPU and while its lease
    /// lasts.
    pub(super) async fn run<R>(
        &self,
        work: impl Future<Output = Result<R, Failure>>,
    ) -> Result<R, Failure> {
        let done = self.template.run(work).await;
        done.unwrap_or_else(|LeaseExpired| Err(Failure::LeaseExpired))
    }

    /// Returns the memory of an instance that is about to be made.
    pub(super) fn instance_memory(&self) -> Arc<InstanceMemory> {
        self.template.memory.instance()
    }

    /// Waits until the worker's pools have room for an instance that answers a request, for
    /// [`PLACE_WAIT`] and until `deadline` at the longest.
    pub(super) async fn place(&self, deadline: Instant) -> Result<Place, Failure> {
        let until = deadline.min(Instant::now() + PLACE_WAIT);
        tokio::select! {
            place = self.template.claim.wait(until) => place.map_err(Failure::from),
            () = self.stopped.cancelled() => Err(Failure::Stopped),
        }
    }

    /// Returns a place like [`Self::place`], for a WIT call. A caller that holds a place itself
    /// does not wait for another.
    async fn call_place(&self, role: Role, deadline: Instant) -> Result<Place, Failure> {
        match role {
            Role::Service => self.place(deadline).await,
            Role::Component => Ok(self.template.claim.now()?),
        }
    }

    pub(super) fn store(
        &self,
        depth: u32,
        memory: &Arc<InstanceMemory>,
        place: Place,
    ) -> GuestStore {
        self.template.store(&self.engine, depth, memory, place)
    }

    /// Creates an instance for a call that must have ended by `deadline`.
    pub(super) async fn begin(
        &self,
        caller: Caller,
        deadline: Instant,
        memory: &Arc<InstanceMemory>,
    ) -> Result<Invocation, Failure> {
        let depth = caller.depth;
        if depth >= CALL_DEPTH {
            return Err(Failure::TooDeep(CALL_DEPTH));
        }
        let slot = self.call_slot(caller.role, deadline).await?;
        let place = self.call_place(caller.role, deadline).await?;
        let mut guest = self.store(depth + 1, memory, place);
        match self.pre.instantiate_async(&mut guest.store).await {
            Ok(instance) => Ok(Invocation {
                _slot: slot,
                guest,
                instance,
            }),
            Err(error) => Err(self.failure(&error, &guest)),
        }
    }

    pub(super) fn failure(&self, error: &wasmtime::Error, guest: &GuestStore) -> Failure {
        Failure::of(error, &guest.store)
    }

    /// Runs `work` of an instance until it completes, the component's time is over, or the worker
    /// takes the instance's memory back. Guests yield with each epoch, so the latter two always
    /// take effect. Work that completes without waiting costs no timer and no lock.
    pub(super) async fn until<R>(
        &self,
        deadline: Instant,
        memory: &InstanceMemory,
        work: impl Future<Output = Result<R, Failure>>,
    ) -> Result<R, Failure> {
        let cut = async {
            tokio::select! {
                () = sleep_until(deadline) => Failure::Timeout(self.timeout),
                () = self.stopped.cancelled() => Failure::Stopped,
                shortage = memory.taken_back() => shortage.into(),
            }
        };
        tokio::select! {
            biased;
            result = work => result,
            failure = cut => Err(failure),
        }
    }

    /// Completes once [`Self::stop`] has been called.
    pub(super) async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// Logs why an invocation failed, in the log of the workload's owner.
    pub(super) fn log_failure(&self, failure: &Failure) {
        let (log, source) = (&self.template.log, &self.template.source);
        for line in format!("invocation failed: {failure}").lines() {
            log.line(source, Stream::Stderr, line);
        }
    }

    /// Logs the failure and returns it; see [`Self::log_failure`].
    pub(super) fn logged(&self, failure: Failure) -> Failure {
        self.log_failure(&failure);
        failure
    }

    /// Stops admitting requests, and completes when those that wait or run have ended. WIT calls
    /// are answered until [`Self::stop`], because requests in flight, and a service that finishes
    /// its work, may need them.
    pub async fn drain(&self) {
        self.slots.drain().await;
    }

    /// Refuses further invocations, and ends those that wait or run.
    pub fn stop(&self) {
        self.slots.close();
        self.stopped.cancel();
    }
}
