//! Directories for services: those that the worker's machine offers by name, and empty ones that live with a replica.
//!
//! A guest sees nothing outside the directory that it is given: wasmtime-wasi opens every path below the directory's own
//! descriptor, and follows no link out of it.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use warren_model::{
    name::Name,
    spec::{VolumeMount, VolumeSource, WorkloadSpec},
};
use warren_proto::v1;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

/// A directory that workloads may mount by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostVolume {
    pub name: Name,
    pub path: PathBuf,
    /// Nobody may write to it.
    pub read_only: bool,
}

/// What a worker has for its replicas.
#[derive(Debug)]
pub struct Volumes {
    host: BTreeMap<Name, HostVolume>,
    /// A directory for each replica that has empty ones.
    replicas: PathBuf,
}

/// Directories of one replica, for all lives of its service. Dropping it removes those that live with the replica.
#[derive(Debug, Default)]
pub struct Mounts {
    mounts: Arc<[Mount]>,
    _empty: Option<EmptyDirs>,
}

/// A directory as a guest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    path: PathBuf,
    guest: String,
    read_only: bool,
}

/// Removed, with all that is in it, when it is dropped.
#[derive(Debug)]
struct EmptyDirs(PathBuf);

/// A volume cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("volume `{0}` is given twice")]
    Twice(Name),
    #[error("volume `{name}`: {} is no directory", path.display())]
    NoDirectory { name: Name, path: PathBuf },
    #[error("volume `{name}`: {}: {source}", path.display())]
    Unusable {
        name: Name,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot keep volumes in {}: {source}", path.display())]
    Data { path: PathBuf, source: io::Error },
    #[error("this worker offers no volume `{0}`")]
    NotOffered(Name),
    #[error("this worker offers volume `{0}` for reading only")]
    ReadOnly(Name),
}

// === impl Volumes ===

