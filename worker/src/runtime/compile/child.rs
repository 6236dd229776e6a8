//! The compiler's process: this program, started again to compile one component and exit.
//!
//! A guest's component decides how much memory and time its compilation takes. The compilation
//! therefore runs in a process that has limits of its own, and that the kernel kills before any
//! other when the machine runs out of memory.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, Read as _, Write as _},
    os::fd::AsFd as _,
    path::PathBuf,
    process::{self, ExitCode},
    thread,
};

use rustix::process::{Resource, Rlimit, nice, setrlimit};

use super::{CompileLimits, failure::speaks_of_no_memory};
use crate::runtime::engine::{self, Generation};

/// The first argument that makes the program compile.
const SUBCOMMAND: &str = "__compile";

/// The exit code if the component cannot be compiled.
pub(super) const INVALID: i32 = 3;
/// The exit code if no memory is left.
pub(super) const NO_MEMORY: i32 = 4;
/// The exit code if the compiler could not start, or could not hand over the code.
pub(super) const NOT_RUN: i32 = 5;
/// The exit code of a Rust process whose main thread panicked.
pub(super) const PANICKED: i32 = 101;

/// A lower priority than that of guests and everything else that the worker does.
const NICENESS: i32 = 10;
/// The seconds of CPU time between SIGXCPU, when the time is over, and the SIGKILL that always ends
/// the process.
const LAST_SECONDS: u64 = 5;

/// A component to compile, as the worker passes it to the process.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub generation: Generation,
    /// The number of the engine that will run the code; see [`engine::compatibility`].
    pub compatibility: u64,
    pub limits: CompileLimits,
    pub artifact: PathBuf,
}

/// The reason why the process ends without code.
struct Refusal {
    code: i32,
    message: String,
}

/// Compiles a component if a worker's [`Compiler`](super::Compiler) started this process to do so,
/// and returns the exit code. Returns `None` otherwise. `arguments` are those of the process,
/// beginning with its name.
///
/// A program whose workers compile by [`CompilerProgram::This`](super::CompilerProgram) calls it
/// first in `main`.
pub fn compile_if_asked(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next()? != SUBCOMMAND {
        return None;
    }
    let compiled = match Order::parse(&arguments.collect::<Vec<_>>()) {
        Some(order) => compile(&order),
        None => Err(Refusal::not_run("only a worker starts this command")),
    };
    Some(match compiled {
        Ok(()) => ExitCode::SUCCESS,
        Err(Refusal { code, message }) => {
            // Without stderr, the exit code is enough.
            let _ = writeln!(io::stderr(), "{message}");
            u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
        }
    })
}

fn compile(order: &Order) -> Result<(), Refusal> {
    confine(&order.limits)?;
    end_with_worker()?;
    let component = fs::read(&order.artifact)
        .map_err(|e| Refusal::not_run(format!("cannot read {}: {e}", order.artifact.display())))?;
    let engine = engine::on_demand(order.generation).map_err(|e| Refusal::failed(&e, NOT_RUN))?;
    if engine::compatibility(&engine) != order.compatibility {
        let message = "its engine settings differ from those of the worker that started it";
        return Err(Refusal::not_run(message));
    }
    let code = engine
        .precompile_component(&component)
        .map_err(|e| Refusal::failed(&e, INVALID))?;
    let hand_over = || {
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        fs::File::from(output).write_all(&code)
    };
    hand_over().map_err(|e| Refusal::not_run(format!("cannot write the code: {e}")))
}

