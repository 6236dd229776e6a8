//! Compiles components to machine code: each in a process of its own, within limits, a few at a
//! time.

mod child;
mod failure;
mod process;
mod queue;

use std::{
    collections::{HashMap, VecDeque},
    ffi::OsString,
    fs, io,
    io::Write as _,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tempfile::NamedTempFile;
use warren_model::{digest::Digest, name::WorkloadId};
use wasmtime::Engine;

pub use child::compile_if_asked;
pub use failure::CompileFailure;

use super::engine::{Generation, compatibility};
use child::Order;
use queue::Queue;

/// How a worker compiles components.
#[derive(Clone, Debug)]
pub struct CompileSettings {
    pub program: CompilerProgram,
    pub limits: CompileLimits,
    /// The number of components that are compiled at once.
    pub concurrency: NonZeroUsize,
}

/// The limits for compiling one component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// The limit of memory, in bytes.
    pub memory: u64,
    /// The limit of CPU time, in whole seconds. The wall time may be twenty times as long.
    pub timeout: Duration,
}

/// The program that compiles.
#[derive(Clone, Debug)]
pub enum CompilerProgram {
    /// The program of this process, whose `main` calls [`compile_if_asked`].
    This,
    /// Another program of the same build of Warren, with arguments that come before those of the
    /// compiler.
    Other {
        program: PathBuf,
        arguments: Vec<OsString>,
    },
    /// This process itself, without any limit. This is for tests and benchmarks, which compile only
    /// their own components.
    InProcess,
}

/// Compiles components for both engines of a worker.
#[derive(Debug)]
pub(super) struct Compiler {
    settings: CompileSettings,
    queue: Queue,
    failed: Mutex<Failed>,
}

/// One component to compile.
pub(super) struct Job<'a> {
    pub digest: Digest,
    /// The file whose bytes have the digest.
    pub artifact: &'a Path,
    pub engine: &'a Engine,
    pub generation: Generation,
    /// The directory that the code is written to.
    pub directory: &'a Path,
    /// The workload whose turn this takes.
    pub workload: &'a WorkloadId,
}

/// The components that are known not to compile within these limits.
#[derive(Debug, Default)]
struct Failed {
    reasons: HashMap<Digest, CompileFailure>,
    /// The digests in the order in which they failed.
    order: VecDeque<Digest>,
}

/// The most failures that are remembered. The control plane remembers those that matter to the
/// fleet.
const FAILURES: usize = 1_000;

/// The largest default limit of memory, however much the machine has.
const MOST_MEMORY: u64 = 2 << 30;
/// The smallest default limit of memory. With less, the output of common toolchains does not
/// compile.
const COMMON_MEMORY: u64 = 512 << 20;
/// The memory that the compiler itself needs.
pub const LEAST_MEMORY: u64 = 64 << 20;
/// The smallest limit of CPU time, which the kernel counts in seconds.
pub const LEAST_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns the default limit of memory for compiling a component: a quarter of the machine's
/// memory, but at least 512 MiB and at most 2 GiB.
pub fn default_memory(machine: u64) -> u64 {
    (machine / 4).clamp(COMMON_MEMORY, MOST_MEMORY)
}

/// The default limit of CPU time for one component.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
/// The default number of components that are compiled at once. A single component may take long,
/// and others need not wait for it.
pub const DEFAULT_CONCURRENCY: NonZeroUsize = NonZeroUsize::new(2).expect("it is not zero");

// === impl CompileSettings ===

impl CompileSettings {
    /// Returns settings by which this program compiles, with the default limits; see
    /// [`CompilerProgram::This`].
    pub fn by_this_program(memory: u64) -> Self {
        Self {
            program: CompilerProgram::This,
            limits: CompileLimits {
                memory,
                timeout: DEFAULT_TIMEOUT,
            },
            concurrency: DEFAULT_CONCURRENCY,
        }
    }

    /// Returns settings for tests and benchmarks; see [`CompilerProgram::InProcess`].
    pub fn in_process() -> Self {
        Self {
            program: CompilerProgram::InProcess,
            limits: CompileLimits {
                memory: u64::MAX,
                timeout: Duration::MAX,
            },
            concurrency: DEFAULT_CONCURRENCY,
        }
    }
}

// === impl Compiler ===

impl Compiler {
    pub fn new(settings: CompileSettings) -> Self {
        Self {
            queue: Queue::new(settings.concurrency.get()),
            failed: Mutex::default(),
            settings,
        }
    }

    /// Returns why a component is known not to compile.
    pub fn failure(&self, digest: Digest) -> Option<CompileFailure> {
        self.failed.lock().reasons.get(&digest).cloned()
    }

    /// Compiles one component once it is its turn. The file is removed unless it is kept.
    ///
    /// Dropping the future gives up the turn, or ends the compilation.
    pub async fn compile(&self, job: &Job<'_>) -> Result<NamedTempFile, CompileFailure> {
        if let Some(failure) = self.failure(job.digest) {
            return Err(failure);
        }
        let _place = self.queue.place(job.workload).await;
        let began = Instant::now();
        let compiled = match self.settings.program {
            CompilerProgram::InProcess => in_process(job).await,
            _ => process::run(&self.settings.program, &self.order(job)?, job.directory).await,
        };
        let (digest, workload, took) = (job.digest, job.workload, began.elapsed());
        match &compiled {
            Ok(_) => tracing::info!(%digest, %workload, ?took, "compiled"),
            Err(error) => {
                tracing::warn!(%digest, %workload, ?took, %error, "a component was not compiled");
                if error.is_final() {
                    self.failed.lock().remember(digest, error.clone());
                }
            }
        }
        compiled
    }

    fn order(&self, job: &Job<'_>) -> Result<Order, CompileFailure> {
        let not_run = |error: io::Error| CompileFailure::NotRun(error.to_string());
        Ok(Order {
            generation: job.generation,
            compatibility: compatibility(job.engine),
            limits: self.settings.limits,
            artifact: std::path::absolute(job.artifact).map_err(not_run)?,
        })
    }
}

// === impl Failed ===

impl Failed {
    fn remember(&mut self, digest: Digest, failure: CompileFailure) {
        if self.reasons.insert(digest, failure).is_none() {
            self.order.push_back(digest);
        }
        if self.order.len() > FAILURES
            && let Some(oldest) = self.order.pop_front()
        {
            self.reasons.remove(&oldest);
        }
    }
}

async fn in_process(job: &Job<'_>) -> Result<NamedTempFile, CompileFailure> {
    let not_run = |error: io::Error| CompileFailure::NotRun(error.to_string());
    let (engine, artifact) = (job.engine.clone(), job.artifact.to_owned());
    let mut code = process::temporary(job.directory).map_err(not_run)?;
    let compiling = tokio::task::spawn_blocking(move || {
        let bytes = fs::read(&artifact).map_err(not_run)?;
        let compiled = engine.precompile_component(&bytes);
        let compiled = compiled.map_err(|e| CompileFailure::Invalid(format!("{e:#}")))?;
        code.write_all(&compiled).map_err(not_run)?;
        Ok(code)
    });
    compiling
        .await
        .map_err(|error| CompileFailure::Crashed(error.to_string()))?
}

#[cfg(test)]
mod tests;
