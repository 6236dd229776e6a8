#![allow(clippy::unwrap_used)]

use super::*;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + 1000 * KEPT
}

/// Returns a file that was last used this many hours ago.
fn file(name: &str, bytes: u64, hours: u32) -> Cached {
    Cached {
        path: name.into(),
        bytes,
        used: now() - KEPT * hours,
        in_use: false,
    }
}

fn removed(files: &[Cached], limit: u64) -> Vec<String> {
    let removed = expendable(files.to_vec(), limit, now());
    let names = removed.iter().map(|path| path.display().to_string());
    names.collect()
}

#[test]
fn the_least_recently_used_files_are_removed_until_the_rest_is_within_the_limit() {
    let files = [
        file("b", 10, 3),
        file("c", 10, 2),
        file("a", 10, 4),
        file("d", 10, 2),
    ];
    assert_eq!(removed(&files, 40), [""; 0]);
    assert_eq!(removed(&files, 39), ["a"]);
    assert_eq!(removed(&files, 30), ["a"]);
    assert_eq!(removed(&files, 11), ["a", "b", "c"]);
    assert_eq!(removed(&files, 0), ["a", "b", "c", "d"]);
}

#[test]
fn files_in_use_or_used_recently_are_kept_and_count() {
    let mut held = file("held", 100, 9);
    held.in_use = true;
    let mut later = file("later", 100, 0);
    later.used = now() + KEPT;
    let files = [held, later, file("hour", 100, 1), file("old", 1, 2)];
    assert_eq!(removed(&files, 0), ["old"]);
    assert_eq!(removed(&files, 300), ["old"]);
    assert_eq!(removed(&files, 301), [""; 0]);
}

#[test]
fn removed_files_are_returned_and_incomplete_ones_are_removed_too() {
    let dir = tempfile::tempdir().unwrap();
    let cache = DiskCache::new(dir.path().to_owned(), 0);
    let (held, old) = (Digest::of(b"held"), Digest::of(b"old"));
    let names = [
        format!("{}.wasm", held.hex()),
        format!("{}-0123.cwasm", old.hex()),
        ".tmpX".to_owned(),
        "of-today".to_owned(),
        KEY_FILE.to_owned(),
    ];
    let long_ago = SystemTime::now() - 2 * KEPT;
    for name in &names {
        let path = cache.path(name);
        fs::write(&path, "some bytes").unwrap();
        File::open(&path).unwrap().set_modified(long_ago).unwrap();
    }
    DiskCache::used(&cache.path("of-today")).unwrap();
    fs::create_dir(cache.path("directory")).unwrap();
    let mut removed = cache.collect(|digest| digest == held).unwrap();
    removed.sort();
    let mut expected = [cache.path(&names[1]), cache.path(".tmpX")];
    expected.sort();
    assert_eq!(removed, expected);
    assert_eq!(removed.iter().find_map(|path| digest(path)), Some(old));
    assert!(cache.path(&names[0]).exists() && cache.path("of-today").exists());
    assert!(cache.path(KEY_FILE).exists());
    assert!(cache.collect(|_| false).unwrap() == [cache.path(&names[0])]);
}
