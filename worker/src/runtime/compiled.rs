//! Compiled code on disk: written once by this worker, mapped from then on.

use std::{
    collections::HashMap,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    ops::Deref,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Instant,
};

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use wasmtime::{Engine, component::Component};

use warren_model::{
    component::{self, ComponentInfo, InspectError, Needs, WasiGeneration},
    digest::Digest,
    private,
};

use super::{
    engine::Generation,
    pools::{Cost, TooCostly},
    seal::Seal,
};
use crate::{disk_cache::DiskCache, policy::Role};

/// Why an artifact could not be made runnable.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("cannot read artifact {0}: {1}")]
    Read(Digest, #[source] io::Error),
    #[error("cannot compile artifact {0}: {1:#}")]
    Compile(Digest, wasmtime::Error),
    #[error("cannot write compiled code to {0}: {1}")]
    Write(PathBuf, #[source] io::Error),
    #[error("artifact {0} is not a component that can run here: {1}")]
    Inspect(Digest, InspectError),
    #[error("compilation was interrupted")]
    Interrupted,
}

/// The cache directory cannot be trusted or used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("cannot use the cache directory {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    #[error(
        "the cache directory {0} belongs to another user or can be written by others: \
         code in it would run as this process. Remove it, or name another"
    )]
    Unsafe(PathBuf),
}

/// A component ready to be instantiated; its code stays mapped while one of these lives.
#[derive(Clone)]
pub struct Compiled {
    code: Arc<OnceCell<Loaded>>,
}

struct Loaded {
    component: Component,
    border: Border,
}

/// What the bytes of an artifact say.
#[derive(Clone)]
pub(super) struct Border {
    /// What it imports and exports.
    pub info: ComponentInfo,
    pub generation: Generation,
    pub needs: Needs,
}

impl Compiled {
    /// Whose engine runs it.
    pub(super) fn generation(&self) -> Generation {
        self.loaded().border.generation
    }

    /// What an instance of it takes of the worker's pools, as a service or a component.
    pub(super) fn cost(&self, role: Role) -> Result<Cost, TooCostly> {
        let Loaded { component, border } = self.loaded();
        Cost::of(component, border.needs, border.generation, role)
    }

    /// What it imports and exports, as links are planned by.
    pub(super) fn info(&self) -> &ComponentInfo {
        &self.loaded().border.info
    }

    fn loaded(&self) -> &Loaded {
        self.code.get().expect("handed out only once it is filled")
    }
}

impl Deref for Compiled {
    type Target = Component;

    fn deref(&self) -> &Component {
        &self.loaded().component
    }
}

/// Compiled components by digest, in memory and on disk.
///
/// Files are named by digest and by everything of the engine that code depends on, so another version
/// of wasmtime or other settings never load them.
pub struct CompileCache {
    engine: Engine,
    files: DiskCache,
    seal: Seal,
    compatibility: u64,
    loaded: Mutex<HashMap<Digest, Weak<OnceCell<Loaded>>>>,
}

