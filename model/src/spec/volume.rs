//! Volumes of the workload, and where the service sees them.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use warren_proto::v1;

use super::place::Place;
use crate::{error::Violations, name::Name};

/// A directory that the service may mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub name: Name,
    pub source: VolumeSource,
}

/// Where a volume comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// Created with the replica and removed with it.
    EmptyDir(EmptyDir),
    /// A directory that the worker offers under this name.
    Host(Name),
}

/// The most that a guest may put into an empty directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyDir {
    /// Bytes on the disk, in blocks of 4 KiB.
    pub size_limit: u64,
    /// Names of files, directories and links.
    pub inodes: u32,
}

/// One volume as a guest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeMount {
    pub name: Name,
    /// Absolute, without `.`, `..` and a slash at its end.
    pub mount_path: String,
    pub read_only: bool,
}

// === impl Volume ===

impl Volume {
    /// Reads every volume, each name once. A volume that is not mounted is accepted.
    pub(super) fn all_from_proto(
        v: &mut Violations,
        at: &Place,
        volumes: &[v1::Volume],
    ) -> Option<Vec<Self>> {
        at.count(v, "volumes", volumes.len());
        let mut first = HashMap::new();
        let parsed = volumes.iter().enumerate().map(|(i, given)| {
            let at = at.item("volumes", i);
            let volume = Self::from_proto(v, &at, given);
            match first.entry(given.name.as_str()) {
                Entry::Vacant(entry) => {
                    entry.insert(i);
                }
                Entry::Occupied(first) if !given.name.is_empty() => v.push(
                    at.field("name"),
                    format_args!(
                        "`{}` is the name of volumes[{}] already",
                        given.name,
                        first.get()
                    ),
                ),
                Entry::Occupied(_) => {}
            }
            volume
        });
        parsed.collect::<Vec<_>>().into_iter().collect()
    }

    fn from_proto(v: &mut Violations, at: &Place, volume: &v1::Volume) -> Option<Self> {
        let name = if volume.name.is_empty() {
            v.push(at.field("name"), "it is required: give the volume a name");
            None
        } else {
            v.ok(at.field("name"), Name::parse(&volume.name))
        };
        let source = match &volume.source {
            None => {
                v.push(
                    at.path(),
                    "it has no source: give it `emptyDir: {}`, or `host` with the name of a worker's --volume",
                );
                None
            }
            Some(v1::volume::Source::EmptyDir(limits)) => {
                let at = at.group("empty_dir");
                Some(VolumeSource::EmptyDir(EmptyDir {
                    size_limit: at.size(v, "size_limit_bytes", limits.size_limit_bytes),
                    inodes: at.number(v, "inodes", limits.inodes),
                }))
            }
            Some(v1::volume::Source::Host(host)) => v
                .ok(at.field("host"), Name::parse(host))
                .map(VolumeSource::Host),
        };
        Some(Self {
            name: name?,
            source: source?,
        })
    }

    pub(super) fn to_proto(&self) -> v1::Volume {
        let source = match &self.source {
            VolumeSource::EmptyDir(limits) => v1::volume::Source::EmptyDir(limits.to_proto()),
            VolumeSource::Host(host) => v1::volume::Source::Host(host.to_string()),
        };
        v1::Volume {
            name: self.name.to_string(),
            source: Some(source),
        }
    }
}

// === impl EmptyDir ===

impl EmptyDir {
    /// Without what is the default.
    fn to_proto(self) -> v1::EmptyDir {
        let schema = crate::schema::spec().group("volumes").group("empty_dir");
        let size_limit = schema.field("size_limit_bytes").default_amount();
        let inodes = schema.field("inodes").default_number();
        v1::EmptyDir {
            size_limit_bytes: (self.size_limit != size_limit).then_some(self.size_limit),
            inodes: (self.inodes != inodes).then_some(self.inodes),
        }
    }
}

// === impl VolumeMount ===

impl VolumeMount {
    /// Reads every mount of the service. Names are looked up among the workload's volumes, whether
    /// those are valid or not.
    pub(super) fn all_from_proto(
        v: &mut Violations,
        at: &Place,
        mounts: &[v1::VolumeMount],
        volumes: &[v1::Volume],
    ) -> Option<Vec<Self>> {
        let mut paths: HashMap<String, usize> = HashMap::new();
        let known: HashSet<_> = volumes.iter().map(|volume| volume.name.as_str()).collect();
        let parsed = mounts.iter().enumerate().map(|(i, mount)| {
            let at = at.item("volumes", i);
            let name = mounted(v, &at, &mount.name, &known);
            let path = mount_path(v, &at, &mount.mount_path);
            if let Some(path) = &path {
                match paths.entry(path.clone()) {
                    Entry::Vacant(entry) => {
                        entry.insert(i);
                    }
                    Entry::Occupied(first) => v.push(
                        at.field("mount_path"),
                        format_args!("`{path}` is the path of volumes[{}] already", first.get()),
                    ),
                }
            }
            Some(Self {
                name: name?,
                mount_path: path?,
                read_only: mount.read_only,
            })
        });
        parsed.collect::<Vec<_>>().into_iter().collect()
    }

    pub(super) fn to_proto(&self) -> v1::VolumeMount {
        v1::VolumeMount {
            name: self.name.to_string(),
            mount_path: self.mount_path.clone(),
            read_only: self.read_only,
        }
    }
}

fn mounted(v: &mut Violations, at: &Place, name: &str, known: &HashSet<&str>) -> Option<Name> {
    let field = at.field("name");
    if name.is_empty() {
        v.push(field, "it is required: name one of the workload's volumes");
        return None;
    }
    let parsed = v.ok(&field, Name::parse(name))?;
    if !known.contains(name) {
        let mut names: Vec<_> = known.iter().filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        let hint = if names.is_empty() {
            "it has none, list it under the workload's `volumes`".to_owned()
        } else {
            format!("they are {}", names.join(", "))
        };
        v.push(
            field,
            format_args!("`{name}` is not a volume of this workload: {hint}"),
        );
    }
    Some(parsed)
}

/// Slashes at the end make no difference.
fn mount_path(v: &mut Violations, at: &Place, path: &str) -> Option<String> {
    let field = at.field("mount_path");
    let trimmed = path.trim_end_matches('/');
    let segments = || trimmed.split('/').skip(1);
    let problem = if path.is_empty() {
        v.push(
            field,
            "it is required: say where the service sees the volume, such as /data",
        );
        return None;
    } else if !path.starts_with('/') {
        "it should be absolute and begin with '/'"
    } else if path.contains('\0') {
        "it cannot hold a NUL character"
    } else if segments().any(|segment| matches!(segment, "" | "." | "..")) {
        "it should have no empty, '.' or '..' segments"
    } else if trimmed.is_empty() {
        return Some("/".to_owned());
    } else {
        return Some(trimmed.to_owned());
    };
    v.push(
        field,
        format_args!("`{path}` is not a mount path: {problem}"),
    );
    None
}
