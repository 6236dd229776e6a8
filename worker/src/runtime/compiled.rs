//! Compiled code on disk, which this worker writes once and maps from then on.

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

/// The reason why an artifact could not be made runnable.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CompileError {
    #[error("cannot read artifact {0}: {1}")]
    Read(Digest, #[source] Arc<io::Error>),
    #[error("cannot compile artifact {0}: {1}")]
    Compile(Digest, CompileFailure),
    #[error("cannot load the compiled code of artifact {0}: {1}")]
    Load(Digest, String),
    #[error("cannot start the WebAssembly engine: {0}")]
    Engine(String),
    #[error("cannot write compiled code to {0}: {1}")]
    Write(PathBuf, #[source] Arc<io::Error>),
    #[error("artifact {0} is not a component that can run here: {1}")]
    Inspect(Digest, Arc<InspectError>),
    #[error("compilation was interrupted")]
    Interrupted,
}

/// The reason why the cache directory cannot be trusted or used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("cannot use the cache directory {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    #[error(
        "the cache directory {0} belongs to another user or can be written by others, \
         and code in it would run as this process; remove it, or name another"
    )]
    Unsafe(PathBuf),
}

/// A component ready to be instantiated. Its code stays mapped while any clone of this exists.
#[derive(Clone)]
pub struct Compiled {
    code: Arc<OnceCell<Loaded>>,
}

struct Loaded {
    component: Component,
    border: Border,
}

/// The facts about an artifact that its bytes determine.
#[derive(Clone)]
pub(super) struct Border {
    /// The imports and exports.
    pub info: ComponentInfo,
    pub generation: Generation,
    pub needs: Needs,
}

impl Compiled {
    /// Returns the generation whose engine runs it.
    pub(super) fn generation(&self) -> Generation {
        self.loaded().border.generation
    }

    /// Returns what one instance takes of the worker's pools, as a service or a component.
    pub(super) fn cost(&self, role: Role) -> Result<Cost, TooCostly> {
        let Loaded { component, border } = self.loaded();
        Cost::of(component, border.needs, border.generation, role)
    }

    /// Returns the imports and exports, from which links are planned.
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

/// The directory into which all caches of a worker write.
#[derive(Clone)]
pub struct CacheDirectory {
    path: PathBuf,
    files: DiskCache,
    seal: Seal,
}

/// Compiled components by digest, in memory and on disk.
///
/// Files are named after the digest and everything in the engine that code depends on, so another
/// version of wasmtime or other settings never load them.
pub struct CompileCache {
    engine: Engine,
    generation: Generation,
    directory: CacheDirectory,
    compatibility: u64,
    loaded: Mutex<HashMap<Digest, Weak<OnceCell<Loaded>>>>,
    compiler: Arc<Compiler>,
    /// The compilations that callers wait for.
    compiling: Mutex<HashMap<Digest, WeakShared<Compiling>>>,
}

/// Completes once the code is in the cache.
type Compiling = BoxFuture<'static, Result<(), CompileError>>;

// === impl CacheDirectory ===

impl CacheDirectory {
    /// Opens or creates the directory at `path`, which no other user may be able to write to. For
    /// `limit`, see [`Self::collect`].
    pub fn open(path: &Path, limit: u64) -> Result<Self, CacheError> {
        let io = |e| CacheError::Io(path.to_owned(), e);
        private::create_dir(path).map_err(io)?;
        let metadata = fs::metadata(path).map_err(io)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
            return Err(CacheError::Unsafe(path.to_owned()));
        }
        // The key is checked before others lose access, because anyone who had access may know it.
        let seal = Seal::open(path).map_err(io)?;
        private::restrict_tree(path).map_err(io)?;
        Ok(Self {
            path: path.to_owned(),
            files: DiskCache::new(path.to_owned(), limit),
            seal,
        })
    }

    /// Removes the code that has been unused for longest, until the rest takes no more than the
    /// limit in bytes. Code that is `in_use` stays.
    pub fn collect(&self, in_use: impl Fn(Digest) -> bool) -> io::Result<()> {
        for path in self.files.collect(in_use)? {
            tracing::info!(path = %path.display(), "removed unused compiled code");
        }
        Ok(())
    }
}

// === impl CompileCache ===

impl CompileCache {
    pub fn new(
        engine: &Engine,
        generation: Generation,
        directory: CacheDirectory,
        compiler: Arc<Compiler>,
    ) -> Self {
        Self {
            engine: engine.clone(),
            generation,
            directory,
            compatibility: compatibility(engine),
            loaded: Mutex::new(HashMap::new()),
            compiler,
            compiling: Mutex::default(),
        }
    }

