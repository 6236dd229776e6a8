//! The memory limit of the control group that this process runs in, versions 1 and 2.

use std::{
    fs,
    path::{Path, PathBuf},
};

const VERSION_2: Mount = Mount {
    at: "/sys/fs/cgroup",
    limit: "memory.max",
};
const VERSION_1: Mount = Mount {
    at: "/sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
};

/// The conventional mount point of a hierarchy, and the file of a group that holds its limit.
struct Mount {
    at: &'static str,
    limit: &'static str,
}

/// Returns the smallest limit, in bytes, of the process's own group and all groups that contain it,
/// or `None` if there is none.
///
/// The root of each hierarchy is read as well: in a container that shares the host's cgroup
/// namespace, the path of the group is the host's, while its files are mounted at the root.
pub fn memory_limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&own);
    let limits = limits
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    limits.filter_map(|text| parse_limit(&text)).min()
}

/// Returns the files that may hold a limit. `own` is the content of `/proc/self/cgroup`, whose
/// lines have the form `ID:CONTROLLERS:PATH`, without controllers for version 2.
fn limit_files(own: &str) -> Vec<PathBuf> {
    let mut files = vec![VERSION_2.file("/"), VERSION_1.file("/")];
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let mount = match controllers {
            "" => VERSION_2,
            _ if controllers.split(',').any(|one| one == "memory") => VERSION_1,
            _ => continue,
        };
        let groups = Path::new(path).ancestors();
        let below_root = groups.filter(|group| group.parent().is_some());
        files.extend(below_root.map(|group| mount.file(group)));
    }
    files
}

/// Parses a limit. `max` means that there is none.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

// === impl Mount ===

impl Mount {
    fn file(&self, group: impl AsRef<Path>) -> PathBuf {
        let group = group.as_ref();
        let group = group.strip_prefix("/").unwrap_or(group);
        Path::new(self.at).join(group).join(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(own: &str) -> Vec<String> {
        let files = limit_files(own);
        files
            .iter()
            .map(|file| file.display().to_string())
            .collect()
    }

    const ROOTS: [&str; 2] = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];

    #[test]
    fn limits_are_numbers_or_max() {
        assert_eq!(parse_limit("1073741824\n"), Some(1 << 30));
        assert_eq!(parse_limit("max\n"), None);
    }

    #[test]
    fn a_unit_of_systemd_is_bounded_by_its_slice_too() {
        let own = "0::/system.slice/warren.service\n";
        let expected = [
            ROOTS[0],
            ROOTS[1],
            "/sys/fs/cgroup/system.slice/warren.service/memory.max",
            "/sys/fs/cgroup/system.slice/memory.max",
        ];
        assert_eq!(files(own), expected);
    }

    #[test]
    fn version_1_uses_the_memory_controller() {
        let own = "5:devices:/a\n4:cpu,memory:/b/c\n1:name=systemd:/d\n0::/\n";
        let expected = [
            ROOTS[0],
            ROOTS[1],
            "/sys/fs/cgroup/memory/b/c/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/b/memory.limit_in_bytes",
        ];
        assert_eq!(files(own), expected);
    }

    #[test]
    fn without_groups_only_the_roots_are_read() {
        assert_eq!(files(""), ROOTS);
        assert_eq!(files("nonsense\n0::\n"), ROOTS);
    }
}
