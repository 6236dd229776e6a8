//! Compiled code on disk: written once by this worker, mapped from then on.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    ops::Deref,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;
use tempfile::NamedTempFile;
use tokio::sync::OnceCell;
use wasmtime::{Engine, component::Component};

use warren_model::{
    component::{self, ComponentInfo, InspectError, Needs, WasiGeneration},
    digest::Digest,
    name::WorkloadId,
    private,
};

use super::{
    compile::{CompileFailure, Compiler, Job},
    engine::{Generation, compatibility},
    pools::{Cost, TooCostly},
    seal::Seal,
};
use crate::{disk_cache::DiskCache, policy::Role};

/// Why an artifact could not be made runnable.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CompileError {
    #[error("cannot read artifact {0}: {1}")]
    Read(Digest, #[source] Arc<io::Error>),
    #[error("cannot compile artifact {0}: {1}")]
    Compile(Digest, CompileFailure),
    #[error("cannot load the compiled code of artifact {0}: {1}")]
    Load(Digest, String),
    #[error("cannot write compiled code to {0}: {1}")]
    Write(PathBuf, #[source] Arc<io::Error>),
    #[error("artifact {0} is not a component that can run here: {1}")]
    Inspect(Digest, Arc<InspectError>),
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
/// Files are named by digest and by everything of the engine that code depends on, so another
/// version of wasmtime or other settings never load them.
pub struct CompileCache {
    engine: Engine,
    generation: Generation,
    directory: PathBuf,
    files: DiskCache,
    seal: Seal,
    compatibility: u64,
    loaded: Mutex<HashMap<Digest, Weak<OnceCell<Loaded>>>>,
    compiler: Arc<Compiler>,
    /// Compilations that somebody waits for.
    compiling: Mutex<HashMap<Digest, WeakShared<Compiling>>>,
}

/// Ends once the code is in the cache.
type Compiling = BoxFuture<'static, Result<(), CompileError>>;

impl CompileCache {
    /// Opens or makes `directory`, which nobody else may be able to write. `limit`: see
    /// [`Self::collect`].
    pub fn open(
        engine: &Engine,
        generation: Generation,
        directory: &Path,
        limit: u64,
        compiler: Arc<Compiler>,
    ) -> Result<Self, CacheError> {
        let io = |e| CacheError::Io(directory.to_owned(), e);
        private::create_dir(directory).map_err(io)?;
        let metadata = fs::metadata(directory).map_err(io)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
            return Err(CacheError::Unsafe(directory.to_owned()));
        }
        // Before others lose access: anyone who had it may know the key.
        let seal = Seal::open(directory).map_err(io)?;
        private::restrict_tree(directory).map_err(io)?;
        Ok(Self {
            engine: engine.clone(),
            generation,
            directory: directory.to_owned(),
            files: DiskCache::new(directory.to_owned(), limit),
            seal,
            compatibility: compatibility(engine),
            loaded: Mutex::new(HashMap::new()),
            compiler,
            compiling: Mutex::default(),
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

    /// Removes what was not used for longest, until the rest takes no more than the limit in bytes.
    /// Those `in_use` stay.
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
    /// this border. If it must be compiled, that takes one of `workload`'s turns.
    ///
    /// However many ask at once, it is compiled once. Once all of them have dropped their futures,
    /// the compilation ends.
    pub async fn load(
        &self,
        digest: Digest,
        artifact: &Path,
        border: Border,
        workload: &WorkloadId,
    ) -> Result<Compiled, CompileError> {
        let cell = self.cell(digest);
        // Everyone who waits holds it, because the one that began it may leave.
        let compiling = self.compiling(digest, artifact, workload);
        cell.get_or_try_init(async || {
            let cached = self.cached(digest).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "compiling again");
                None
            });
            let component = match cached {
                Some(component) => component,
                None => {
                    compiling.clone().await?;
                    let gone = || CompileError::Load(digest, "its file is gone".to_owned());
                    self.cached(digest).await?.ok_or_else(gone)?
                }
            };
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

    /// The code, if it is on the disk and can be used.
    async fn cached(&self, digest: Digest) -> Result<Option<Component>, CompileError> {
        let (engine, seal) = (self.engine.clone(), self.seal.clone());
        let code = self.path(digest);
        let loading = tokio::task::spawn_blocking(move || {
            if !code.exists() {
                return Ok(None);
            }
            let used = DiskCache::used(&code).map_err(Into::into);
            let loaded = used.and_then(|()| map(&engine, &seal, &code));
            loaded
                .map(Some)
                .map_err(|e| CompileError::Load(digest, format!("{e:#}")))
        });
        loading.await.map_err(|_| CompileError::Interrupted)?
    }

    /// The compilation of a component: the one that somebody waits for, or another, which begins
    /// when it is awaited.
    fn compiling(
        &self,
        digest: Digest,
        artifact: &Path,
        workload: &WorkloadId,
    ) -> Shared<Compiling> {
        let mut compiling = self.compiling.lock();
        let underway = compiling.get(&digest).and_then(WeakShared::upgrade);
        // What has ended may be needed again, if its file was removed.
        if let Some(underway) = underway.filter(|it| it.peek().is_none()) {
            return underway;
        }
        compiling.retain(|_, it| it.upgrade().is_some());
        let begun = self.compile(digest, artifact.to_owned(), workload.clone());
        let begun = begun.boxed().shared();
        compiling.extend(begun.downgrade().map(|begun| (digest, begun)));
        begun
    }

    /// How many wait for a component.
    #[cfg(test)]
    pub(super) fn waiting(&self, digest: Digest) -> usize {
        let compiling = self.compiling.lock();
        let shared = compiling.get(&digest).and_then(WeakShared::upgrade);
        // Without the one that was just made.
        shared
            .and_then(|it| it.strong_count())
            .map_or(0, |count| count - 1)
    }

    fn compile(
        &self,
        digest: Digest,
        artifact: PathBuf,
        workload: WorkloadId,
    ) -> impl Future<Output = Result<(), CompileError>> + use<> {
        let (compiler, engine) = (Arc::clone(&self.compiler), self.engine.clone());
        let (generation, directory) = (self.generation, self.directory.clone());
        let (code, seal) = (self.path(digest), self.seal.clone());
        async move {
            let job = Job {
                digest,
                artifact: &artifact,
                engine: &engine,
                generation,
                directory: &directory,
                workload: &workload,
            };
            let compiled = compiler.compile(&job).await;
            let compiled = compiled.map_err(|failure| CompileError::Compile(digest, failure))?;
            let keeping = tokio::task::spawn_blocking(move || {
                keep(&seal, compiled, &code).map_err(|e| CompileError::Write(code, Arc::new(e)))
            });
            keeping.await.map_err(|_| CompileError::Interrupted)?
        }
    }
}

/// Maps code that [`CompileCache`] wrote, once it is known to be that. The check reads the file:
/// half a millisecond for a megabyte where the processor has instructions for SHA-256, some two
/// elsewhere, and once for all who run it.
#[allow(unsafe_code)]
fn map(engine: &Engine, seal: &Seal, code: &Path) -> wasmtime::Result<Component> {
    let sealed = seal.open_file(code)?;
    // The very file that was checked, whatever has its name by now.
    let checked = format!("/proc/self/fd/{}", sealed.as_raw_fd());
    // SAFETY: the file holds what `precompile_component` returned, as its seal shows, in a process
    // of the same program that this one or one before it started and that had the file's
    // descriptor, under a name that binds it to this engine's settings. This module alone writes
    // into the directory, which only this user can write (checked at open); each file appears by
    // rename after it was synced and is never changed in place.
    unsafe { Component::deserialize_file(engine, checked) }
}

/// What an artifact imports and exports, which engine it needs, and what its instances consist of.
pub(super) async fn border(digest: Digest, artifact: &Path) -> Result<Border, CompileError> {
    let artifact = artifact.to_owned();
    tokio::task::spawn_blocking(move || {
        let bytes = fs::read(&artifact).map_err(|e| CompileError::Read(digest, Arc::new(e)))?;
        let inspected = |e| CompileError::Inspect(digest, Arc::new(e));
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

/// Under its name only when sealed, whole and on the disk.
fn keep(seal: &Seal, mut code: NamedTempFile, path: &Path) -> io::Result<()> {
    let length = code.as_file().metadata()?.len();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    seal.put(&name, code.as_file_mut(), length)?;
    code.persist(path).map_err(|e| e.error)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;
