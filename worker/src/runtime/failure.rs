//! The reasons why one invocation of a component fails.

use std::{io, time::Duration};

use rustix::io::Errno;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};
use wasmtime_wasi_http::Error as ErrorCode;

use super::{
    Guest,
    host_memory::{Exceeded, exceeded_by},
    limits::MemoryLimit,
    memory::Shortage,
    pools::Shortfall,
};
use crate::{http::Malformed, lease::LeaseExpired};

/// The bytes of an error's text that are kept, because a guest chooses its length.
const ERROR_TEXT: usize = 4 << 10;

/// The reason why one invocation failed. It affects that invocation only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("{limit} invocations are running, and as many wait")]
    Busy { limit: u32 },
    #[error("it waited {timeout:?} for one of {limit} invocations to end")]
    Waited { limit: u32, timeout: Duration },
    #[error("the request's body is larger than its limit of {limit} bytes")]
    RequestTooLarge { limit: u64 },
    #[error("its answer's body is larger than its limit of {limit} bytes")]
    ResponseTooLarge { limit: u64 },
    #[error("it did not answer within {0:?}")]
    Timeout(Duration),
    #[error("it did not finish its answer within {0:?}")]
    Unfinished(Duration),
    #[error("it had answered, but was still running after {0:?}, its timeout, and was ended")]
    Overtime(Duration),
    #[error("it returned without an answer")]
    NoAnswer,
    #[error("it answered with an error: {0}")]
    ErrorCode(String),
    #[error("its answer is not valid HTTP: {0}")]
    Malformed(Malformed),
    #[error("its answer broke off: {0}")]
    BrokeOff(String),
    #[error("calls are nested more than {0} deep")]
    TooDeep(u32),
    #[error("out of memory: {0}")]
    OutOfMemory(MemoryLimit),
    #[error("{0}")]
    NoPlace(Shortfall),
    /// The engine had no slot left, or the kernel no mapping.
    #[error(
        "the worker's pools have no room for another instance of it: {0}; lower `limits.concurrency`, or add workers"
    )]
    NoSlot(String),
    /// The caller already makes the worker hold too much for one more call.
    #[error("the caller is out of memory: {0}")]
    CallTooLarge(Exceeded),
    #[error("its replica is stopping")]
    Stopped,
    #[error("{}", LeaseExpired)]
    LeaseExpired,
    #[error("it trapped: {0}")]
    Trapped(String),
}

impl Failure {
    /// Returns the cause alone, which is all that others than the workload's owner may see.
    pub fn headline(&self) -> String {
        let text = self.to_string();
        text.lines().next().unwrap_or_default().to_owned()
    }

    /// Returns whether the worker had too little memory for the guest. Another attempt, later or on
    /// another worker, may then succeed.
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::OutOfMemory(MemoryLimit::Worker(_)))
    }

    /// Returns the failure of a guest that answered with an error.
    pub fn error_code(code: impl Into<ErrorCode>) -> Self {
        Self::ErrorCode(error_text(code.into()))
    }

    /// Returns the failure of a guest that ended its answer with an error.
    pub fn broke_off(code: ErrorCode) -> Self {
        Self::BrokeOff(error_text(code))
    }

    /// Returns the failure if the engine or the kernel had no room for another instance, which is
    /// not the guest's fault.
    fn no_slot(error: &wasmtime::Error) -> Option<Self> {
        if let Some(limit) = error.downcast_ref::<PoolConcurrencyLimitError>() {
            return Some(Self::NoSlot(limit.to_string()));
        }
        let io = error.downcast_ref::<io::Error>();
        let errno = io.and_then(Errno::from_io_error);
        let errno = errno.or_else(|| error.downcast_ref::<Errno>().copied());
        (errno == Some(Errno::NOMEM)).then(|| Self::NoSlot(Errno::NOMEM.to_string()))
    }

    /// Returns the failure that ended a guest with this error.
    pub fn of(error: &wasmtime::Error, store: &Store<Guest>) -> Self {
        if error.is::<LeaseExpired>() {
            return Self::LeaseExpired;
        }
        if let Some(failure) = Self::no_slot(error) {
            return failure;
        }
        if let Some(exceeded) = exceeded_by(error, store.data().host_budget()) {
            return exceeded.into();
        }
        match store.data().limiter().refused() {
            Some(limit) => Self::OutOfMemory(limit),
            None => Self::Trapped(describe(error)),
        }
    }
}

impl From<Shortfall> for Failure {
    fn from(shortfall: Shortfall) -> Self {
        Self::NoPlace(shortfall)
    }
}

impl From<Shortage> for Failure {
    fn from(shortage: Shortage) -> Self {
        Self::OutOfMemory(MemoryLimit::Worker(shortage))
    }
}

impl From<Exceeded> for Failure {
    fn from(exceeded: Exceeded) -> Self {
        Self::OutOfMemory(MemoryLimit::Host(exceeded))
    }
}

fn error_text(code: ErrorCode) -> String {
    let mut text = code.to_string();
    if text.len() > ERROR_TEXT {
        text.truncate(text.floor_char_boundary(ERROR_TEXT));
        text.push_str(" ...");
    }
    text
}

/// Describes a trap: first its cause, then the backtrace with function names.
pub fn describe(error: &wasmtime::Error) -> String {
    let cause = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    match error.downcast_ref::<wasmtime::WasmBacktrace>() {
        Some(backtrace) => format!("{cause}\n{backtrace}"),
        None => format!("{error:#}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use wasmtime::{Instance, Module, Store};

    use super::*;
    use crate::runtime::{
        engine::{Generation, pooled},
        pools::Slots,
    };

    #[tokio::test]
    async fn an_engine_without_a_slot_is_not_the_guests_fault() {
        let slots = Slots {
            fibers: 8,
            memories: 8,
            tables: 2,
        };
        let engine = pooled(Generation::P2, slots, 1 << 30).unwrap();
        let text = "(module (table 1 funcref) (table 1 funcref))";
        let module = Module::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let mut stores = [Store::new(&engine, ()), Store::new(&engine, ())];
        for store in &mut stores {
            store.set_epoch_deadline(1);
        }
        let [first, second] = &mut stores;
        Instance::new_async(first, &module, &[]).await.unwrap();
        let error = Instance::new_async(second, &module, &[]).await.unwrap_err();
        let failure = Failure::no_slot(&error.context("instantiating")).unwrap();
        assert!(
            failure.to_string().contains("limit of 2 for tables"),
            "{failure}"
        );

        let full = wasmtime::Error::from(io::Error::from(Errno::NOMEM)).context("mapping");
        assert!(matches!(Failure::no_slot(&full), Some(Failure::NoSlot(_))));
        for other in [
            wasmtime::Error::from(io::Error::from(Errno::PIPE)),
            wasmtime::Error::from(Trap::UnreachableCodeReached),
        ] {
            assert_eq!(Failure::no_slot(&other), None, "{other:?}");
        }
    }
}
