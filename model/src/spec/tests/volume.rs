//! Volumes and mounts.

use super::*;

fn empty_dir(name: &str) -> v1::Volume {
    v1::Volume {
        name: name.into(),
        source: Some(v1::volume::Source::EmptyDir(v1::EmptyDir::default())),
    }
}

fn host(name: &str, host: &str) -> v1::Volume {
    v1::Volume {
        name: name.into(),
        source: Some(v1::volume::Source::Host(host.into())),
    }
}

fn mount(name: &str, mount_path: &str) -> v1::VolumeMount {
    v1::VolumeMount {
        name: name.into(),
        mount_path: mount_path.into(),
        read_only: false,
    }
}

fn mounted(
    volumes: Vec<v1::Volume>,
    mounts: Vec<v1::VolumeMount>,
) -> impl FnOnce(&mut v1::WorkloadSpec) {
    move |spec| {
        spec.volumes = volumes;
        spec.service.as_mut().unwrap().volumes = mounts;
    }
}

#[test]
fn volumes_are_mounted_where_asked() {
    let mut spec = spec();
    let mounts = vec![
        mount("data", "/data//"),
        mount("data", "/"),
        mount("nfs", "/a/.b"),
    ];
    // Nobody mounts the third, and that is no mistake.
    mounted(
        vec![empty_dir("data"), host("nfs", "shared"), empty_dir("spare")],
        mounts,
    )(&mut spec);
    let spec = WorkloadSpec::from_proto(&spec).unwrap();
    let paths: Vec<_> = spec.service.as_ref().unwrap().volumes.iter().collect();
    let paths: Vec<_> = paths
        .iter()
        .map(|m| (m.name.as_str(), m.mount_path.as_str()))
        .collect();
    assert_eq!(paths, [("data", "/data"), ("data", "/"), ("nfs", "/a/.b")]);
    assert_eq!(
        spec.volumes[1].source,
        VolumeSource::Host(Name::parse("shared").unwrap())
    );
}

#[test]
fn refuses_volumes_without_name_or_source() {
    let volumes = |all: Vec<v1::Volume>| mounted(all, vec![]);
    refused(
        "spec.volumes[0].name",
        "give the volume a name",
        volumes(vec![empty_dir("")]),
    );
    refused(
        "spec.volumes[0].name",
        "`A_b`",
        volumes(vec![empty_dir("A_b")]),
    );
    refused(
        "spec.volumes[0].host",
        "`../etc`",
        volumes(vec![host("data", "../etc")]),
    );
    refused(
        "spec.volumes[0]",
        "it has no source: give it `emptyDir: {}`",
        volumes(vec![v1::Volume {
            name: "data".into(),
            source: None,
        }]),
    );
    refused(
        "spec.volumes[1].name",
        "`data` is the name of volumes[0] already",
        volumes(vec![empty_dir("data"), host("data", "x")]),
    );
    let many = (0..17).map(|i| empty_dir(&format!("v{i}")));
    refused(
        "spec.volumes",
        "17 are more than 16",
        volumes(many.collect()),
    );
}

fn limited(size_limit_bytes: Option<u64>, inodes: Option<u32>) -> Vec<v1::Volume> {
    let limits = v1::EmptyDir {
        size_limit_bytes,
        inodes,
    };
    vec![v1::Volume {
        name: "data".into(),
        source: Some(v1::volume::Source::EmptyDir(limits)),
    }]
}

#[test]
fn an_empty_directory_has_limits_whether_they_are_given_or_not() {
    let limits = |volumes: Vec<v1::Volume>| {
        let mut spec = spec();
        mounted(volumes, vec![])(&mut spec);
        let spec = WorkloadSpec::from_proto(&spec).unwrap();
        let VolumeSource::EmptyDir(limits) = spec.volumes[0].source else {
            panic!("{:?}", spec.volumes);
        };
        let printed = spec.to_proto().volumes.remove(0).source;
        (limits.size_limit, limits.inodes, printed)
    };
    let source = |volumes: Vec<v1::Volume>| volumes[0].source.clone();
    let absent = source(limited(None, None));
    assert_eq!(
        limits(limited(None, None)),
        (1 << 30, 100_000, absent.clone())
    );
    // Written out, they are the same spec: a server that knows no limits has nothing to change.
    assert_eq!(
        limits(limited(Some(1 << 30), Some(100_000))),
        (1 << 30, 100_000, absent)
    );
    let given = limited(Some(4096), Some(1));
    assert_eq!(limits(given.clone()), (4096, 1, source(given)));

    for bytes in [0, 4095, (16 << 40) + 1] {
        refused(
            "spec.volumes[0].empty_dir.size_limit_bytes",
            "is out of bounds: use 4KiB to 16TiB",
            mounted(limited(Some(bytes), None), vec![]),
        );
    }
    for inodes in [0, 10_000_001] {
        refused(
            "spec.volumes[0].empty_dir.inodes",
            "is out of bounds: use 1 to 10000000",
            mounted(limited(None, Some(inodes)), vec![]),
        );
    }
}

#[test]
fn refuses_mounts_of_nothing_and_nowhere() {
    let mounts =
        |all: Vec<v1::VolumeMount>| mounted(vec![empty_dir("data"), empty_dir("cache")], all);
    refused(
        "spec.service.volumes[0].name",
        "`date` is not a volume of this workload: they are `cache`, `data`",
        mounts(vec![mount("date", "/data")]),
    );
    refused(
        "spec.service.volumes[0].name",
        "it has none, list it under the workload's `volumes`",
        mounted(vec![], vec![mount("data", "/data")]),
    );
    refused(
        "spec.service.volumes[0].name",
        "it is required",
        mounts(vec![mount("", "/data")]),
    );
    for (path, problem) in [
        ("", "it is required"),
        ("data", "begin with '/'"),
        ("./data", "begin with '/'"),
        ("/data/../etc", "'..' segments"),
        ("/./data", "'.' or"),
        ("//data", "no empty"),
        ("/a\0b", "NUL"),
    ] {
        refused(
            "spec.service.volumes[0].mount_path",
            problem,
            mounts(vec![mount("data", path)]),
        );
    }
    refused(
        "spec.service.volumes[1].mount_path",
        "`/data` is the path of volumes[0] already",
        mounts(vec![mount("data", "/data"), mount("cache", "/data/")]),
    );
}
