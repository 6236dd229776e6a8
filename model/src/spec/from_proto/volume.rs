//! Volumes of the workload, and where the service sees them.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    ops::RangeInclusive,
};

use warren_proto::v1;

use super::checks::within;
use crate::{
    error::Violations,
    name::Name,
    quantity::format_bytes,
    spec::{EmptyDir, Volume, VolumeMount, VolumeSource, defaults},
};

const MAX_VOLUMES: usize = 16;
/// Of an empty directory, in bytes: from one block.
const SIZE_LIMIT: RangeInclusive<u64> = 4 << 10..=16 << 40;
const INODES: RangeInclusive<u32> = 1..=10_000_000;

/// Every volume, each name once. That nobody mounts one is no problem.
pub(super) fn volumes(v: &mut Violations, volumes: &[v1::Volume]) -> Option<Vec<Volume>> {
    if volumes.len() > MAX_VOLUMES {
        let count = volumes.len();
        v.push(
            "spec.volumes",
            format_args!("{count} are more than {MAX_VOLUMES}"),
        );
    }
    let mut first = HashMap::new();
    let parsed = volumes.iter().enumerate().map(|(i, given)| {
        let at = format!("spec.volumes[{i}]");
        let volume = volume(v, &at, given);
        match first.entry(given.name.as_str()) {
            Entry::Vacant(entry) => {
                entry.insert(i);
            }
            Entry::Occupied(first) if !given.name.is_empty() => v.push(
                format!("{at}.name"),
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

/// Every mount of the service. Names are looked up among the workload's volumes, right or wrong themselves.
pub(super) fn mounts(
    v: &mut Violations,
    at: &str,
    mounts: &[v1::VolumeMount],
    volumes: &[v1::Volume],
) -> Option<Vec<VolumeMount>> {
    let mut paths: HashMap<String, usize> = HashMap::new();
    let known: HashSet<_> = volumes.iter().map(|volume| volume.name.as_str()).collect();
    let parsed = mounts.iter().enumerate().map(|(i, mount)| {
        let at = format!("{at}[{i}]");
        let name = mounted(v, &at, &mount.name, &known);
        let path = mount_path(v, &at, &mount.mount_path);
        if let Some(path) = &path {
            match paths.entry(path.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(i);
                }
                Entry::Occupied(first) => v.push(
                    format!("{at}.mount_path"),
                    format_args!("`{path}` is the path of volumes[{}] already", first.get()),
                ),
            }
        }
        Some(VolumeMount {
            name: name?,
            mount_path: path?,
            read_only: mount.read_only,
        })
    });
    parsed.collect::<Vec<_>>().into_iter().collect()
}

fn volume(v: &mut Violations, at: &str, volume: &v1::Volume) -> Option<Volume> {
    let name = if volume.name.is_empty() {
        v.push(
            format!("{at}.name"),
            "it is required: give the volume a name",
        );
        None
    } else {
        v.ok(format!("{at}.name"), Name::parse(&volume.name))
    };
    let source = match &volume.source {
        None => {
            v.push(
                at,
                "it has no source: give it `emptyDir: {}`, or `host` with the name of a worker's --volume",
            );
            None
        }
        Some(v1::volume::Source::EmptyDir(limits)) => {
            Some(VolumeSource::EmptyDir(empty_dir(v, at, limits)))
        }
        Some(v1::volume::Source::Host(host)) => v
            .ok(format!("{at}.host"), Name::parse(host))
            .map(VolumeSource::Host),
    };
    Some(Volume {
        name: name?,
        source: source?,
    })
}

fn empty_dir(v: &mut Violations, at: &str, limits: &v1::EmptyDir) -> EmptyDir {
    let at = format!("{at}.empty_dir");
    let size_limit = limits.size_limit_bytes.unwrap_or(defaults::SIZE_LIMIT);
    let inodes = limits.inodes.unwrap_or(defaults::INODES);
    EmptyDir {
        size_limit: within(
            v,
            format!("{at}.size_limit_bytes"),
            size_limit,
            &SIZE_LIMIT,
            |n| format_bytes(*n),
        ),
        inodes: within(v, format!("{at}.inodes"), inodes, &INODES, u32::to_string),
    }
}

fn mounted(v: &mut Violations, at: &str, name: &str, known: &HashSet<&str>) -> Option<Name> {
    let field = format!("{at}.name");
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
fn mount_path(v: &mut Violations, at: &str, path: &str) -> Option<String> {
    let field = format!("{at}.mount_path");
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
