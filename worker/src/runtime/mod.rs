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

use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::{Arc, OnceLock},
};

use tokio::sync::OnceCell;
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
use compiled::{CacheDirectory, CompileCache};
use cpu::CpuScheduler;
use engine::Generation;
use memory::MemoryBudget;
use pools::{Pools, TooSmall};

use crate::policy::Role;

/// Everything that guests of this worker share. There is one per process.
pub struct Runtime {
    /// The pools of an engine have thousands of mappings, so the engine of a generation starts with
    /// its first component.
    components: ByGeneration<OnceCell<Half>>,
    services: ByGeneration<Half>,
    directory: CacheDirectory,
    pools: Arc<Pools>,
    memory: Arc<MemoryBudget>,
    /// Its clock makes guests yield.
    cpu: Arc<CpuScheduler>,
    compiler: Arc<Compiler>,
}

/// The code of a replica's guests: one artifact may be both its service and a component.
pub type Code = HashMap<(Role, Digest), Compiled>;

/// One for each generation of WASI.
struct ByGeneration<T> {
    p2: T,
    p3: T,
}

/// Everything that guests of one role and one generation of WASI share.
struct Half {
    generation: Generation,
    engine: Engine,
    cache: CompileCache,
    /// Made for the first guest; see [`Self::wasi`].
    wasi: OnceLock<Linker<Guest>>,
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
    /// Starts the engines of services. `cache` is the directory of compiled code, which no other
    /// user may be able to write to. Beyond `limit` bytes, [`Self::collect`] removes code that is
    /// not used. All guests together have `memory` bytes of linear memory and tables; the worker's
    /// own memory comes on top, and so does what `compile` allows to the processes that compile.
    pub fn new(
        cache: &Path,
        limit: u64,
        memory: u64,
        compile: CompileSettings,
    ) -> Result<Self, RuntimeError> {
        let pools = Pools::of_this_process()?;
        let directory = CacheDirectory::open(cache, limit)?;
        let compiler = Arc::new(Compiler::new(compile));
        let service = |generation| {
            let engine = engine::on_demand(generation).map_err(RuntimeError::Engine)?;
            Ok::<_, RuntimeError>(Half::new(generation, engine, &directory, &compiler))
        };
        let services = ByGeneration {
            p2: service(Generation::P2)?,
            p3: service(Generation::P3)?,
        };
        let engines = [&services.p2, &services.p3].map(|half| half.engine.clone());
        let cpu = CpuScheduler::start(engines.into()).map_err(RuntimeError::Clock)?;
        Ok(Self {
            components: ByGeneration {
                p2: OnceCell::new(),
                p3: OnceCell::new(),
            },
            services,
            directory,
            pools,
            compiler,
            memory: MemoryBudget::new(memory),
            cpu: Arc::new(cpu),
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
        let loaded = |generation| self.started(role, generation)?.cache.get(digest);
        if let Some(compiled) = loaded(Generation::P2).or_else(|| loaded(Generation::P3)) {
            return Ok(compiled);
        }
        let border = compiled::border(digest, artifact).await?;
        let half = match role {
            Role::Service => self.services.of(border.generation),
            Role::Component => self.start(border.generation).await?,
        };
        half.cache.load(digest, artifact, border, workload).await
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
        let ByGeneration { p2, p3 } = &self.services;
        p2.cache.contains(digest) || p3.cache.contains(digest)
    }

    /// Returns whether the code is in memory, because a replica runs it or may run it.
    pub fn is_loaded(&self, digest: Digest) -> bool {
        let (services, components) = (&self.services, &self.components);
        let services = [&services.p2, &services.p3].into_iter();
        let components = [&components.p2, &components.p3].into_iter();
        let mut all = services.chain(components.filter_map(|half| half.get()));
        all.any(|half| half.cache.is_loaded(digest))
    }

    /// Removes the compiled code that has been unused for longest, down to the limit. It is
    /// compiled again when it is needed.
    pub fn collect(&self) -> io::Result<()> {
        self.directory.collect(|digest| self.is_loaded(digest))
    }

    /// Returns the bytes of linear memory that all guests have at present.
    pub fn memory_used(&self) -> u64 {
        self.memory.used()
    }

    /// Returns the half of a generation, unless it is one of components and there has been none.
    fn started(&self, role: Role, generation: Generation) -> Option<&Half> {
        match role {
            Role::Service => Some(self.services.of(generation)),
            Role::Component => self.components.of(generation).get(),
        }
    }

    /// Returns the half for components of a generation. The first call starts its engine.
    async fn start(&self, generation: Generation) -> Result<&Half, CompileError> {
        let starting = async || {
            let (slots, memory) = (self.pools.slots_of(generation), self.memory.capacity());
            let started = tokio::task::spawn_blocking(move || {
                engine::pooled(generation, slots, memory)
                    .map_err(|e| CompileError::Engine(format!("{e:#}")))
            });
            let engine = started.await.map_err(|_| CompileError::Interrupted)??;
            self.cpu.add(engine.clone());
            Ok(Half::new(
                generation,
                engine,
                &self.directory,
                &self.compiler,
            ))
        };
        self.components
            .of(generation)
            .get_or_try_init(starting)
            .await
    }
}

// === impl ByGeneration ===

impl<T> ByGeneration<T> {
    fn of(&self, generation: Generation) -> &T {
        match generation {
            Generation::P2 => &self.p2,
            Generation::P3 => &self.p3,
        }
    }
}

// === impl Half ===

impl Half {
    fn new(
        generation: Generation,
        engine: Engine,
        directory: &CacheDirectory,
        compiler: &Arc<Compiler>,
    ) -> Self {
        let compiler = Arc::clone(compiler);
        Self {
            cache: CompileCache::new(&engine, generation, directory.clone(), compiler),
            generation,
            engine,
            wasi: OnceLock::new(),
        }
    }

    /// Returns all of WASI with the workload's network, and the host interfaces; each guest gets a
    /// clone and its links.
    fn wasi(&self) -> wasmtime::Result<&Linker<Guest>> {
        if let Some(linker) = self.wasi.get() {
            return Ok(linker);
        }
        let linker = wasi(&self.engine, self.generation)?;
        Ok(self.wasi.get_or_init(|| linker))
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
