#![allow(clippy::unwrap_used)]

use std::{
    cell::Cell,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use super::*;

/// Nests this many directories below `path`, each with a file.
fn nest(path: &Path, depth: u32) {
    fs::create_dir(path).unwrap();
    let mut at = open(CWD, path).unwrap();
    for _ in 0..depth {
        let file = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&at, "file", file, Mode::RUSR).unwrap();
        rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = open(&at, c"d").unwrap();
    }
}

/// Of this process.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn any_depth_goes_with_few_descriptors_and_a_small_stack() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep");
    nest(&path, 5_000);
    let before = descriptors();
    let body = || {
        let (most, steps) = (Cell::new(0), Cell::new(0));
        let count = || {
            if steps.replace(steps.get() + 1) % 1000 == 0 {
                most.set(most.get().max(descriptors()));
            }
            true
        };
        remove_while(&path, &count).map(|()| most.get())
    };
    let most = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(128 << 10);
        thread.spawn_scoped(scope, body).unwrap().join().unwrap()
    });
    let most = most.unwrap();
    assert!(!path.exists());
    // Other tests of this process open some as well; depth would need thousands.
    assert!(most < before + 200, "{most} after {before}");
}

#[test]
fn links_go_and_what_they_point_to_stays() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("kept");
    fs::create_dir_all(kept.join("inner")).unwrap();
    fs::write(kept.join("file"), "text").unwrap();
    let path = dir.path().join("gone");
    fs::create_dir_all(path.join("a/b")).unwrap();
    for link in ["to-directory", "a/to-directory", "a/b/to-directory"] {
        symlink(&kept, path.join(link)).unwrap();
    }
    symlink("loop", path.join("a/loop")).unwrap();
    symlink("..", path.join("a/b/up")).unwrap();
    for number in 0..1_000 {
        fs::hard_link(kept.join("file"), path.join(format!("a/{number}"))).unwrap();
    }
    remove(&path).unwrap();
    assert!(!path.exists());
    assert!(kept.join("inner").is_dir());
    assert_eq!(fs::read_to_string(kept.join("file")).unwrap(), "text");

    // The same holds for the path itself.
    symlink(&kept, &path).unwrap();
    remove(&path).unwrap();
    assert!(fs::symlink_metadata(&path).is_err() && kept.join("inner").is_dir());
}

#[test]
fn names_that_look_like_our_own_and_long_ones_are_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gone");
    let long = "x".repeat(255);
    for name in ["0", "1", "2", long.as_str()] {
        fs::create_dir_all(path.join(name).join("0/1/2").join(&long)).unwrap();
        fs::write(path.join(name).join("0/a"), "").unwrap();
    }
    fs::write(path.join("3"), "").unwrap();
    remove(&path).unwrap();
    assert!(!path.exists());
}

#[test]
fn directories_without_permission_go_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gone");
    fs::create_dir_all(path.join("a/b/c")).unwrap();
    for closed in ["a/b", "a"] {
        fs::set_permissions(path.join(closed), fs::Permissions::from_mode(0o000)).unwrap();
    }
    remove(&path).unwrap();
    assert!(!path.exists());
}

#[test]
fn it_stops_when_told_and_goes_on_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep");
    nest(&path, 500);
    let steps = Cell::new(0);
    let few = || {
        steps.set(steps.get() + 1);
        steps.get() < 100
    };
    let stopped = remove_while(&path, &few).unwrap_err();
    assert_eq!(stopped.kind(), io::ErrorKind::Interrupted);
    assert!(path.exists());
    remove(&path).unwrap();
    assert!(!path.exists());
    let missing = remove(&path).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}