impl CompileCache {
    /// Opens or makes `directory`, which nobody else may be able to write. `limit`: see [`Self::collect`].
    pub fn open(engine: &Engine, directory: &Path, limit: u64) -> Result<Self, CacheError> {
        let io = |e| CacheError::Io(directory.to_owned(), e);
        private::create_dir(directory).map_err(io)?;
        let metadata = fs::metadata(directory).map_err(io)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
            return Err(CacheError::Unsafe(directory.to_owned()));
        }
        // Before others lose their rights: whoever had them may know the key.
        let seal = Seal::open(directory).map_err(io)?;
        private::restrict_tree(directory).map_err(io)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            engine: engine.clone(),
            files: DiskCache::new(directory.to_owned(), limit),
            seal,
            compatibility: hasher.finish(),
            loaded: Mutex::new(HashMap::new()),
        })
    }

    /// Whether `load` will find the code on disk or in memory.
    pub fn contains(&self, digest: Digest) -> bool {
        self.path(digest).exists()
    }

    /// Whether the code is in memory, because something runs it or may.
    pub fn is_loaded(&self, digest: Digest) -> bool {
        let loaded = self.loaded.lock();
        loaded
            .get(&digest)
            .is_some_and(|cell| cell.strong_count() > 0)
    }

    /// Removes what was not used for longest, until the rest takes no more than the limit in bytes. Those `in_use` stay.
    pub fn collect(&self, in_use: impl Fn(Digest) -> bool) -> io::Result<()> {
        for path in self.files.collect(in_use)? {
            tracing::info!(path = %path.display(), "removed compiled code that nothing used");
        }
        Ok(())
    }

    /// The component, if something has it in memory.
    pub fn get(&self, digest: Digest) -> Option<Compiled> {
        let loaded = self.loaded.lock();
        let code = loaded.get(&digest).and_then(Weak::upgrade)?;
        code.initialized().then_some(Compiled { code })
    }

    /// The component of `artifact`, whose bytes the caller has verified to be `digest` and to have
    /// this border.
    ///
    /// However many ask at once, it is compiled once. Dropping the future lets a compilation that has
    /// begun finish in the background: its code serves the next caller.
    pub async fn load(
        &self,
        digest: Digest,
        artifact: &Path,
        border: Border,
    ) -> Result<Compiled, CompileError> {
        let cell = self.cell(digest);
        cell.get_or_try_init(async || {
            let component = self.compile(digest, artifact).await?;
            Ok(Loaded { component, border })
        })
        .await?;
        Ok(Compiled { code: cell })
    }

    fn cell(&self, digest: Digest) -> Arc<OnceCell<Loaded>> {
        let mut loaded = self.loaded.lock();
        if let Some(cell) = loaded.get(&digest).and_then(Weak::upgrade) {
            return cell;
        }
        loaded.retain(|_, cell| cell.strong_count() > 0);
        let cell = Arc::new(OnceCell::new());
        loaded.insert(digest, Arc::downgrade(&cell));
        cell
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let name = format!("{}-{:016x}.cwasm", digest.hex(), self.compatibility);
        self.files.path(&name)
    }

    async fn compile(&self, digest: Digest, artifact: &Path) -> Result<Component, CompileError> {
        let (engine, artifact, code) =
            (self.engine.clone(), artifact.to_owned(), self.path(digest));
        let seal = self.seal.clone();
        tokio::task::spawn_blocking(move || {
            if code.exists() {
                match DiskCache::used(&code).map_err(Into::into).and_then(|()| map(&engine, &seal, &code)) {
                    Ok(component) => return Ok(component),
                    Err(error) => tracing::warn!(%digest, %error, "compiling again: cached code does not load"),
                }
            }
            let bytes = fs::read(&artifact).map_err(|e| CompileError::Read(digest, e))?;
            let began = Instant::now();
            let compiled = engine
                .precompile_component(&bytes)
                .map_err(|e| CompileError::Compile(digest, e))?;
            tracing::info!(%digest, took = ?began.elapsed(), "compiled");
            write_atomically(&seal, &code, &compiled).map_err(|e| CompileError::Write(code.clone(), e))?;
            map(&engine, &seal, &code).map_err(|e| CompileError::Compile(digest, e))
        })
        .await
        .map_err(|_| CompileError::Interrupted)?
    }
}

/// Maps code that [`CompileCache`] wrote, once it is known to be that. The check reads the file: half a millisecond for a
/// megabyte where the processor has instructions for SHA-256, some two elsewhere, and once for all who run it.
#[allow(unsafe_code)]
fn map(engine: &Engine, seal: &Seal, code: &Path) -> wasmtime::Result<Component> {
    let sealed = seal.open_file(code)?;
    // The very file that was checked, whatever has its name by now.
    let checked = format!("/proc/self/fd/{}", sealed.as_raw_fd());
    // SAFETY: the file holds what `precompile_component` returned, as its seal shows, under a name that binds
    // it to this engine's settings. This module alone writes into the directory, which only this user can
    // write (checked at open); each file appears by rename after it was synced and is never changed in place.
    unsafe { Component::deserialize_file(engine, checked) }
}

/// What an artifact imports and exports, which engine it needs, and what its instances consist of.
pub(super) async fn border(digest: Digest, artifact: &Path) -> Result<Border, CompileError> {
    let artifact = artifact.to_owned();
    tokio::task::spawn_blocking(move || {
        let bytes = fs::read(&artifact).map_err(|e| CompileError::Read(digest, e))?;
        let inspected = |e| CompileError::Inspect(digest, e);
        let (info, generation) = component::border(&bytes).map_err(inspected)?;
        let needs = component::needs(&bytes).map_err(inspected)?;
        let generation = match generation {
            WasiGeneration::P2 => Generation::P2,
            WasiGeneration::P3 => Generation::P3,
        };
        Ok(Border {
            info,
            generation,
            needs,
        })
    })
    .await
    .map_err(|_| CompileError::Interrupted)?
}

fn write_atomically(seal: &Seal, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    seal.put(&name, file.as_file_mut(), bytes.len() as u64)?;
    file.persist(path).map_err(|e| e.error)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;
