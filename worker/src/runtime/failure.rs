//! Why one invocation of a component failed.

use std::time::Duration;

use wasmtime::{Store, Trap};
use wasmtime_wasi_http::Error as ErrorCode;

use super::{
    Guest,
    host_memory::{Exceeded, exceeded_by},
    limits::MemoryLimit,
    memory::Shortage,
};
use crate::{ingress::Malformed, lease::LeaseExpired};

/// Bytes of an error's text that are kept: a guest chooses how long it is.
const ERROR_TEXT: usize = 4 << 10;

/// Why one invocation did not end as it should. It ends that invocation and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("{limit} invocations are running, and as many wait")]
    Busy { limit: u32 },
    #[error("it waited {timeout:?} for one of {limit} invocations to end")]
    Waited { limit: u32, timeout: Duration },
    #[error("the request's body is larger than the {limit} bytes that it takes")]
    RequestTooLarge { limit: u64 },
    #[error("its answer's body is larger than the {limit} bytes that it may give")]
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
    /// The caller's, which holds too much for one more call.
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
    /// The cause alone: what others than the workload's owner are told.
    pub fn headline(&self) -> String {
        let text = self.to_string();
        text.lines().next().unwrap_or_default().to_owned()
    }

    /// Whether the worker had too little memory for the guest: another try, later or elsewhere, may succeed.
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::OutOfMemory(MemoryLimit::Worker(_)))
    }

    /// The guest's own error in place of an answer.
    pub fn error_code(code: impl Into<ErrorCode>) -> Self {
        Self::ErrorCode(error_text(code.into()))
    }

    /// The guest's own error in place of the rest of an answer.
    pub fn broke_off(code: ErrorCode) -> Self {
        Self::BrokeOff(error_text(code))
    }

    /// What an error that ended a guest says about it.
    pub fn of(error: &wasmtime::Error, store: &Store<Guest>) -> Self {
        if error.is::<LeaseExpired>() {
            return Self::LeaseExpired;
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

/// A trap in words: its cause first, then the backtrace with function names.
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
