//! Directories for services: those that the worker's machine offers by name, and empty ones that
//! exist as long as their replica.
//!
//! A guest cannot access anything outside its directory: wasmtime-wasi opens every path relative to
//! the directory's descriptor and does not follow links out of it.

pub mod quota;
mod trash;

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use warren_model::{
    name::Name,
    private,
    spec::{EmptyDir, VolumeMount, VolumeSource, WorkloadSpec},
};
use warren_proto::v1;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use quota::Quota;
use trash::Trash;

/// A directory that workloads can mount by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostVolume {
    pub name: Name,
    pub path: PathBuf,
    /// Whether no workload may write to it.
    pub read_only: bool,
}

/// The volumes that a worker provides for its replicas.
#[derive(Debug)]
pub struct Volumes {
    host: BTreeMap<Name, HostVolume>,
    /// Contains a directory for each replica that has empty volumes.
    replicas: PathBuf,
    trash: Arc<Trash>,
}

/// The directories of one replica, for all runs of its service. Dropping it removes the empty ones,
/// which belong to the replica.
#[derive(Debug, Default)]
pub struct Mounts {
    mounts: Arc<[Mount]>,
    _empty: Option<EmptyDirs>,
}

/// A directory and where a guest sees it.
#[derive(Clone, Debug)]
pub struct Mount {
    path: PathBuf,
    guest: String,
    read_only: bool,
    /// The quota of an empty directory. Directories of the machine have none.
    quota: Option<Arc<Quota>>,
}

/// The empty directories of one replica, which are removed with all their contents when this is
/// dropped.
#[derive(Debug)]
struct EmptyDirs {
    path: PathBuf,
    trash: Arc<Trash>,
}

/// The name of the trash in the directory of all replicas' volumes. No replica can have this name.
const TRASH: &str = ".trash";

/// Why a volume cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("volume `{0}` is given twice")]
    Twice(Name),
    #[error("volume `{name}`: {} is not a directory", path.display())]
    NoDirectory { name: Name, path: PathBuf },
    #[error("volume `{name}`: {}: {source}", path.display())]
    Unusable {
        name: Name,
        path: PathBuf,
        source: io::Error,
    },
    #[error("this worker does not offer a volume `{0}`")]
    NotOffered(Name),
    #[error("this worker offers volume `{0}` for reading only")]
    ReadOnly(Name),
}

// === impl Volumes ===

impl Volumes {
    /// Opens the worker's volumes. `data` is the worker's own directory. Volumes that replicas of
    /// an earlier run left there are removed in the background, and cannot prevent the worker from
    /// starting.
    pub fn open(data: &Path, offered: Vec<HostVolume>) -> Result<Self, VolumeError> {
        let mut host = BTreeMap::new();
        for mut volume in offered {
            let unusable = |source| VolumeError::Unusable {
                name: volume.name.clone(),
                path: volume.path.clone(),
                source,
            };
            // A relative path must not change its meaning later.
            let path = volume.path.canonicalize().map_err(unusable)?;
            if !path.is_dir() {
                let (name, path) = (volume.name, volume.path);
                return Err(VolumeError::NoDirectory { name, path });
            }
            volume.path = path;
            if let Some(twice) = host.insert(volume.name.clone(), volume) {
                return Err(VolumeError::Twice(twice.name));
            }
        }
        let replicas = data.join("volumes");
        let trash = Arc::new(Trash::new(replicas.join(TRASH)));
        if let Err(error) = discard(&replicas, &trash) {
            let path = replicas.display();
            tracing::warn!(%path, %error, "cannot remove volumes of earlier replicas, which stay on disk");
        }
        Ok(Self {
            host,
            replicas,
            trash,
        })
    }

    /// Returns the offered volumes in the form in which the control plane is notified of them.
    pub fn offered(&self) -> Vec<v1::HostVolume> {
        let offered = self.host.values().map(|volume| v1::HostVolume {
            name: volume.name.to_string(),
            read_only: volume.read_only,
        });
        offered.collect()
    }

