//! Calls that change an empty directory within its quota.
//!
//! wasmtime resolves every path, so the guest is confined as it is elsewhere. Each call holds the
//! volume's turn until it is counted, in a task that runs to its end: a guest that cancels a call,
//! or ends, leaves nothing uncounted.

use std::{
    fs::File as OsFile,
    future::Future,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt as _,
    },
    sync::Arc,
};

use rustix::{
    fs::{FileType, Mode, OFlags},
    io::Errno,
};
use tokio::task::{spawn, spawn_blocking};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::{
    filesystem::{Descriptor, Dir, WasiFilesystemCtx, WasiFilesystemCtxView},
    p2::{
        FsError, FsResult,
        bindings::filesystem::types::{
            DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, HostDescriptor as _,
            MetadataHashValue, OpenFlags, PathFlags,
        },
    },
};

use crate::volumes::quota::{BLOCK, DEPTH, Key, Over, Quota, Turn, blocks};

use super::Place;

/// One call, with a resource table of its own.
struct Work {
    ctx: WasiFilesystemCtx,
    table: ResourceTable,
    quota: Arc<Quota>,
    used: Turn,
}

/// A directory in that table.
#[derive(Clone, Copy)]
struct At(u32);

/// Performs `open-at`, and returns the place where the file counts.
pub(super) async fn open(
    quota: Arc<Quota>,
    dir: Dir,
    path_flags: PathFlags,
    path: String,
    open_flags: OpenFlags,
    flags: DescriptorFlags,
) -> FsResult<(Descriptor, Place)> {
    let opened = run(&quota, |work| {
        work.open(dir, path_flags, path, open_flags, flags)
    });
    let (descriptor, key) = opened.await?;
    Ok((descriptor, Place { quota, key }))
}

pub(super) async fn create_directory(quota: Arc<Quota>, dir: Dir, path: String) -> FsResult<()> {
    run(&quota, |work| work.create_directory(dir, path)).await
}

pub(super) async fn symlink(
    quota: Arc<Quota>,
    dir: Dir,
    target: String,
    path: String,
) -> FsResult<()> {
    run(&quota, |work| work.symlink(dir, target, path)).await
}

pub(super) async fn unlink(quota: Arc<Quota>, dir: Dir, path: String) -> FsResult<()> {
    run(&quota, |work| work.unlink(dir, path)).await
}

pub(super) async fn remove_directory(quota: Arc<Quota>, dir: Dir, path: String) -> FsResult<()> {
    run(&quota, |work| work.remove_directory(dir, path)).await
}

pub(super) async fn link(
    quota: Arc<Quota>,
    flags: PathFlags,
    (from, old): (Dir, String),
    (to, new): (Dir, String),
) -> FsResult<()> {
    run(&quota, |work| work.link(flags, (from, old), (to, new))).await
}

pub(super) async fn rename(
    quota: Arc<Quota>,
    (from, old): (Dir, String),
    (to, new): (Dir, String),
) -> FsResult<()> {
    run(&quota, |work| work.rename((from, old), (to, new))).await
}

pub(super) async fn set_size(place: Place, file: Arc<OsFile>, size: u64) -> io::Result<()> {
    let mut used = place.quota.turn().await;
    let resize = move || {
        let from = file.metadata()?.len();
        if size > from && size > used.largest(from) {
            return Err(Errno::NOSPC.into());
        }
        file.set_len(size)?;
        used.resized(place.key, from, size);
        Ok(())
    };
    spawn_blocking(resize).await.map_err(io::Error::other)?
}

/// Writes some of the bytes, at `offset` or at the end of the file if it is `None`. Writes fewer
/// than all if there is not enough room, and fails if there is none. `place` is where the bytes
/// count, if anywhere.
pub(super) async fn write<B: AsRef<[u8]> + Send + 'static>(
    place: Option<Place>,
    file: Arc<OsFile>,
    bytes: B,
    offset: Option<u64>,
) -> io::Result<usize> {
    let counted = match place {
        Some(place) => Some((place.quota.turn().await, place.key)),
        None => None,
    };
    let written = move || match counted {
        Some((used, key)) => write_counted(used, key, &file, bytes.as_ref(), offset),
        None => put(&file, bytes.as_ref(), offset),
    };
    spawn_blocking(written).await.map_err(io::Error::other)?
}

