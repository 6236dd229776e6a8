//! Runs guests: engines, compiled code, linking, limits, and the host interfaces that guests see.

pub mod compile;
mod compiled;
mod component;
mod cpu;
mod engine;
mod failure;
mod files;
mod guest;
mod handler;
mod host_memory;
mod http;
mod limits;
mod link;
mod memory;
mod outgoing;
mod pools;
mod seal;
mod service;
mod slots;
mod stdio;
mod usage;
mod workload;

use std::{collections::HashMap, io, path::Path, sync::Arc};

use warren_model::{
    component::{Provided, provided},
    digest::Digest,
    name::WorkloadId,
};
use warren_proto::v1;
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
use pools::{Pools, TooSmall};

use crate::policy::Role;

/// Everything that guests of this worker share. There is one per process.
pub struct Runtime {
    components: Generations,
    services: Generations,
    pools: Arc<Pools>,
    memory: Arc<MemoryBudget>,
    /// Its clock makes guests yield.
    cpu: Arc<CpuScheduler>,
    compiler: Arc<Compiler>,
}

/// The code of a replica's guests: one artifact may be both its service and a component.
pub type Code = HashMap<(Role, Digest), Compiled>;

/// Everything that services share, or that components share.
struct Generations {
    p2: Half,
    p3: Half,
}

/// Everything that guests of one generation of WASI share.
struct Half {
    cache: CompileCache,
    /// All of WASI with the workload's network, and the host interfaces; each guest gets a clone
    /// and its links.
    wasi: Linker<Guest>,
}

/// Why the worker cannot run guests at all.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("cannot start the WebAssembly engine: {0:#}")]
    Engine(wasmtime::Error),
    #[error(transparent)]
    Pools(#[from] TooSmall),
    #[error("cannot start the thread that makes guests share the CPU: {0}")]
    Clock(io::Error),
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Runtime {
    /// Starts the engines. `cache` is the directory of compiled code, which no other user may be
    /// able to write to. Beyond `limit` bytes, [`Self::collect`] removes code that is not used. All
    /// guests together have `memory` bytes of linear memory and tables; the worker's own memory
    /// comes on top, and so does what `compile` allows to the processes that compile.
    pub fn new(
        cache: &Path,
        limit: u64,
        memory: u64,
        compile: CompileSettings,
    ) -> Result<Self, RuntimeError> {
        let pools = Pools::of_this_process()?;
        let pooled = |generation| engine::pooled(generation, pools.slots_of(generation), memory);
        let components = Engines::new(pooled).map_err(RuntimeError::Engine)?;
        let services = Engines::new(engine::on_demand).map_err(RuntimeError::Engine)?;
        let all = [&components.p2, &components.p3, &services.p2, &services.p3];
        let cpu = CpuScheduler::start(all.into_iter().cloned().collect());
        let compiler = Arc::new(Compiler::new(compile));
        Ok(Self {
            components: Generations::new(&components, cache, limit, &compiler)?,
            services: Generations::new(&services, cache, limit, &compiler)?,
            pools,
            compiler,
            memory: MemoryBudget::new(memory),
            cpu: Arc::new(cpu.map_err(RuntimeError::Clock)?),
        })
    }

    /// Returns the compiled form of a verified artifact for this role, by the engine that it needs;
    /// see [`CompileCache::load`].
    pub async fn load(
        &self,
        role: Role,
        workload: &WorkloadId,
        digest: Digest,
        artifact: &Path,
    ) -> Result<Compiled, CompileError> {
        let Generations { p2, p3 } = self.of(role);
        let loaded = p2.cache.get(digest);
        if let Some(compiled) = loaded.or_else(|| p3.cache.get(digest)) {
            return Ok(compiled);
        }
        let border = compiled::border(digest, artifact).await?;
        let cache = &self.half(role, border.generation).cache;
        cache.load(digest, artifact, border, workload).await
    }

    /// Returns the interfaces that the worker provides to guests: those that the linkers hold.
    pub fn provides() -> Vec<v1::HostInterface> {
        provided().iter().map(Provided::to_proto).collect()
    }

    /// Returns why an artifact is known not to compile within this worker's limits.
    pub fn compile_failure(&self, digest: Digest) -> Option<CompileFailure> {
        self.compiler.failure(digest)
    }

    /// Returns whether [`Self::load`] has nothing to compile.
    pub fn is_compiled(&self, digest: Digest) -> bool {
        // Engines of both roles run the same code.
        let Generations { p2, p3 } = &self.components;
        p2.cache.contains(digest) || p3.cache.contains(digest)
    }

    /// Returns whether the code is in memory, because a replica runs it or may run it.
    pub fn is_loaded(&self, digest: Digest) -> bool {
        let is_loaded = |half: &Half| half.cache.is_loaded(digest);
        let both = [&self.components, &self.services];
        both.iter().any(|of| is_loaded(&of.p2) || is_loaded(&of.p3))
    }

    /// Removes the compiled code that has been unused for longest, down to the limit. It is
    /// compiled again when it is needed.
    pub fn collect(&self) -> io::Result<()> {
        // All caches write into one directory.
        self.components
            .p2
            .cache
            .collect(|digest| self.is_loaded(digest))
    }

    /// Returns the bytes of linear memory that all guests have at present.
    pub fn memory_used(&self) -> u64 {
        self.memory.used()
    }

    fn of(&self, role: Role) -> &Generations {
        match role {
            Role::Service => &self.services,
            Role::Component => &self.components,
        }
    }

    fn half(&self, role: Role, generation: Generation) -> &Half {
        let Generations { p2, p3 } = self.of(role);
        match generation {
            Generation::P2 => p2,
            Generation::P3 => p3,
        }
    }
}

/// The engines of both generations.
struct Engines {
    p2: Engine,
    p3: Engine,
}

impl Engines {
    fn new(new: impl Fn(Generation) -> wasmtime::Result<Engine>) -> wasmtime::Result<Self> {
        Ok(Self {
            p2: new(Generation::P2)?,
            p3: new(Generation::P3)?,
        })
    }
}

impl Generations {
    fn new(
        engines: &Engines,
        cache: &Path,
        limit: u64,
        compiler: &Arc<Compiler>,
    ) -> Result<Self, RuntimeError> {
        let half = |engine, generation| {
            let compiler = Arc::clone(compiler);
            let cache = CompileCache::open(engine, generation, cache, limit, compiler)?;
            Half::new(engine, generation, cache)
        };
        Ok(Self {
            p2: half(&engines.p2, Generation::P2)?,
            p3: half(&engines.p3, Generation::P3)?,
        })
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
    crate::host::add_to_linker(&mut linker)?;
    files::add_to_linker(&mut linker, generation)?;
    host_memory::add_to_linker(&mut linker, generation)?;
    Ok(linker)
}

#[cfg(test)]
mod tests;
