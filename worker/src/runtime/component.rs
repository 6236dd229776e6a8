//! One component of one replica: fresh instances, bounded in number, time and memory.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio_util::sync::CancellationToken;
use warren_model::{name::Name, spec::Reuse};
use wasmtime::{
    Engine,
    component::{Component, Instance, InstancePre},
};
use wasmtime_wasi_http::{p2::bindings::ProxyPre, p3::bindings::ServicePre};

use crate::logs::Stream;

use super::{
    Guest,
    cpu::CpuShare,
    failure::Failure,
    guest::{GuestStore, GuestTemplate},
    handler::Handler,
};

/// How deep components may call each other: enough for any real chain, and few enough that the stacks
/// of a runaway one stay small.
const CALL_DEPTH: u32 = 16;

/// A component that can be invoked. Each invocation has an instance of its own.
pub struct ComponentRuntime {
    name: Name,
    engine: Engine,
    template: GuestTemplate,
    pre: InstancePre<Guest>,
    http: Option<Http>,
    timeout: Duration,
    limit: u32,
    slots: Arc<Semaphore>,
    stopped: CancellationToken,
}

/// How a component answers HTTP.
pub(super) enum Http {
    /// By `wasi:http/incoming-handler` 0.2.
    P2(ProxyPre<Guest>),
    /// By `wasi:http/handler` 0.3.
    P3(Handler),
}

/// A live instance and the place it takes. Dropping it ends the instance.
pub struct Invocation {
    _slot: OwnedSemaphorePermit,
    pub guest: GuestStore,
    pub instance: Instance,
}

impl ComponentRuntime {
    pub(super) fn new(
        name: Name,
        template: GuestTemplate,
        pre: InstancePre<Guest>,
        timeout: Duration,
        concurrency: u32,
        reuse: Option<Reuse>,
    ) -> Self {
        // A component without a handler has no routes: Apply saw to that.
        let http = match ProxyPre::new(pre.clone()) {
            Ok(proxy) => Some(Http::P2(proxy)),
            Err(_) => match ServicePre::new(pre.clone()) {
                Ok(service) => Some(Http::P3(Handler::new(service, reuse))),
                Err(_) => None,
            },
        };
        Self {
            name,
            engine: pre.engine().clone(),
            template,
            http,
            pre,
            timeout,
            limit: concurrency,
            slots: Arc::new(Semaphore::new(concurrency as usize)),
            stopped: CancellationToken::new(),
        }
    }

    pub fn name(&self) -> &Name {
        &self.name
    }

    /// In time, from the first instruction to the last byte of the answer.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn component(&self) -> &Component {
        self.pre.component()
    }

    pub(super) fn http(&self) -> Option<&Http> {
        self.http.as_ref()
    }

    /// A place for one invocation, or [`Failure::Busy`]. Nobody waits: a caller with nothing to wait for
    /// it can only hold up more.
    pub(super) fn slot(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.slots)
            .try_acquire_owned()
            .map_err(|error| match error {
                TryAcquireError::NoPermits => Failure::Busy { limit: self.limit },
                TryAcquireError::Closed => Failure::Stopped,
            })
    }

    pub(super) fn cpu(&self) -> &CpuShare {
        &self.template.cpu
    }

    pub(super) fn store(&self, depth: u32) -> GuestStore {
        self.template.store(&self.engine, depth)
    }

    /// A fresh instance, called from `depth` calls down.
    pub(super) async fn begin(&self, depth: u32) -> Result<Invocation, Failure> {
        if depth >= CALL_DEPTH {
            return Err(Failure::TooDeep(CALL_DEPTH));
        }
        let slot = self.slot()?;
        let mut guest = self.store(depth + 1);
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
        Failure::of(error, &guest.store, self.template.memory_limit)
    }

    /// `work`, ended when the component's time is over. Guests yield with each epoch, so it does end.
    pub(super) async fn within_timeout<R>(
        &self,
        work: impl Future<Output = Result<R, Failure>>,
    ) -> Result<R, Failure> {
        tokio::select! {
            result = tokio::time::timeout(self.timeout, work) => {
                result.unwrap_or(Err(Failure::Timeout(self.timeout)))
            }
            () = self.stopped.cancelled() => Err(Failure::Stopped),
        }
    }

    /// Returns once [`Self::stop`] was called.
    pub(super) async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// Tells the workload's owner, in its log, why an invocation failed.
    pub(super) fn log_failure(&self, failure: &Failure) {
        let (log, source) = (&self.template.log, &self.template.source);
        for line in format!("invocation failed: {failure}").lines() {
            log.line(source, Stream::Stderr, line);
        }
    }

    /// Takes no more invocations and returns when the last has ended.
    pub async fn drain(&self) {
        // Only `stop` could make this fail, and then nothing runs either.
        let _all = self.slots.acquire_many(self.limit).await;
        self.slots.close();
    }

    /// Takes no more invocations and ends those that run.
    pub fn stop(&self) {
        self.slots.close();
        self.stopped.cancel();
    }
}