fn write_counted(
    mut used: Turn,
    key: Key,
    file: &OsFile,
    bytes: &[u8],
    offset: Option<u64>,
) -> io::Result<usize> {
    let from = file.metadata()?.len();
    // The turn excludes all other writers of the volume, so this is its end.
    let offset = offset.unwrap_or(from);
    let room = used.largest(from).saturating_sub(offset);
    let room = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
    if room == 0 && !bytes.is_empty() {
        return Err(Errno::NOSPC.into());
    }
    let written = put(file, &bytes[..room], Some(offset));
    // The size is also counted after a failure, because part of the bytes may have been written.
    let to = match (file.metadata(), &written) {
        (Ok(metadata), _) => metadata.len(),
        (Err(_), Ok(written)) => from.max(offset + *written as u64),
        (Err(_), Err(_)) => from,
    };
    used.resized(key, from, to);
    written
}

fn put(file: &OsFile, bytes: &[u8], offset: Option<u64>) -> io::Result<usize> {
    loop {
        let written = match offset {
            Some(offset) => file.write_at(bytes, offset),
            None => {
                let bytes = [io::IoSlice::new(bytes)];
                let flags = rustix::io::ReadWriteFlags::APPEND;
                rustix::io::pwritev2(file, &bytes, 0, flags).map_err(io::Error::from)
            }
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            written => return written,
        }
    }
}

/// Runs a call when its turn has come. If the future is dropped before that, nothing has been done;
/// if it is dropped later, the call is still completed and counted.
async fn run<T, F>(quota: &Arc<Quota>, call: impl FnOnce(Work) -> F) -> FsResult<T>
where
    T: Send + 'static,
    F: Future<Output = FsResult<T>> + Send + 'static,
{
    let work = Work {
        ctx: WasiFilesystemCtx::default(),
        table: ResourceTable::new(),
        quota: Arc::clone(quota),
        used: quota.turn().await,
    };
    spawn(call(work)).await.unwrap_or_else(|error| {
        // The runtime is shutting down, or this is a bug.
        Err(FsError::trap(wasmtime::Error::from(error)))
    })
}

// === impl Work ===

impl Work {
    async fn open(
        mut self,
        dir: Dir,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<(Descriptor, Key)> {
        let at = self.push(dir)?;
        let found = match open_flags.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE) {
            true => self.stat(at, path_flags, &path).await,
            false => None,
        };
        let creates = open_flags.contains(OpenFlags::CREATE) && found.is_none();
        if creates {
            self.admit(0)?;
        }
        let mut view = self.view();
        let opened = view.open_at(at.borrow(), path_flags, path, open_flags, flags);
        let opened = opened.await?;
        if creates {
            self.used.named(0);
        }
        let hash = self.view().metadata_hash(At(opened.rep()).borrow()).await?;
        let (key, descriptor) = (key(hash), self.table.delete(opened)?);
        if let Descriptor::File(file) = &descriptor {
            self.used.opened(key, Arc::downgrade(&file.file));
            if let Some(found) = found.filter(|_| open_flags.contains(OpenFlags::TRUNCATE)) {
                self.used.resized(key, found.size, 0);
            }
        }
        Ok((descriptor, key))
    }

    async fn create_directory(mut self, dir: Dir, path: String) -> FsResult<()> {
        let at = self.push(dir)?;
        self.admit(BLOCK)?;
        let parent = self.parent(at, &path).await?;
        if self.depth(parent).await? >= DEPTH {
            return Err(ErrorCode::Quota.into());
        }
        self.view().create_directory_at(at.borrow(), path).await?;
        self.used.named(BLOCK);
        Ok(())
    }