impl Volumes {
    /// `data` is the worker's own directory: what replicas of an earlier run left there is removed.
    pub fn open(data: &Path, offered: Vec<HostVolume>) -> Result<Self, VolumeError> {
        let mut host = BTreeMap::new();
        for mut volume in offered {
            let unusable = |source| VolumeError::Unusable {
                name: volume.name.clone(),
                path: volume.path.clone(),
                source,
            };
            // What a relative path means must not change later.
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
        let removed = match fs::remove_dir_all(&replicas) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        removed.map_err(|source| VolumeError::Data {
            path: replicas.clone(),
            source,
        })?;
        Ok(Self { host, replicas })
    }

    /// As the control plane is told.
    pub fn offered(&self) -> Vec<v1::HostVolume> {
        let offered = self.host.values().map(|volume| v1::HostVolume {
            name: volume.name.to_string(),
            read_only: volume.read_only,
        });
        offered.collect()
    }

    /// Makes the empty directories of a replica and finds the others.
    pub fn mount(&self, replica: &str, spec: &WorkloadSpec) -> Result<Mounts, VolumeError> {
        let Some(service) = &spec.service else {
            return Ok(Mounts::default());
        };
        let own = self.replicas.join(replica);
        let mut empty = None;
        let mut mounts = Vec::new();
        for mount in &service.volumes {
            // Apply refuses a mount of what is no volume.
            let volume = spec.volumes.iter().find(|volume| volume.name == mount.name);
            let Some(volume) = volume else { continue };
            mounts.push(match &volume.source {
                VolumeSource::Host(name) => self.host_mount(name, mount)?,
                VolumeSource::EmptyDir => {
                    let path = own.join(volume.name.as_str());
                    let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
                    empty.get_or_insert_with(|| EmptyDirs(own.clone()));
                    made.map_err(|source| VolumeError::Unusable {
                        name: volume.name.clone(),
                        path: path.clone(),
                        source,
                    })?;
                    Mount::new(path, mount, false)
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
        Ok(Mount::new(volume.path.clone(), mount, volume.read_only))
    }
}

// === impl Mounts ===

impl Mounts {
    /// What each life of the service is given.
    pub fn list(&self) -> Arc<[Mount]> {
        Arc::clone(&self.mounts)
    }
}

// === impl Mount ===

impl Mount {
    fn new(path: PathBuf, mount: &VolumeMount, read_only: bool) -> Self {
        Self {
            path,
            guest: mount.mount_path.clone(),
            read_only: read_only || mount.read_only,
        }
    }

    #[cfg(test)]
    pub(crate) fn of(path: &Path, guest: &str) -> Self {
        Self {
            path: path.to_owned(),
            guest: guest.to_owned(),
            read_only: false,
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
        let path = std::mem::take(&mut self.0);
        // A guest may have left a great many files.
        let remove = move || {
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(path = %path.display(), %error, "a replica's volumes are not removed");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn offer(name: &str, path: &Path) -> HostVolume {
        HostVolume {
            name: Name::parse(name).unwrap(),
            path: path.to_owned(),
            read_only: false,
        }
    }

    /// A service that mounts `(volume, path, read_only)`; a volume `host-NAME` is the worker's NAME, others are empty.
    fn spec(mounts: &[(&str, &str, bool)]) -> WorkloadSpec {
        let volume = |(name, ..): &(&str, &str, bool)| v1::Volume {
            name: (*name).into(),
            source: Some(match name.strip_prefix("host-") {
                Some(host) => v1::volume::Source::Host(host.into()),
                None => v1::volume::Source::EmptyDir(v1::EmptyDir {}),
            }),
        };
        let mount = |(name, path, read_only): &(&str, &str, bool)| v1::VolumeMount {
            name: (*name).into(),
            mount_path: (*path).into(),
            read_only: *read_only,
        };
        let spec = v1::WorkloadSpec {
            service: Some(v1::Service {
                component: format!("sha256:{}", "0".repeat(64)),
                volumes: mounts.iter().map(mount).collect(),
                ..v1::Service::default()
            }),
            volumes: mounts.iter().map(volume).collect(),
            ..v1::WorkloadSpec::default()
        };
        WorkloadSpec::from_proto(&spec).unwrap()
    }

    #[test]
    fn what_is_offered_is_there_and_named_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let open = |offered| Volumes::open(dir.path(), offered).map(|volumes| volumes.offered());
        let message = |offered| open(offered).unwrap_err().to_string();
        let twice = vec![offer("a", dir.path()), offer("a", dir.path())];
        assert_eq!(message(twice), "volume `a` is given twice");
        assert!(message(vec![offer("a", &file)]).ends_with("file is no directory"));
        let missing = message(vec![offer("a", &dir.path().join("none"))]);
        assert!(missing.contains("none: No such file"), "{missing}");
        let offered = open(vec![HostVolume {
            read_only: true,
            ..offer("a", dir.path())
        }]);
        let expected = v1::HostVolume {
            name: "a".into(),
            read_only: true,
        };
        assert_eq!(offered.unwrap(), [expected]);
    }

    #[test]
    fn an_empty_directory_is_the_replicas_own_and_goes_with_it() {
        let data = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(data.path(), Vec::new()).unwrap();
        let spec = spec(&[("scratch", "/tmp", false), ("cache", "/cache", true)]);
        let one = volumes.mount("shop-a", &spec).unwrap();
        let other = volumes.mount("shop-b", &spec).unwrap();
        let paths: Vec<_> = one.list().iter().chain(&*other.list()).cloned().collect();
        assert!(paths.iter().all(|mount| mount.path.is_dir()), "{paths:?}");
        assert_eq!(paths[0].guest, "/tmp");
        assert!(paths[1].read_only && !paths[0].read_only);
        assert_ne!(paths[0].path, paths[2].path);
        fs::write(paths[0].path.join("file"), "text").unwrap();
        drop(one);
        assert!(!data.path().join("volumes/shop-a").exists());
        assert!(data.path().join("volumes/shop-b/scratch").exists());

        // What a worker that was killed left behind.
        std::mem::forget(other);
        Volumes::open(data.path(), Vec::new()).unwrap();
        assert!(!data.path().join("volumes").exists());
    }

    #[test]
    fn host_directories_are_those_of_their_name() {
        let (data, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let read_only = HostVolume {
            read_only: true,
            ..offer("certs", shared.path())
        };
        let offered = vec![offer("data", shared.path()), read_only];
        let volumes = Volumes::open(data.path(), offered).unwrap();
        let mount = |of: &str, read_only| volumes.mount("r", &spec(&[(of, "/data", read_only)]));
        let mounts = mount("host-data", false).unwrap();
        let path = shared.path().canonicalize().unwrap();
        assert_eq!(
            (&mounts.list()[0].path, mounts.list()[0].read_only),
            (&path, false)
        );
        assert!(mount("host-certs", true).unwrap().list()[0].read_only);
        let refused = |of, read_only| mount(of, read_only).unwrap_err().to_string();
        assert_eq!(
            refused("host-certs", false),
            "this worker offers volume `certs` for reading only"
        );
        assert_eq!(
            refused("host-none", true),
            "this worker offers no volume `none`"
        );
        drop(mounts);
        assert!(path.is_dir(), "what the machine has stays");
    }
}