/// Gives up what this process does not need, before it reads anything that came from a guest.
fn confine(limits: &CompileLimits) -> Result<(), Refusal> {
    // Both can fail only where the system forbids them entirely. Compiling then continues with the
    // priority of any other work.
    let _ = nice(NICENESS);
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    let seconds = limits.timeout.as_secs().max(1);
    for (resource, soft, hard) in [
        // This counts memory that can be written to; address space alone costs nothing.
        (Resource::Data, limits.memory, limits.memory),
        (Resource::Cpu, seconds, seconds.saturating_add(LAST_SECONDS)),
        // The code was in memory, so it cannot be larger.
        (Resource::Fsize, limits.memory, limits.memory),
        (Resource::Core, 0, 0),
    ] {
        let limit = Rlimit {
            current: Some(soft),
            maximum: Some(hard),
        };
        // A lower limit of the whole worker applies, too.
        let inherited = rustix::process::getrlimit(resource);
        let least = |ours: Option<u64>, theirs: Option<u64>| match (ours, theirs) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, None) => ours,
            (None, theirs) => theirs,
        };
        let limit = Rlimit {
            current: least(limit.current, inherited.maximum),
            maximum: least(limit.maximum, inherited.maximum),
        };
        setrlimit(resource, limit)
            .map_err(|e| Refusal::not_run(format!("cannot limit {resource:?}: {e}")))?;
    }
    Ok(())
}

/// Ends this process as soon as the other end of its stdin is closed, which happens when the worker
/// ends in any way.
fn end_with_worker() -> Result<(), Refusal> {
    let watch = move || {
        let mut byte = [0];
        loop {
            match io::stdin().read(&mut byte) {
                Ok(0) => process::exit(NOT_RUN),
                Err(error) if error.kind() != io::ErrorKind::Interrupted => process::exit(NOT_RUN),
                _ => {}
            }
        }
    };
    let watching = thread::Builder::new().stack_size(64 << 10).spawn(watch);
    watching
        .map(drop)
        .map_err(|e| Refusal::not_run(format!("cannot start a thread: {e}")))
}

// === impl Order ===

impl Order {
    pub fn arguments(&self) -> [OsString; 6] {
        let generation = match self.generation {
            Generation::P2 => "p2",
            Generation::P3 => "p3",
        };
        [
            SUBCOMMAND.into(),
            generation.into(),
            self.compatibility.to_string().into(),
            self.limits.memory.to_string().into(),
            self.limits.timeout.as_secs().to_string().into(),
            self.artifact.clone().into_os_string(),
        ]
    }

    /// Parses the arguments after the subcommand. Returns `None` if no worker wrote them.
    fn parse(arguments: &[OsString]) -> Option<Self> {
        let [generation, compatibility, memory, seconds, artifact] = arguments else {
            return None;
        };
        let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
        Some(Self {
            generation: match generation.to_str()? {
                "p2" => Generation::P2,
                "p3" => Generation::P3,
                _ => return None,
            },
            compatibility: number(compatibility)?,
            limits: CompileLimits {
                memory: number(memory)?,
                timeout: std::time::Duration::from_secs(number(seconds)?),
            },
            artifact: artifact.into(),
        })
    }
}

// === impl Refusal ===

impl Refusal {
    fn not_run(message: impl Into<String>) -> Self {
        Self {
            code: NOT_RUN,
            message: message.into(),
        }
    }

    fn failed(error: &wasmtime::Error, code: i32) -> Self {
        let message = format!("{error:#}");
        let code = match speaks_of_no_memory(&message) {
            true => NO_MEMORY,
            false => code,
        };
        Self { code, message }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_written() {
        for generation in [Generation::P2, Generation::P3] {
            let order = Order {
                generation,
                compatibility: u64::MAX,
                limits: CompileLimits {
                    memory: 1 << 30,
                    timeout: Duration::from_secs(90),
                },
                artifact: "/a file/with a space".into(),
            };
            assert_eq!(Order::parse(&order.arguments()[1..]), Some(order));
        }
        assert_eq!(Order::parse(&["p2".into()]), None);
    }

    #[test]
    fn only_the_command_itself_compiles() {
        let asked = |words: &[&str]| compile_if_asked(words.iter().map(OsString::from)).is_some();
        assert!(!asked(&["warren"]));
        assert!(!asked(&["warren", "worker", SUBCOMMAND]));
        assert!(asked(&["warren", SUBCOMMAND]));
    }
}
