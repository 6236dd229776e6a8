//! One life of a service: a fresh store, `run` until it ends, and how it ended.

use std::sync::Arc;

use wasmtime::component::InstancePre;
use wasmtime_wasi::{I32Exit, p2, p3};

use crate::volumes::Mount;

use super::{
    Guest,
    failure::{Failure, describe},
    guest::{GuestStore, GuestTemplate},
};

/// A service that can be started, any number of times.
pub struct ServiceRuntime {
    template: GuestTemplate,
    mounts: Arc<[Mount]>,
    run: Run,
}

/// `wasi:cli/run`, of whichever generation the component exports.
enum Run {
    P2(p2::bindings::CommandPre<Guest>),
    P3(p3::bindings::CommandPre<Guest>),
}

/// How one life of a service ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceEnd {
    /// It returned or called exit, with this code.
    Exited(i32),
    /// With the cause and the backtrace.
    Trapped(String),
    OutOfMemory(String),
    /// It did not get as far as `run`.
    StartFailed(String),
    /// It was ended because of what its liveness probe found.
    Unhealthy(String),
}

impl ServiceRuntime {
    pub(super) fn new(
        template: GuestTemplate,
        mounts: Arc<[Mount]>,
        pre: &InstancePre<Guest>,
    ) -> wasmtime::Result<Self> {
        let run = match p2::bindings::CommandPre::new(pre.clone()) {
            Ok(command) => Run::P2(command),
            Err(error) => match p3::bindings::CommandPre::new(pre.clone()) {
                Ok(command) => Run::P3(command),
                // The word of the older generation: it is what most components are built for.
                Err(_) => return Err(error),
            },
        };
        Ok(Self {
            template,
            mounts,
            run,
        })
    }

    /// Runs until the service ends; `started` is called when its instance is there and its `run` is about to be called.
    /// Dropping the future kills it: its sockets are reset at once.
    pub async fn run(&self, started: impl FnOnce() + Send) -> ServiceEnd {
        self.template.cpu.run(self.live(started)).await
    }

    async fn live(&self, started: impl FnOnce() + Send) -> ServiceEnd {
        let template = self.template.renewed();
        template.log.begin(&template.source);
        match &self.run {
            Run::P2(command) => {
                let mut guest = match template.service_store(command.engine(), &self.mounts) {
                    Ok(guest) => guest,
                    Err(error) => return ServiceEnd::StartFailed(describe(&error)),
                };
                let command = match command.instantiate_async(&mut guest.store).await {
                    Ok(command) => command,
                    Err(error) => return ServiceEnd::StartFailed(describe(&error)),
                };
                started();
                let result = command.wasi_cli_run().call_run(&mut guest.store).await;
                self.end(guest, result)
            }
            Run::P3(command) => {
                let mut guest = match template.service_store(command.engine(), &self.mounts) {
                    Ok(guest) => guest,
                    Err(error) => return ServiceEnd::StartFailed(describe(&error)),
                };
                let command = match command.instantiate_async(&mut guest.store).await {
                    Ok(command) => command,
                    Err(error) => return ServiceEnd::StartFailed(describe(&error)),
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
            failure @ Failure::OutOfMemory(_) => {
                ServiceEnd::OutOfMemory(format!("{failure}\n{}", describe(&error)))
            }
            _ => ServiceEnd::Trapped(describe(&error)),
        }
    }
}