    /// Creates the empty directories of a replica and looks up the others.
    pub fn mount(&self, replica: &str, spec: &WorkloadSpec) -> Result<Mounts, VolumeError> {
        let Some(service) = &spec.service else {
            return Ok(Mounts::default());
        };
        let own = self.replicas.join(replica);
        let mut empty = None;
        let mut quotas = HashMap::new();
        let mut mounts = Vec::new();
        for mount in &service.volumes {
            // Apply refuses a mount without a volume.
            let volume = spec.volumes.iter().find(|volume| volume.name == mount.name);
            let Some(volume) = volume else { continue };
            mounts.push(match &volume.source {
                VolumeSource::Host(name) => self.host_mount(name, mount)?,
                VolumeSource::EmptyDir(limits) => {
                    let path = own.join(volume.name.as_str());
                    let unusable = |source| VolumeError::Unusable {
                        name: volume.name.clone(),
                        path: path.clone(),
                        source,
                    };
                    if empty.is_none() {
                        self.clear(&own).map_err(unusable)?;
                        empty = Some(EmptyDirs {
                            path: own.clone(),
                            trash: Arc::clone(&self.trash),
                        });
                    }
                    // A volume that is mounted twice is one volume.
                    let quota = match quotas.get(&volume.name) {
                        Some(quota) => Arc::clone(quota),
                        None => Arc::new(make_empty(&path, *limits).map_err(unusable)?),
                    };
                    quotas.insert(&volume.name, Arc::clone(&quota));
                    Mount::new(path, mount, false, Some(quota))
                }
            });
        }
        Ok(Mounts {
            mounts: mounts.into(),
            _empty: empty,
        })
    }

    fn host_mount(&self, name: &Name, mount: &VolumeMount) -> Result<Mount, VolumeError> {
        let volume = self.host.get(name);
        let volume = volume.ok_or_else(|| VolumeError::NotOffered(name.clone()))?;
        if volume.read_only && !mount.read_only {
            return Err(VolumeError::ReadOnly(name.clone()));
        }
        let path = volume.path.clone();
        Ok(Mount::new(path, mount, volume.read_only, None))
    }

    /// Moves away whatever exists at a replica's path, which removal at the start may have failed
    /// to remove. Quotas count from zero, so the directories must start empty.
    fn clear(&self, own: &Path) -> io::Result<()> {
        match fs::symlink_metadata(own) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        self.trash.take(own)?;
        self.trash.sweep();
        Ok(())
    }
}

// === impl Mounts ===

impl Mounts {
    /// Returns the directories that each run of the service gets.
    pub fn list(&self) -> Arc<[Mount]> {
        Arc::clone(&self.mounts)
    }
}

// === impl Mount ===

impl Mount {
    fn new(path: PathBuf, mount: &VolumeMount, read_only: bool, quota: Option<Arc<Quota>>) -> Self {
        Self {
            path,
            guest: mount.mount_path.clone(),
            read_only: read_only || mount.read_only,
            quota,
        }
    }

    /// Returns the quota of the directory, if it has one.
    pub fn quota(&self) -> Option<&Arc<Quota>> {
        self.quota.as_ref()
    }

    #[cfg(test)]
    pub(crate) fn of(path: &Path, guest: &str) -> Self {
        Self {
            path: path.to_owned(),
            guest: guest.to_owned(),
            read_only: false,
            quota: None,
        }
    }

    /// Opens the directory for one guest.
    pub fn open(&self, wasi: &mut WasiCtxBuilder) -> wasmtime::Result<()> {
        let perms = match self.read_only {
            true => FsPerms::ReadOnly,
            false => FsPerms::ReadWrite,
        };
        wasi.preopened_dir(&self.path, &self.guest, perms)?;
        Ok(())
    }
}

// === impl EmptyDirs ===

impl Drop for EmptyDirs {
    fn drop(&mut self) {
        match self.trash.take(&self.path) {
            Ok(()) => self.trash.sweep(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "cannot remove the volumes of a replica, which stay on disk until the worker restarts");
            }
        }
    }
}

/// Creates an empty directory with a quota that counts from zero.
fn make_empty(path: &Path, limits: EmptyDir) -> io::Result<Quota> {
    private::create_dir(path)?;
    let metadata = fs::metadata(path)?;
    Ok(Quota::new(limits, (metadata.dev(), metadata.ino())))
}

/// Moves everything in `replicas` to the trash, as replicas of this run may have the same names.
fn discard(replicas: &Path, trash: &Trash) -> io::Result<()> {
    let entries = match fs::read_dir(replicas) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let mut failed = None;
    for entry in entries {
        let entry = entry?;
        if entry.file_name() != TRASH
            && let Err(error) = trash.take(&entry.path())
        {
            failed = Some(error);
        }
    }
    trash.sweep();
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;
