#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use super::*;

fn offer(name: &str, path: &Path) -> HostVolume {
    HostVolume {
        name: Name::parse(name).unwrap(),
        path: path.to_owned(),
        read_only: false,
    }
}

/// Returns a service that mounts `(volume, path, read_only)`. A volume `host-NAME` is the worker's
/// volume NAME; the others are empty directories.
fn spec(mounts: &[(&str, &str, bool)]) -> WorkloadSpec {
    let volume = |(name, ..): &(&str, &str, bool)| v1::Volume {
        name: (*name).into(),
        source: Some(match name.strip_prefix("host-") {
            Some(host) => v1::volume::Source::Host(host.into()),
            None => v1::volume::Source::EmptyDir(v1::EmptyDir::default()),
        }),
    };
    let mount = |(name, path, read_only): &(&str, &str, bool)| v1::VolumeMount {
        name: (*name).into(),
        mount_path: (*path).into(),
        read_only: *read_only,
    };
    let mut volumes: Vec<_> = mounts.iter().map(volume).collect();
    volumes.dedup();
    let spec = v1::WorkloadSpec {
        service: Some(v1::Service {
            component: format!("sha256:{}", "0".repeat(64)),
            volumes: mounts.iter().map(mount).collect(),
            ..v1::Service::default()
        }),
        volumes,
        ..v1::WorkloadSpec::default()
    };
    WorkloadSpec::from_proto(&spec).unwrap()
}

#[test]
fn offered_volumes_must_exist_and_have_distinct_names() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let open = |offered| Volumes::open(dir.path(), offered).map(|volumes| volumes.offered());
    let message = |offered| open(offered).unwrap_err().to_string();
    let twice = vec![offer("a", dir.path()), offer("a", dir.path())];
    assert_eq!(message(twice), "volume `a` is given twice");
    assert!(message(vec![offer("a", &file)]).ends_with("file is not a directory"));
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
fn an_empty_directory_belongs_to_the_replica_and_is_removed_with_it() {
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

    // As a worker that was killed leaves it behind.
    std::mem::forget(other);
    let volumes = Volumes::open(data.path(), Vec::new()).unwrap();
    is_removed(&data.path().join("volumes"), &volumes);
}

/// Waits until nothing is left in the directory.
fn is_removed(directory: &Path, _while_open: &Volumes) {
    let began = Instant::now();
    let left = || fs::read_dir(directory).map_or(0, Iterator::count);
    while left() > 0 {
        assert!(began.elapsed() < Duration::from_secs(120), "{}", left());
        std::thread::yield_now();
    }
}

/// Nests directories as deep as guests of an earlier version could.
fn nest(path: &Path, depth: u32) {
    fs::create_dir_all(path).unwrap();
    let (inner, outer) = (path.join("inner"), path.join("outer"));
    fs::create_dir(&inner).unwrap();
    for _ in 0..depth {
        fs::create_dir(&outer).unwrap();
        fs::rename(&inner, outer.join("inner")).unwrap();
        fs::rename(&outer, &inner).unwrap();
    }
}

#[test]
fn directories_that_guests_left_do_not_prevent_a_start() {
    let data = tempfile::tempdir().unwrap();
    let left = data.path().join("volumes");
    nest(&left.join("shop-a/scratch"), 5_000);
    nest(&left.join(".trash/half-removed"), 10);
    fs::write(left.join("odd"), "not a directory").unwrap();
    // The replica starts again with the same name and finds its directory empty.
    let volumes = Volumes::open(data.path(), Vec::new()).unwrap();
    let mounts = volumes
        .mount("shop-a", &spec(&[("scratch", "/tmp", false)]))
        .unwrap();
    let path = &mounts.list()[0].path;
    assert_eq!(fs::read_dir(path).unwrap().count(), 0);
    nest(path, 5_000);
    drop(mounts);
    is_removed(&left, &volumes);
}

#[test]
fn directories_that_cannot_be_removed_do_not_prevent_a_start() {
    let data = tempfile::tempdir().unwrap();
    let volumes = data.path().join("volumes");
    // A file in its place: no directory can be created in it, and it cannot be listed.
    fs::write(&volumes, "").unwrap();
    let opened = Volumes::open(data.path(), Vec::new()).unwrap();
    let refused = opened
        .mount("shop-a", &spec(&[("scratch", "/tmp", false)]))
        .unwrap_err();
    assert!(
        refused.to_string().contains("volume `scratch`"),
        "{refused}"
    );
}

#[test]
fn a_volume_that_is_mounted_twice_has_one_quota() {
    let data = tempfile::tempdir().unwrap();
    let volumes = Volumes::open(data.path(), Vec::new()).unwrap();
    let spec = spec(&[("a", "/a", false), ("a", "/b", true), ("b", "/c", false)]);
    let mounts = volumes.mount("shop-a", &spec).unwrap().list();
    let quota = |index: usize| Arc::as_ptr(mounts[index].quota().unwrap());
    assert_eq!(quota(0), quota(1));
    assert_ne!(quota(0), quota(2));
}

#[test]
fn host_directories_are_mounted_by_their_names() {
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
        "this worker does not offer a volume `none`"
    );
    drop(mounts);
    assert!(path.is_dir(), "a directory of the machine is not removed");
}