    /// Returns whether `load` will find the code on disk or in memory.
    pub fn contains(&self, digest: Digest) -> bool {
        self.path(digest).exists()
    }

    /// Returns whether the code is in memory, because something runs it or may run it.
    pub fn is_loaded(&self, digest: Digest) -> bool {
        let loaded = self.loaded.lock();
        loaded
            .get(&digest)
            .is_some_and(|cell| cell.strong_count() > 0)
    }

    /// Returns the component if it is in memory.
    pub fn get(&self, digest: Digest) -> Option<Compiled> {
        let loaded = self.loaded.lock();
        let code = loaded.get(&digest).and_then(Weak::upgrade)?;
        code.initialized().then_some(Compiled { code })
    }

    /// Returns the component of `artifact`. The caller has verified that its bytes have this digest
    /// and this border. If it must be compiled, that takes one of `workload`'s turns.
    ///
    /// It is compiled once, however many callers wait for it. Once all of them have dropped their
    /// futures, the compilation ends.
    pub async fn load(
        &self,
        digest: Digest,
        artifact: &Path,
        border: Border,
        workload: &WorkloadId,
    ) -> Result<Compiled, CompileError> {
        let cell = self.cell(digest);
        // Every waiter holds the compilation, because the one that began it may give up.
        let compiling = self.compiling(digest, artifact, workload);
        cell.get_or_try_init(async || {
            let cached = self.cached(digest).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "the compiled code cannot be used and is compiled again");
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
        self.directory.files.path(&name)
    }

    /// Returns the code if it is on disk and can be used.
    async fn cached(&self, digest: Digest) -> Result<Option<Component>, CompileError> {
        let (engine, seal) = (self.engine.clone(), self.directory.seal.clone());
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

    /// Returns the compilation of a component: the one that others already wait for, or a new one,
    /// which begins when it is awaited.
    fn compiling(
        &self,
        digest: Digest,
        artifact: &Path,
        workload: &WorkloadId,
    ) -> Shared<Compiling> {
        let mut compiling = self.compiling.lock();
        let underway = compiling.get(&digest).and_then(WeakShared::upgrade);
        // A component whose compilation has ended may be needed again if its file was removed.
        if let Some(underway) = underway.filter(|it| it.peek().is_none()) {
            return underway;
        }
        compiling.retain(|_, it| it.upgrade().is_some());
        let begun = self.compile(digest, artifact.to_owned(), workload.clone());
        let begun = begun.boxed().shared();
        compiling.extend(begun.downgrade().map(|begun| (digest, begun)));
        begun
    }

    /// Returns the number of callers that wait for a component.
    #[cfg(test)]
    pub(super) fn waiting(&self, digest: Digest) -> usize {
        let compiling = self.compiling.lock();
        let shared = compiling.get(&digest).and_then(WeakShared::upgrade);
        // The reference that was just made does not count.
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
        let (generation, directory) = (self.generation, self.directory.path.clone());
        let (code, seal) = (self.path(digest), self.directory.seal.clone());
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

/// Maps code after checking that [`CompileCache`] wrote it. The check reads the whole file, once
/// for all users of the code. It takes half a millisecond per megabyte where the processor has
/// instructions for SHA-256, and about two elsewhere.
#[allow(unsafe_code)]
fn map(engine: &Engine, seal: &Seal, code: &Path) -> wasmtime::Result<Component> {
    let sealed = seal.open_file(code)?;
    // This maps the very file that was checked, even if another has its name now.
    let checked = format!("/proc/self/fd/{}", sealed.as_raw_fd());
    // SAFETY: the file holds what `precompile_component` returned, as its seal shows. A process of
    // the same program, started by this worker or an earlier one, wrote it through a descriptor of
    // the file, and its name binds it to the settings of this engine. Only this module writes into
    // the directory, and only this user can write there (checked when it is opened). Each file
    // appears by a rename after it was synced, and is never changed in place.
    unsafe { Component::deserialize_file(engine, checked) }
}

/// Returns what an artifact imports and exports, which engine it needs, and what its instances
/// consist of.
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

/// Gives the code its name, after it was sealed and is complete on disk.
fn keep(seal: &Seal, mut code: NamedTempFile, path: &Path) -> io::Result<()> {
    let length = code.as_file().metadata()?.len();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    seal.put(&name, code.as_file_mut(), length)?;
    code.persist(path).map_err(|e| e.error)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;
