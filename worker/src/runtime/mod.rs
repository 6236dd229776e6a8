//! Running guests: engines, compiled code, linking, limits, and the host interfaces they see.

pub mod compile;
mod compiled;
mod component;
mod cpu;
mod engine;
mod failure;
mod files;
mod guest;
mod handler;
mod http;
mod limits;
mod link;
mod memory;
mod outgoing;
mod service;
mod slots;
mod stdio;
mod usage;
mod workload;

use std::{io, path::Path, sync::Arc};

use warren_model::{digest::Digest, name::WorkloadId};
use wasmtime::{Engine, component::Linker};

pub use compiled::{CacheError, CompileError, Compiled};
pub use component::ComponentRuntime;
pub use cpu::threads;
pub use guest::Guest;
pub use http::ComponentHandle;
pub use service::{ServiceEnd, ServiceRuntime, Turn};
pub use usage::ReplicaUsage;
pub use workload::{PrepareError, Prepared, ReplicaContext};

use compile::{CompileFailure, CompileSettings, Compiler};
use compiled::CompileCache;
use cpu::CpuScheduler;
use engine::Generation;
use memory::MemoryBudget;

/// Everything that guests of this worker share. One a process.
pub struct Runtime {
    p2: Half,
    p3: Half,
    memory: Arc<MemoryBudget>,
    /// Its clock makes guests yield.
    cpu: Arc<CpuScheduler>,
    compiler: Arc<Compiler>,
}

/// What guests of one generation of WASI share.
struct Half {
    cache: CompileCache,
    /// All of WASI with the workload's network; each guest gets a clone and its links.
    wasi: Linker<Guest>,
}

/// Why the worker cannot run guests at all.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("cannot start the WebAssembly engine: {0:#}")]
    Engine(wasmtime::Error),
    #[error("cannot start the thread that makes guests share the CPU: {0}")]
    Clock(io::Error),
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Runtime {
    /// `cache` is the directory of compiled code; only this user may be able to write there. Beyond `limit` bytes,
    /// [`Self::collect`] removes what nothing uses. All guests together have `memory` bytes, of linear memory and tables;
    /// the worker's own memory comes on top, and what `compile` allows to those that compile.
    pub fn new(
        cache: &Path,
        limit: u64,
        memory: u64,
        compile: CompileSettings,
    ) -> Result<Self, RuntimeError> {
        let new = |generation| engine::engine(generation, memory).map_err(RuntimeError::Engine);
        let (p2, p3) = (new(Generation::P2)?, new(Generation::P3)?);
        let cpu = CpuScheduler::start(vec![p2.clone(), p3.clone()]);
        let compiler = Arc::new(Compiler::new(compile));
        let half = |engine, generation| {
            let cache =
                CompileCache::open(engine, generation, cache, limit, Arc::clone(&compiler))?;
            Half::new(engine, generation, cache)
        };
        Ok(Self {
            p2: half(&p2, Generation::P2)?,
            p3: half(&p3, Generation::P3)?,
            compiler,
            memory: MemoryBudget::new(memory),
            cpu: Arc::new(cpu.map_err(RuntimeError::Clock)?),
        })
    }

    /// The compiled form of a verified artifact, by the engine that it needs; see [`CompileCache::load`].
    pub async fn load(
        &self,
        workload: &WorkloadId,
        digest: Digest,
        artifact: &Path,
    ) -> Result<Compiled, CompileError> {
        let loaded = self.p2.cache.get(digest);
        if let Some(compiled) = loaded.or_else(|| self.p3.cache.get(digest)) {
            return Ok(compiled);
        }
        let (info, generation) = compiled::border(digest, artifact).await?;
        let cache = &self.half(generation).cache;
        cache.load(digest, artifact, info, workload).await
    }

    /// Why an artifact is known not to compile within this worker's limits.
    pub fn compile_failure(&self, digest: Digest) -> Option<CompileFailure> {
        self.compiler.failure(digest)
    }

    /// Whether [`Self::load`] has nothing to compile.
    pub fn is_compiled(&self, digest: Digest) -> bool {
        self.p2.cache.contains(digest) || self.p3.cache.contains(digest)
    }

    /// Whether the code is in memory, because a replica runs it or may.
    pub fn is_loaded(&self, digest: Digest) -> bool {
        self.p2.cache.is_loaded(digest) || self.p3.cache.is_loaded(digest)
    }

    /// Removes compiled code that nothing used for longest, down to the limit. It is compiled again when it is needed.
    pub fn collect(&self) -> io::Result<()> {
        // Both write into one directory.
        self.p2.cache.collect(|digest| self.is_loaded(digest))
    }

    /// Bytes of linear memory that all guests have at present.
    pub fn memory_used(&self) -> u64 {
        self.memory.used()
    }

    fn half(&self, generation: Generation) -> &Half {
        match generation {
            Generation::P2 => &self.p2,
            Generation::P3 => &self.p3,
        }
    }
}

impl Half {
    fn new(
        engine: &Engine,
        generation: Generation,
        cache: CompileCache,
    ) -> Result<Self, RuntimeError> {
        Ok(Self {
            cache,
            wasi: wasi(engine, generation).map_err(RuntimeError::Engine)?,
        })
    }
}

fn wasi(engine: &Engine, generation: Generation) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    crate::sockets::p2::add_to_linker(&mut linker)?;
    if generation == Generation::P3 {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
        outgoing::add_to_linker(&mut linker)?;
        crate::sockets::p3::add_to_linker(&mut linker)?;
    }
    files::add_to_linker(&mut linker, generation)?;
    Ok(linker)
}

#[cfg(test)]
mod tests;
