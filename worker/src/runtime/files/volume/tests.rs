#![allow(clippy::unwrap_used)]

use std::{
    fs, future,
    os::unix::fs::{MetadataExt as _, symlink as host_symlink},
    path::{Path, PathBuf},
};

use warren_model::spec::EmptyDir;
use wasmtime_wasi::{FsPerms, OpenMode};

use super::*;

/// An empty directory, and the calls that a guest makes on it.
struct Volume {
    dir: tempfile::TempDir,
    quota: Arc<Quota>,
    handle: Dir,
}

impl Volume {
    fn new(size_limit: u64, inodes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = OsFile::open(dir.path()).unwrap();
        let metadata = file.metadata().unwrap();
        let limits = EmptyDir { size_limit, inodes };
        Self {
            quota: Arc::new(Quota::new(limits, (metadata.dev(), metadata.ino()))),
            handle: Dir::new(
                file,
                FsPerms::ReadWrite,
                OpenMode::READ | OpenMode::WRITE,
                false,
            ),
            dir,
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn at(&self, path: &str) -> (Dir, String) {
        (self.handle.clone(), path.to_owned())
    }

    async fn open(&self, path: &str, flags: OpenFlags) -> Result<(Arc<OsFile>, Place), ErrorCode> {
        let (dir, path) = self.at(path);
        let follow = PathFlags::SYMLINK_FOLLOW;
        let rights = DescriptorFlags::READ | DescriptorFlags::WRITE;
        let opened = open(Arc::clone(&self.quota), dir, follow, path, flags, rights);
        let (opened, place) = code(opened.await)?;
        let Descriptor::File(file) = opened else {
            panic!("it is a directory");
        };
        Ok((file.file, place))
    }

    async fn create(&self, path: &str) -> Result<(Arc<OsFile>, Place), ErrorCode> {
        self.open(path, OpenFlags::CREATE).await
    }

    async fn mkdir(&self, path: &str) -> Result<(), ErrorCode> {
        let (dir, path) = self.at(path);
        code(create_directory(Arc::clone(&self.quota), dir, path).await)
    }

    async fn rmdir(&self, path: &str) -> Result<(), ErrorCode> {
        let (dir, path) = self.at(path);
        code(remove_directory(Arc::clone(&self.quota), dir, path).await)
    }

    async fn unlink(&self, path: &str) -> Result<(), ErrorCode> {
        let (dir, path) = self.at(path);
        code(unlink(Arc::clone(&self.quota), dir, path).await)
    }

    async fn symlink(&self, target: &str, path: &str) -> Result<(), ErrorCode> {
        let (dir, path) = self.at(path);
        code(symlink(Arc::clone(&self.quota), dir, target.to_owned(), path).await)
    }

    async fn link(&self, old: &str, new: &str) -> Result<(), ErrorCode> {
        let (old, new) = (self.at(old), self.at(new));
        let flags = PathFlags::empty();
        code(link(Arc::clone(&self.quota), flags, old, new).await)
    }

    async fn rename(&self, old: &str, new: &str) -> Result<(), ErrorCode> {
        let (old, new) = (self.at(old), self.at(new));
        code(rename(Arc::clone(&self.quota), old, new).await)
    }

    /// Returns the bytes and names that count, after checking them against the disk. `nameless`
    /// bytes count without a name.
    async fn counts(&self, nameless: u64) -> (u64, u32) {
        let used = self.quota.turn().await;
        let counted = used.counted();
        let (bytes, names) = on_disk(self.dir.path());
        assert_eq!(counted, (bytes + nameless, names), "what is there");
        counted
    }
}

/// Returns the bytes and names that a walk finds. It counts each file once.
fn on_disk(path: &Path) -> (u64, u32) {
    let (mut bytes, mut names, mut seen) = (0, 0, std::collections::HashSet::new());
    let mut left = vec![path.to_owned()];
    while let Some(path) = left.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            names += 1;
            if !seen.insert(metadata.ino()) {
                continue;
            }
            bytes += match metadata.is_file() {
                true => blocks(metadata.len()),
                false => BLOCK,
            };
            if metadata.is_dir() {
                left.push(path);
            }
        }
    }
    (bytes, names)
}

fn code<T>(result: FsResult<T>) -> Result<T, ErrorCode> {
    result.map_err(|error| error.downcast().unwrap())
}

async fn put_at(
    file: &(Arc<OsFile>, Place),
    bytes: usize,
    offset: Option<u64>,
) -> io::Result<usize> {
    let (file, place) = (Arc::clone(&file.0), file.1.clone());
    write(Some(place), file, vec![1; bytes], offset).await
}