    async fn symlink(mut self, dir: Dir, target: String, path: String) -> FsResult<()> {
        let at = self.push(dir)?;
        self.admit(BLOCK)?;
        self.view().symlink_at(at.borrow(), target, path).await?;
        self.used.named(BLOCK);
        Ok(())
    }

    async fn unlink(mut self, dir: Dir, path: String) -> FsResult<()> {
        let at = self.push(dir)?;
        let last = self.last(at, &path).await;
        self.view().unlink_file_at(at.borrow(), path).await?;
        self.used.unnamed(last);
        Ok(())
    }

    async fn remove_directory(mut self, dir: Dir, path: String) -> FsResult<()> {
        let at = self.push(dir)?;
        let last = self.last(at, &path).await;
        self.view().remove_directory_at(at.borrow(), path).await?;
        self.used.unnamed(last);
        Ok(())
    }

    async fn link(
        mut self,
        flags: PathFlags,
        (from, old): (Dir, String),
        (to, new): (Dir, String),
    ) -> FsResult<()> {
        let (from, to) = (self.push(from)?, self.push(to)?);
        self.admit(0)?;
        let mut view = self.view();
        let linked = view.link_at(from.borrow(), flags, old, to.borrow(), new);
        linked.await?;
        self.used.named(0);
        Ok(())
    }

    async fn rename(
        mut self,
        (from, old): (Dir, String),
        (to, new): (Dir, String),
    ) -> FsResult<()> {
        let (from, to) = (self.push(from)?, self.push(to)?);
        let moved = self.stat(from, PathFlags::empty(), &old).await;
        let replaced = match self.hash(to, &new).await {
            // A rename between two names of the same file changes nothing.
            Some(hash) if self.hash(from, &old).await != Some(hash) => {
                Some(self.last(to, &new).await)
            }
            _ => None,
        };
        if moved.is_some_and(|moved| moved.type_ == DescriptorType::Directory) {
            self.check_depth((from, &old), (to, &new)).await?;
        }
        let mut view = self.view();
        let renamed = view.rename_at(from.borrow(), old, to.borrow(), new);
        renamed.await?;
        if let Some(last) = replaced {
            self.used.unnamed(last);
        }
        Ok(())
    }

    /// Refuses to move a directory to a place where it or its contents would be nested too deeply.
    async fn check_depth(
        &mut self,
        (from, old): (At, &str),
        (to, new): (At, &str),
    ) -> FsResult<()> {
        let (old_parent, new_parent) = (self.parent(from, old).await?, self.parent(to, new).await?);
        let (was, is) = (self.depth(old_parent).await?, self.depth(new_parent).await?);
        if is <= was {
            return Ok(());
        }
        let Some(left) = DEPTH.checked_sub(is + 1) else {
            return Err(ErrorCode::Quota.into());
        };
        let moved = self.directory(from, PathFlags::empty(), old).await?;
        let height = spawn_blocking(move || height(&moved, left));
        if height.await.map_err(io::Error::other)?? > left {
            return Err(ErrorCode::Quota.into());
        }
        Ok(())
    }

    fn admit(&mut self, bytes: u64) -> FsResult<()> {
        self.used.admit(bytes).map_err(|over| {
            FsError::from(match over {
                Over::Bytes => ErrorCode::InsufficientSpace,
                Over::Names => ErrorCode::Quota,
            })
        })
    }

    fn view(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView {
            ctx: &mut self.ctx,
            table: &mut self.table,
        }
    }

    fn push(&mut self, dir: Dir) -> FsResult<At> {
        Ok(At(self.table.push(Descriptor::Dir(dir))?.rep()))
    }

    async fn stat(&mut self, at: At, flags: PathFlags, path: &str) -> Option<DescriptorStat> {
        let mut view = self.view();
        let stat = view.stat_at(at.borrow(), flags, path.to_owned());
        stat.await.ok()
    }

