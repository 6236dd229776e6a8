//! One life of a service: a fresh store, `run` until it ends, and how it ended.

use std::sync::Arc;

use tokio::time::Instant;
use warren_model::component::WasiGeneration;
use wasmtime::{Engine, component::InstancePre};
use wasmtime_wasi::{I32Exit, p2, p3};

use crate::{
    lease::{LeaseExpired, Tenure},
    volumes::Mount,
};

use super::{
    Guest,
    failure::{Failure, describe},
    guest::{GuestStore, GuestTemplate},
    host_memory::Exceeded,
    limits::MemoryLimit,
    memory::InstanceMemory,
    pools::{Place, SERVICE_WAIT},
};

/// A service that can be started any number of times.
pub struct ServiceRuntime {
    template: GuestTemplate,
    mounts: Arc<[Mount]>,
    run: Run,
}

/// `wasi:cli/run` of the generation that runs the component.
enum Run {
    P2(p2::bindings::CommandPre<Guest>),
    P3(p3::bindings::CommandPre<Guest>),
}

/// The way in which one life of a service ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceEnd {
    /// It returned or called exit, with this code.
    Exited(i32),
    /// It trapped; this is the cause and the backtrace.
    Trapped(String),
    OutOfMemory(String),
    /// It ended before `run` was called.
    StartFailed(String),
    /// It was ended because its liveness probe failed; this is the reason.
    Unhealthy(String),
    /// It is exclusive, and its worker may not run exclusive services at present.
    LeaseExpired,
}

/// One start of an exclusive service.
pub struct Turn {
    /// The fence, which is greater than those of all its earlier starts on any worker.
    pub fence: u64,
    /// The tenure, which must begin before the fence is read. A fence that arrives later belongs to
    /// a later tenure.
    pub tenure: Tenure,
}

/// The environment variable that gives an exclusive service the fence of its current start.
const FENCE: &str = "WARREN_FENCE";

impl ServiceRuntime {
    pub(super) fn new(
        template: GuestTemplate,
        mounts: Arc<[Mount]>,
        pre: InstancePre<Guest>,
        run_by: WasiGeneration,
    ) -> wasmtime::Result<Self> {
        let run = match run_by {
            WasiGeneration::P2 => Run::P2(p2::bindings::CommandPre::new(pre)?),
            WasiGeneration::P3 => Run::P3(p3::bindings::CommandPre::new(pre)?),
        };
        Ok(Self {
            template,
            mounts,
            run,
        })
    }

    #[cfg(test)]
    pub(super) fn host_budget(&self) -> &super::host_memory::HostBudget {
        &self.template.host_budget
    }

    /// Runs until the service ends. `started` is called once it is instantiated and its `run` is
    /// about to be called. `turn` is set for an exclusive service. Dropping the future kills the
    /// service and resets its sockets at once.
    pub async fn run(&self, turn: Option<Turn>, started: impl FnOnce() + Send) -> ServiceEnd {
        let (fence, tenure) = match turn {
            Some(turn) => (Some(turn.fence), Some(turn.tenure)),
            None => (None, self.template.tenure()),
        };
        let memory = self.template.memory.instance();
        let live = self.live(fence, tenure.clone(), &memory, started);
        let run = self.template.run_in(tenure.as_ref(), live);
        tokio::select! {
            biased;
            ended = run => ended.unwrap_or(ServiceEnd::LeaseExpired),
            shortage = memory.taken_back() => {
                ServiceEnd::OutOfMemory(Failure::from(shortage).to_string())
            }
        }
    }

    async fn live(
        &self,
        fence: Option<u64>,
        tenure: Option<Tenure>,
        memory: &Arc<InstanceMemory>,
        started: impl FnOnce() + Send,
    ) -> ServiceEnd {
        let template = self.template.renewed();
        let template = match fence {
            Some(fence) => template.with_variable(FENCE, &fence.to_string()),
            None => template,
        };
        let place = match template.claim.wait(Instant::now() + SERVICE_WAIT).await {
            Ok(place) => place,
            Err(shortfall) => return ServiceEnd::StartFailed(shortfall.to_string()),
        };
        template.log.begin(&template.source);
        match &self.run {
            Run::P2(command) => {
                let engine = command.engine();
                let mut guest = match self.store(&template, engine, tenure, memory, place) {
                    Ok(guest) => guest,
                    Err(end) => return end,
                };
                let command = match command.instantiate_async(&mut guest.store).await {
                    Ok(command) => command,
                    Err(error) => return not_started(&error, &guest),
                };
                started();
                let result = command.wasi_cli_run().call_run(&mut guest.store).await;
                self.end(guest, result)
            }
            Run::P3(command) => {
                let engine = command.engine();
                let mut guest = match self.store(&template, engine, tenure, memory, place) {
                    Ok(guest) => guest,
                    Err(end) => return end,
                };
                let command = match command.instantiate_async(&mut guest.store).await {
                    Ok(command) => command,
                    Err(error) => return not_started(&error, &guest),
                };
                started();
                let result = guest
                    .store
                    .run_concurrent(async |store| command.wasi_cli_run().call_run(store).await)
                    .await
                    .flatten();
                self.end(guest, result)
            }
        }
    }

    fn store(
        &self,
        template: &GuestTemplate,
        engine: &Engine,
        tenure: Option<Tenure>,
        memory: &Arc<InstanceMemory>,
        place: Place,
    ) -> Result<GuestStore, ServiceEnd> {
        template
            .service_store(engine, &self.mounts, tenure, memory, place)
            .map_err(|error| ServiceEnd::StartFailed(describe(&error)))
    }

    fn end(&self, guest: GuestStore, result: wasmtime::Result<Result<(), ()>>) -> ServiceEnd {
        let error = match result {
            Ok(result) => {
                guest.finish();
                return ServiceEnd::Exited(i32::from(result.is_err()));
            }
            Err(error) => error,
        };
        if let Some(I32Exit(code)) = error.downcast_ref() {
            guest.finish();
            return ServiceEnd::Exited(*code);
        }
        match Failure::of(&error, &guest.store) {
            Failure::LeaseExpired => ServiceEnd::LeaseExpired,
            Failure::OutOfMemory(MemoryLimit::Host(exceeded)) => {
                let cause = if error.is::<Exceeded>() {
                    String::new()
                } else {
                    format!("{exceeded}\n")
                };
                ServiceEnd::OutOfMemory(format!("out of memory: {cause}{}", describe(&error)))
            }
            failure @ Failure::OutOfMemory(_) => {
                ServiceEnd::OutOfMemory(format!("{failure}\n{}", describe(&error)))
            }
            _ => ServiceEnd::Trapped(describe(&error)),
        }
    }
}

fn not_started(error: &wasmtime::Error, guest: &GuestStore) -> ServiceEnd {
    if error.is::<LeaseExpired>() {
        return ServiceEnd::LeaseExpired;
    }
    match Failure::of(error, &guest.store) {
        failure if failure.is_shortage() => {
            ServiceEnd::OutOfMemory(format!("{failure}\n{}", describe(error)))
        }
        // A program that needs more than its limit to start never starts.
        Failure::OutOfMemory(limit) => {
            ServiceEnd::StartFailed(format!("{}: {limit}", describe(error)))
        }
        _ => ServiceEnd::StartFailed(describe(error)),
    }
}