async fn resize(file: &(Arc<OsFile>, Place), size: u64) -> io::Result<()> {
    set_size(file.1.clone(), Arc::clone(&file.0), size).await
}

fn is_full<T: std::fmt::Debug>(result: io::Result<T>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    assert_eq!(ErrorCode::from(error), ErrorCode::InsufficientSpace);
}

#[tokio::test]
async fn writes_stop_at_the_limit_and_continue_when_there_is_room() {
    let volume = Volume::new(4 * BLOCK, 10);
    let file = volume.create("file").await.unwrap();
    assert_eq!(put_at(&file, 10, None).await.unwrap(), 10);
    assert_eq!(put_at(&file, 10, None).await.unwrap(), 10);
    assert_eq!(volume.counts(0).await, (BLOCK, 1));
    // The first write takes as much as fits, the next fails.
    let fits = usize::try_from(4 * BLOCK - 20).unwrap();
    assert_eq!(put_at(&file, 100_000, Some(20)).await.unwrap(), fits);
    is_full(put_at(&file, 1, None).await);
    is_full(put_at(&file, 1, Some(1 << 50)).await);
    // Existing bytes can be overwritten.
    assert_eq!(put_at(&file, 100, Some(0)).await.unwrap(), 100);
    let other = volume.create("other").await.unwrap();
    is_full(put_at(&other, 1, Some(0)).await);
    assert_eq!(volume.mkdir("dir").await, Err(ErrorCode::InsufficientSpace));
    assert_eq!(
        volume.symlink("x", "link").await,
        Err(ErrorCode::InsufficientSpace)
    );
    resize(&file, 3 * BLOCK).await.unwrap();
    volume.mkdir("dir").await.unwrap();
    is_full(put_at(&other, 1, Some(0)).await);
    volume.rmdir("dir").await.unwrap();
    assert_eq!(put_at(&other, 1, Some(0)).await.unwrap(), 1);
    assert_eq!(volume.counts(0).await, (4 * BLOCK, 2));
}

#[tokio::test]
async fn holes_count_as_what_they_may_become() {
    let volume = Volume::new(4 * BLOCK, 10);
    let file = volume.create("file").await.unwrap();
    is_full(resize(&file, 4 * BLOCK + 1).await);
    is_full(resize(&file, u64::MAX).await);
    resize(&file, 4 * BLOCK).await.unwrap();
    assert_eq!(volume.counts(0).await, (4 * BLOCK, 1));
    resize(&file, 0).await.unwrap();
    assert_eq!(put_at(&file, 1, Some(2 * BLOCK)).await.unwrap(), 1);
    assert_eq!(volume.counts(0).await, (3 * BLOCK, 1));
    volume.open("file", OpenFlags::TRUNCATE).await.unwrap();
    assert_eq!(volume.counts(0).await, (0, 1));
}

#[tokio::test]
async fn every_name_counts() {
    let volume = Volume::new(1 << 30, 4);
    drop(volume.create("file").await.unwrap());
    volume.mkdir("dir").await.unwrap();
    volume.symlink("dir/new", "link").await.unwrap();
    volume.link("file", "dir/hard").await.unwrap();
    assert_eq!(volume.counts(0).await, (2 * BLOCK, 4));
    let over = Err(ErrorCode::Quota);
    assert_eq!(volume.create("more").await.map(drop), over);
    assert_eq!(volume.create("link").await.map(drop), over, "by a link");
    assert_eq!(volume.mkdir("more").await, over);
    assert_eq!(volume.symlink("x", "more").await, over);
    assert_eq!(volume.link("file", "more").await, over);
    // Existing files can be opened and moved.
    drop(volume.create("file").await.unwrap());
    volume.rename("file", "moved").await.unwrap();
    volume.rename("moved", "dir/hard").await.unwrap();
    assert_eq!(
        volume.counts(0).await,
        (2 * BLOCK, 4),
        "two names of one file"
    );
    volume.unlink("moved").await.unwrap();
    drop(volume.create("link").await.unwrap());
    assert!(volume.path("dir/new").exists());
    volume.rename("dir/new", "dir/hard").await.unwrap();
    assert_eq!(volume.counts(0).await, (2 * BLOCK, 3));
}