    async fn hash(&mut self, at: At, path: &str) -> Option<Key> {
        let mut view = self.view();
        let hash = view.metadata_hash_at(at.borrow(), PathFlags::empty(), path.to_owned());
        hash.await.ok().map(key)
    }

    /// Returns what becomes free once this name is removed, or `None` if the file has other names.
    async fn last(&mut self, at: At, path: &str) -> Option<(Key, u64)> {
        let stat = self.stat(at, PathFlags::empty(), path).await?;
        let bytes = match stat.type_ {
            DescriptorType::Directory => BLOCK,
            _ if stat.link_count > 1 => return None,
            DescriptorType::SymbolicLink => BLOCK,
            _ => blocks(stat.size),
        };
        Some((self.hash(at, path).await?, bytes))
    }

    /// Returns the directory that contains the last segment of a path.
    async fn parent(&mut self, at: At, path: &str) -> FsResult<Arc<OsFile>> {
        let parent = match path.trim_end_matches('/').rsplit_once('/') {
            None => ".",
            // The path is absolute, which WASI does not allow.
            Some(("", _)) => return Err(ErrorCode::NotPermitted.into()),
            Some((parent, _)) => parent,
        };
        self.directory(at, PathFlags::SYMLINK_FOLLOW, parent).await
    }

    async fn directory(&mut self, at: At, flags: PathFlags, path: &str) -> FsResult<Arc<OsFile>> {
        let mut view = self.view();
        let opened = view.open_at(
            at.borrow(),
            flags,
            path.to_owned(),
            OpenFlags::DIRECTORY,
            DescriptorFlags::READ,
        );
        let opened = opened.await?;
        match self.table.delete(opened)? {
            Descriptor::Dir(dir) => Ok(dir.dir),
            Descriptor::File(_) => Err(ErrorCode::NotDirectory.into()),
        }
    }

    async fn depth(&mut self, directory: Arc<OsFile>) -> FsResult<u32> {
        let root = self.quota.root();
        let depth = spawn_blocking(move || depth(&directory, root));
        Ok(depth.await.map_err(io::Error::other)??)
    }
}

// === impl At ===

impl At {
    fn borrow(self) -> Resource<Descriptor> {
        Resource::new_borrow(self.0)
    }
}

fn key(hash: MetadataHashValue) -> Key {
    (hash.lower, hash.upper)
}

/// Returns how many directories this one is below the root of the volume, or more than [`DEPTH`] if
/// the root is not found.
fn depth(directory: &OsFile, root: (u64, u64)) -> io::Result<u32> {
    let up = |from: &dyn AsFd, path: &str| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(from.as_fd(), path, flags, Mode::empty())
    };
    let mut at: OwnedFd = up(&directory.as_fd(), ".")?;
    for depth in 0..=DEPTH {
        let stat = rustix::fs::fstat(&at)?;
        if (stat.st_dev, stat.st_ino) == root {
            return Ok(depth);
        }
        at = up(&at, "..")?;
    }
    Ok(DEPTH + 1)
}

/// Returns how deeply directories are nested in this one, or `most + 1` if it is more than `most`.
/// Holds as many descriptors as it is deep.
fn height(directory: &OsFile, most: u32) -> io::Result<u32> {
    let mut open = vec![rustix::fs::Dir::read_from(directory)?];
    let mut deepest = 0;
    while let Some(innermost) = open.last_mut() {
        let Some(entry) = innermost.read().transpose()? else {
            open.pop();
            continue;
        };
        let name = entry.file_name();
        let is_directory = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
        if !is_directory || matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner = match rustix::fs::openat(innermost.fd()?, name, flags, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) => continue,
            inner => rustix::fs::Dir::new(inner?)?,
        };
        open.push(inner);
        deepest = deepest.max(open.len() - 1);
        if deepest > most as usize {
            return Ok(most + 1);
        }
    }
    Ok(u32::try_from(deepest).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
