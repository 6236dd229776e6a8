//! Running guests: engines, compiled code, linking, limits, and the host interfaces they see.

mod compiled;
mod component;
mod engine;
mod failure;
mod guest;
mod handler;
mod http;
mod limits;
mod link;
mod outgoing;
mod service;
mod stdio;
mod workload;

use std::{path::Path, sync::Arc, thread};

use warren_model::digest::Digest;
use wasmtime::{Engine, component::Linker};

pub use compiled::{CacheError, CompileError, Compiled};
pub use component::ComponentRuntime;
pub use guest::Guest;
pub use http::ComponentHandle;
pub use service::{ServiceEnd, ServiceRuntime};
pub use workload::{PrepareError, Prepared, ReplicaContext};

use compiled::CompileCache;
use engine::{Generation, TickingEngine};
use limits::MemoryMeter;

/// Everything that guests of this worker share. One a process.
pub struct Runtime {
    p2: Half,
    p3: Half,
    memory: Arc<MemoryMeter>,
}

/// What guests of one generation of WASI share.
struct Half {
    /// Held for its clock: without ticks no guest yields.
    _engine: TickingEngine,
    cache: CompileCache,
    /// All of WASI with the workload's network; each guest gets a clone and its links.
    wasi: Linker<Guest>,
}

/// Why the worker cannot run guests at all.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("cannot start the WebAssembly engine: {0:#}")]
    Engine(wasmtime::Error),
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// The threads that tokio needs to run guests. A guest that spins holds its thread until its epoch ends, and tokio looks
/// at timers and sockets only between tasks: with as many threads as cores two such guests delay every heartbeat by half
/// a second, with many more threads than cores the kernel shares the cores and nothing is late.
pub fn threads() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (cores * 2).max(16)
}

impl Runtime {
    /// `cache` is the directory of compiled code; only this user may be able to write there.
    pub fn new(cache: &Path) -> Result<Self, RuntimeError> {
        Ok(Self {
            p2: Half::new(Generation::P2, cache)?,
            p3: Half::new(Generation::P3, cache)?,
            memory: Arc::default(),
        })
    }

    /// The compiled form of a verified artifact, by the engine that it needs; see [`CompileCache::load`].
    pub async fn load(&self, digest: Digest, artifact: &Path) -> Result<Compiled, CompileError> {
        let generation = match (
            self.p2.cache.contains(digest),
            self.p3.cache.contains(digest),
        ) {
            (true, _) => Generation::P2,
            (_, true) => Generation::P3,
            (false, false) => compiled::generation(digest, artifact).await?,
        };
        self.half(generation).cache.load(digest, artifact).await
    }

    /// Whether [`Self::load`] has nothing to compile.
    pub fn is_compiled(&self, digest: Digest) -> bool {
        self.p2.cache.contains(digest) || self.p3.cache.contains(digest)
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
    fn new(generation: Generation, cache: &Path) -> Result<Self, RuntimeError> {
        let engine = TickingEngine::new(generation).map_err(RuntimeError::Engine)?;
        let cache = CompileCache::open(engine.engine(), generation, cache)?;
        let wasi = wasi(engine.engine(), generation).map_err(RuntimeError::Engine)?;
        Ok(Self {
            _engine: engine,
            cache,
            wasi,
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
        crate::sockets::p3::add_to_linker(&mut linker)?;
    }
    Ok(linker)
}
