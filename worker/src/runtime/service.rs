//! One life of a service: a fresh store, `run` until it ends, and how it ended.

use wasmtime::component::InstancePre;
use wasmtime_wasi::{I32Exit, p2::bindings::CommandPre};

use super::{
    Guest,
    failure::{Failure, describe},
    guest::GuestTemplate,
};

/// A service that can be started, any number of times.
pub struct ServiceRuntime {
    template: GuestTemplate,
    pre: CommandPre<Guest>,
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
}

impl ServiceRuntime {
    pub(super) fn new(template: GuestTemplate, pre: InstancePre<Guest>) -> wasmtime::Result<Self> {
        Ok(Self {
            template,
            pre: CommandPre::new(pre)?,
        })
    }

    /// Runs until the service ends. Dropping the future kills it: its sockets are reset at once.
    pub async fn run(&self) -> ServiceEnd {
        self.template.log.begin(&self.template.source);
        let mut guest = self.template.store(self.pre.engine(), 0);
        let command = match self.pre.instantiate_async(&mut guest.store).await {
            Ok(command) => command,
            Err(error) => return ServiceEnd::StartFailed(describe(&error)),
        };
        match command.wasi_cli_run().call_run(&mut guest.store).await {
            Ok(result) => {
                guest.finish();
                ServiceEnd::Exited(i32::from(result.is_err()))
            }
            Err(error) => {
                if let Some(I32Exit(code)) = error.downcast_ref() {
                    let code = *code;
                    guest.finish();
                    return ServiceEnd::Exited(code);
                }
                let limit = self.template.memory_limit;
                match Failure::of(&error, &guest.store, limit) {
                    failure @ Failure::OutOfMemory { .. } => {
                        ServiceEnd::OutOfMemory(format!("{failure}\n{}", describe(&error)))
                    }
                    _ => ServiceEnd::Trapped(describe(&error)),
                }
            }
        }
    }
}
