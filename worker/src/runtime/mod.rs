//! Running guests: engines, compiled code, linking, limits, and the host interfaces they see.

mod compiled;
mod component;
mod engine;
mod failure;
mod guest;
mod http;
mod limits;
mod link;
mod outgoing;
mod service;
mod stdio;
mod workload;

use std::{path::Path, sync::Arc};

use warren_model::digest::Digest;
use wasmtime::component::Linker;

pub use compiled::{CacheError, CompileError, Compiled};
pub use component::ComponentRuntime;
pub use guest::Guest;
pub use http::ComponentHandle;
pub use service::{ServiceEnd, ServiceRuntime};
pub use workload::{PrepareError, Prepared, ReplicaContext};

use compiled::CompileCache;
use engine::TickingEngine;
use limits::MemoryMeter;

/// Everything that guests of this worker share. One a process.
pub struct Runtime {
    /// Held for its clock: without ticks no guest yields.
    _engine: TickingEngine,
    cache: CompileCache,
    memory: Arc<MemoryMeter>,
    /// All of WASI 0.2 with the workload's network; each guest gets a clone and its links.
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

impl Runtime {
    /// `cache` is the directory of compiled code; only this user may be able to write there.
    pub fn new(cache: &Path) -> Result<Self, RuntimeError> {
        let engine = TickingEngine::new().map_err(RuntimeError::Engine)?;
        let cache = CompileCache::open(engine.engine(), cache)?;
        let wasi = wasi(&engine).map_err(RuntimeError::Engine)?;
        Ok(Self {
            _engine: engine,
            cache,
            memory: Arc::default(),
            wasi,
        })
    }

    /// The compiled form of a verified artifact; see [`CompileCache::load`].
    pub async fn load(&self, digest: Digest, artifact: &Path) -> Result<Compiled, CompileError> {
        self.cache.load(digest, artifact).await
    }

    /// Bytes of linear memory that all guests have at present.
    pub fn memory_used(&self) -> u64 {
        self.memory.used()
    }

    /// Whether [`Self::load`] has nothing to compile.
    pub fn is_compiled(&self, digest: Digest) -> bool {
        self.cache.contains(digest)
    }
}

fn wasi(engine: &TickingEngine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine.engine());
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    crate::sockets::p2::add_to_linker(&mut linker)?;
    Ok(linker)
}
