//! The reason why a component could not be compiled, derived from how the compiler ended.

use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus, time::Duration};

use warren_model::quantity::{format_bytes, format_duration};

use super::{CompileLimits, child};

/// The reason why a component was not compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileFailure {
    #[error(
        "compiling it takes more than {} of memory, the limit of --compile-memory on its worker; split \
         its largest functions, build it with less inlining, or raise the limit",
        format_bytes(*.0)
    )]
    Memory(u64),
    #[error(
        "compiling it takes more than {} of CPU time, the limit of --compile-timeout on its worker; split \
         its largest functions, build it with less inlining, or raise the limit",
        format_duration(*.0)
    )]
    CpuTime(Duration),
    #[error("the compiler does not accept it: {0}")]
    Invalid(String),
    #[error("the compiler failed on it: {0}")]
    Crashed(String),
    #[error(
        "compiling it was not done after {} because the machine is too busy, and is tried again; give its \
         worker more CPU, or raise --compile-timeout",
        format_duration(*.0)
    )]
    Slow(Duration),
    #[error(
        "the compiler was ended by {0}, as happens when the machine or its control group has no \
         memory left, and is tried again; give its worker more memory, or lower --memory"
    )]
    Killed(String),
    #[error("the compiler could not run: {0}; it is tried again")]
    NotRun(String),
}

/// The bytes that are kept of a compiler's output.
pub(super) const SAID: usize = 4 << 10;

/// Signals by number, which is the same on every architecture that both Linux and wasmtime support.
const SIGABRT: i32 = 6;
const SIGBUS: i32 = 7;
const SIGFPE: i32 = 8;
const SIGILL: i32 = 4;
const SIGSEGV: i32 = 11;
const SIGTRAP: i32 = 5;
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;

/// The texts with which the standard library, allocators and the kernel report that memory has run
/// out.
const NO_MEMORY: [&str; 4] = [
    "memory allocation of",
    "out of memory",
    "Cannot allocate memory",
    "os error 12",
];

// === impl CompileFailure ===

impl CompileFailure {
    /// Returns whether another attempt with the same limits and the same version of Warren would
    /// fail on any worker.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Memory(_) | Self::CpuTime(_) | Self::Invalid(_) | Self::Crashed(_) => true,
            Self::Slow(_) | Self::Killed(_) | Self::NotRun(_) => false,
        }
    }

    /// Returns `None` if the compiler succeeded. `said` is what it wrote to stderr.
    pub(super) fn of(status: ExitStatus, said: &str, limits: &CompileLimits) -> Option<Self> {
        if status.success() {
            return None;
        }
        let no_memory = speaks_of_no_memory(said);
        let said = said.trim().to_owned();
        Some(match (status.code(), status.signal()) {
            (Some(child::INVALID), _) => Self::Invalid(said),
            (Some(child::NOT_RUN), _) => Self::NotRun(said),
            (Some(child::NO_MEMORY), _) | (_, Some(SIGXFSZ)) => Self::Memory(limits.memory),
            (_, Some(SIGXCPU)) => Self::CpuTime(limits.timeout),
            (Some(child::PANICKED), _) | (_, Some(SIGABRT)) if no_memory => {
                Self::Memory(limits.memory)
            }
            (_, Some(signal @ (SIGABRT | SIGBUS | SIGFPE | SIGILL | SIGSEGV | SIGTRAP))) => {
                Self::Crashed(with(said, &format!("signal {signal}")))
            }
            (_, Some(signal)) => Self::Killed(format!("signal {signal}")),
            (code, None) => {
                let code = code.unwrap_or_default();
                Self::Crashed(with(said, &format!("exit code {code}")))
            }
        })
    }
}

/// Returns whether an error says that memory has run out.
pub(super) fn speaks_of_no_memory(text: &str) -> bool {
    NO_MEMORY.iter().any(|words| text.contains(words))
}

fn with(said: String, how: &str) -> String {
    match said.is_empty() {
        true => how.to_owned(),
        false => format!("{how}: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: CompileLimits = CompileLimits {
        memory: 64 << 20,
        timeout: Duration::from_secs(9),
    };

    #[test]
    fn how_a_compiler_ended_says_why() {
        let code = |code: i32| ExitStatus::from_raw(code << 8);
        let signal = ExitStatus::from_raw;
        let abort = "memory allocation of 4096 bytes failed";
        for (status, said, expected) in [
            (code(0), "", None),
            (
                code(child::INVALID),
                "bad magic\n",
                Some("does not accept it: bad magic"),
            ),
            (
                code(child::NO_MEMORY),
                "",
                Some("more than 64MiB of memory"),
            ),
            (
                code(child::NOT_RUN),
                "no such file",
                Some("could not run: no such file"),
            ),
            (signal(SIGABRT), abort, Some("--compile-memory")),
            (
                code(child::PANICKED),
                "out of memory",
                Some("--compile-memory"),
            ),
            (signal(SIGXFSZ), "", Some("--compile-memory")),
            (
                signal(SIGXCPU),
                "",
                Some("more than 9s of CPU time, the limit of --compile-timeout"),
            ),
            (signal(SIGSEGV), "", Some("failed on it: signal 11")),
            (
                signal(SIGABRT),
                "overflowed its stack",
                Some("signal 6: overflowed its stack"),
            ),
            (
                code(child::PANICKED),
                "no entry",
                Some("failed on it: exit code 101: no entry"),
            ),
            (signal(9), "", Some("ended by signal 9")),
            (signal(15), "", Some("ended by signal 15")),
        ] {
            let failure = CompileFailure::of(status, said, &LIMITS);
            let told = failure.as_ref().map(ToString::to_string);
            match expected {
                None => assert_eq!(told, None),
                Some(words) => {
                    let told = told.unwrap_or_default();
                    assert!(told.contains(words), "{status:?} {said}: {told}");
                }
            }
            // A failure that the machine caused says nothing about the component.
            let blames_machine =
                matches!(status.signal(), Some(9 | 15)) || status.code() == Some(child::NOT_RUN);
            let is_final = failure.is_none_or(|failure| failure.is_final());
            assert_eq!(is_final, !blames_machine, "{status:?}");
        }
    }
}