#[tokio::test]
async fn what_fails_counts_nothing() {
    let volume = Volume::new(1 << 30, 10);
    volume.mkdir("dir").await.unwrap();
    drop(volume.create("dir/file").await.unwrap());
    let exclusive = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
    for (result, expected) in [
        (volume.mkdir("dir").await, ErrorCode::Exist),
        (volume.mkdir("none/dir").await, ErrorCode::NoEntry),
        (volume.mkdir("/dir").await, ErrorCode::NotPermitted),
        (volume.mkdir("../dir").await, ErrorCode::NotPermitted),
        (volume.rmdir("dir").await, ErrorCode::NotEmpty),
        (volume.unlink("none").await, ErrorCode::NoEntry),
        (volume.unlink("dir").await, ErrorCode::IsDirectory),
        (volume.symlink("x", "dir").await, ErrorCode::Exist),
        (volume.link("none", "new").await, ErrorCode::NoEntry),
        (volume.rename("none", "new").await, ErrorCode::NoEntry),
        (
            volume.rename("dir", "dir/file/x").await,
            ErrorCode::NotDirectory,
        ),
        (
            volume.open("dir/file", exclusive).await.map(drop),
            ErrorCode::Exist,
        ),
    ] {
        assert_eq!(result, Err(expected));
    }
    assert_eq!(volume.counts(0).await, (BLOCK, 2));
}

#[tokio::test]
async fn a_file_without_a_name_counts_until_it_is_closed() {
    let volume = Volume::new(2 * BLOCK, 10);
    let file = volume.create("file").await.unwrap();
    put_at(&file, 1, None).await.unwrap();
    volume.unlink("file").await.unwrap();
    put_at(&file, 1, Some(BLOCK)).await.unwrap();
    assert_eq!(volume.counts(2 * BLOCK).await, (2 * BLOCK, 0));
    let next = volume.create("next").await.unwrap();
    is_full(put_at(&next, 1, None).await);
    drop(file);
    assert_eq!(put_at(&next, 1, None).await.unwrap(), 1);
    assert_eq!(volume.counts(0).await, (BLOCK, 1));
    // The same holds for a file that is replaced under its name.
    put_at(&volume.create("new").await.unwrap(), 1, None)
        .await
        .unwrap();
    volume.rename("new", "next").await.unwrap();
    let more = volume.create("more").await.unwrap();
    is_full(put_at(&more, 1, None).await);
    drop(next);
    assert_eq!(put_at(&more, 1, None).await.unwrap(), 1);
    assert_eq!(volume.counts(0).await, (2 * BLOCK, 2));
}

#[tokio::test]
async fn directories_are_nested_no_deeper_than_the_bound() {
    let volume = Volume::new(1 << 30, 1000);
    let mut path = "d".to_owned();
    for _ in 0..DEPTH {
        volume.mkdir(&path).await.unwrap();
        path.push_str("/d");
    }
    let over = Err(ErrorCode::Quota);
    assert_eq!(volume.mkdir(&path).await, over);
    // A symbolic link that leads down does not get around the bound.
    let deepest = path.strip_suffix("/d").unwrap().to_owned();
    volume.symlink(&deepest, "down").await.unwrap();
    assert_eq!(volume.mkdir("down/more").await, over);
    drop(volume.create(&path).await.unwrap());

    // Nor does moving nested directories into others.
    volume.mkdir("outer").await.unwrap();
    assert_eq!(volume.rename("d", "outer/d").await, over);
    volume.rename("d", "renamed").await.unwrap();
    volume.rename("renamed/d", "up").await.unwrap();
    volume.rename("up", "outer/up").await.unwrap();
    assert_eq!(volume.rename("renamed", "outer/up/x").await, Ok(()));
    volume.counts(0).await;
}

#[tokio::test]
async fn a_call_that_is_given_up_counts_if_it_was_done() {
    let volume = Volume::new(1 << 30, 1000);
    for number in 0..100 {
        let path = format!("d{number}");
        let mut call = Box::pin(volume.mkdir(&path));
        // The call is polled once, and has then either finished or is waiting for the work that it
        // began.
        let polled = future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx)));
        let _ = polled.await;
        drop(call);
    }
    volume.counts(0).await;
}

#[tokio::test]
async fn links_that_the_machine_put_there_are_not_followed() {
    let volume = Volume::new(1 << 30, 1000);
    let outside = tempfile::tempdir().unwrap();
    host_symlink(outside.path(), volume.path("out")).unwrap();
    assert_eq!(volume.mkdir("out/d").await, Err(ErrorCode::NotPermitted));
    assert!(volume.create("out/f").await.is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}
