//! `wasi:filesystem` 0.2.

use std::{fs::File, io, mem, sync::Arc};

use bytes::Bytes;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource},
};
use wasmtime_wasi::{
    filesystem::{Descriptor, WasiFilesystemView as _},
    p2::{
        DynOutputStream, FsResult, OutputStream, Pollable, StreamError, StreamResult,
        bindings::filesystem::types::{
            DescriptorFlags, ErrorCode, HostDescriptor as _, OpenFlags, PathFlags,
        },
    },
};

use crate::runtime::Guest;

use super::{Pair, Place, handle_of, volume};

/// The interface as wasmtime defines it. Guests of other patch versions are linked to it, too.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

/// The most bytes that a stream takes at once.
const CHUNK: usize = 64 << 10;

type Store<'a> = StoreContextMut<'a, Guest>;
type Fd = Resource<Descriptor>;
type Answer<T> = wasmtime::Result<Result<T, ErrorCode>>;

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    macro_rules! shadow {
        ($($name:literal: $call:ident),*) => {$(
            types.func_wrap_async(
                concat!("[method]descriptor.", $name),
                |store, params| Box::new(async move { Ok(($call(store, params).await?,)) }),
            )?;
        )*};
    }
    shadow! {
        "open-at": open,
        "create-directory-at": create_directory,
        "remove-directory-at": remove_directory,
        "unlink-file-at": unlink,
        "symlink-at": symlink,
        "link-at": link,
        "rename-at": rename,
        "set-size": set_size,
        "write": write
    }
    types.func_wrap(
        "[method]descriptor.write-via-stream",
        |mut store, (file, offset): (Fd, u64)| Ok((stream(&mut store, file, Some(offset))?,)),
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |mut store, (file,): (Fd,)| Ok((stream(&mut store, file, None)?,)),
    )
}

async fn open(
    mut store: Store<'_>,
    (directory, path_flags, path, open_flags, flags): (
        Fd,
        PathFlags,
        String,
        OpenFlags,
        DescriptorFlags,
    ),
) -> Answer<Fd> {
    let guest = store.data_mut();
    let Some(_opening) = guest.files().begin() else {
        return Ok(Err(ErrorCode::InsufficientMemory));
    };
    let (opened, place) = match guest.bounded(&directory)? {
        Some((dir, quota)) => {
            let opening = volume::open(quota, dir, path_flags, path, open_flags, flags);
            match answer(opening.await)? {
                Ok((opened, place)) => (guest.filesystem().table.push(opened)?, Some(place)),
                Err(code) => return Ok(Err(code)),
            }
        }
        None => {
            let mut files = guest.filesystem();
            let opening = files.open_at(directory, path_flags, path, open_flags, flags);
            match answer(opening.await)? {
                Ok(opened) => (opened, None),
                Err(code) => return Ok(Err(code)),
            }
        }
    };
    let file = Arc::clone(handle_of(guest.filesystem().table.get(&opened)?));
    guest.files().opened(&file, place);
    Ok(Ok(opened))
}

async fn create_directory(mut store: Store<'_>, (directory, path): (Fd, String)) -> Answer<()> {
    let guest = store.data_mut();
    answer(match guest.bounded(&directory)? {
        Some((dir, quota)) => volume::create_directory(quota, dir, path).await,
        None => {
            let mut files = guest.filesystem();
            files.create_directory_at(directory, path).await
        }
    })
}

async fn remove_directory(mut store: Store<'_>, (directory, path): (Fd, String)) -> Answer<()> {
    let guest = store.data_mut();
    answer(match guest.bounded(&directory)? {
        Some((dir, quota)) => volume::remove_directory(quota, dir, path).await,
        None => {
            let mut files = guest.filesystem();
            files.remove_directory_at(directory, path).await
        }
    })
}

async fn unlink(mut store: Store<'_>, (directory, path): (Fd, String)) -> Answer<()> {
    let guest = store.data_mut();
    answer(match guest.bounded(&directory)? {
        Some((dir, quota)) => volume::unlink(quota, dir, path).await,
        None => guest.filesystem().unlink_file_at(directory, path).await,
    })
}

async fn symlink(
    mut store: Store<'_>,
    (directory, target, path): (Fd, String, String),
) -> Answer<()> {
    let guest = store.data_mut();
    answer(match guest.bounded(&directory)? {
        Some((dir, quota)) => volume::symlink(quota, dir, target, path).await,
        None => {
            let mut files = guest.filesystem();
            files.symlink_at(directory, target, path).await
        }
    })
}

async fn link(
    mut store: Store<'_>,
    (from, flags, old, to, new): (Fd, PathFlags, String, Fd, String),
) -> Answer<()> {
    let guest = store.data_mut();
    answer(match guest.pair(&from, &to)? {
        Pair::Together(from, to, quota) => volume::link(quota, flags, (from, old), (to, new)).await,
        Pair::Apart => return Ok(Err(ErrorCode::CrossDevice)),
        Pair::Unlimited => {
            let mut files = guest.filesystem();
            files.link_at(from, flags, old, to, new).await
        }
    })
}

async fn rename(
    mut store: Store<'_>,
    (from, old, to, new): (Fd, String, Fd, String),
) -> Answer<()> {
    let guest = store.data_mut();
    answer(match guest.pair(&from, &to)? {
        Pair::Together(from, to, quota) => volume::rename(quota, (from, old), (to, new)).await,
        Pair::Apart => return Ok(Err(ErrorCode::CrossDevice)),
        Pair::Unlimited => guest.filesystem().rename_at(from, old, to, new).await,
    })
}

async fn set_size(mut store: Store<'_>, (file, size): (Fd, u64)) -> Answer<()> {
    let guest = store.data_mut();
    match guest.counted(&file)? {
        Some((file, _)) if file.perms.write_not_permitted() => Ok(Err(ErrorCode::NotPermitted)),
        Some((file, place)) => {
            let resized = volume::set_size(place, file.file, size).await;
            Ok(resized.map_err(ErrorCode::from))
        }
        None => answer(guest.filesystem().set_size(file, size).await),
    }
}

async fn write(mut store: Store<'_>, (file, bytes, offset): (Fd, Vec<u8>, u64)) -> Answer<u64> {
    let guest = store.data_mut();
    match guest.counted(&file)? {
        Some((file, _)) if file.perms.write_not_permitted() => Ok(Err(ErrorCode::NotPermitted)),
        Some((file, place)) => {
            let written = volume::write(Some(place), file.file, bytes, Some(offset)).await;
            Ok(written.map(|n| n as u64).map_err(ErrorCode::from))
        }
        None => answer(guest.filesystem().write(file, bytes, offset).await),
    }
}

fn stream(
    store: &mut Store<'_>,
    file: Fd,
    offset: Option<u64>,
) -> Answer<Resource<DynOutputStream>> {
    let guest = store.data_mut();
    let Some((file, place)) = guest.counted(&file)? else {
        let mut files = guest.filesystem();
        return answer(match offset {
            Some(offset) => files.write_via_stream(file, offset),
            None => files.append_via_stream(file),
        });
    };
    if file.perms.write_not_permitted() {
        return Ok(Err(ErrorCode::NotPermitted));
    }
    let output: DynOutputStream = Box::new(Output {
        file: file.file,
        place,
        offset,
        state: State::Ready,
    });
    Ok(Ok(guest.filesystem().table.push(output)?))
}

fn answer<T>(result: FsResult<T>) -> Answer<T> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

/// A stream of bytes into a file that counts.
struct Output {
    file: Arc<File>,
    place: Place,
    /// The position of the next byte. `None` means the end of the file.
    offset: Option<u64>,
    state: State,
}

enum State {
    Ready,
    Writing(AbortOnDropHandle<io::Result<u64>>),
    Failed(io::Error),
    Closed,
}

// === impl Output ===

impl Output {
    /// Returns the error of the last write, once.
    fn check(&mut self) -> StreamResult<()> {
        match mem::replace(&mut self.state, State::Closed) {
            State::Failed(error) => Err(StreamError::LastOperationFailed(error.into())),
            State::Closed => Err(StreamError::Closed),
            state => {
                self.state = state;
                Ok(())
            }
        }
    }
}

#[async_trait::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if !matches!(self.state, State::Ready) {
            self.check()?;
            return Err(StreamError::trap(
                "a write was not permitted by check-write",
            ));
        }
        let writing = write_all(
            self.place.clone(),
            Arc::clone(&self.file),
            bytes,
            self.offset,
        );
        self.state = State::Writing(AbortOnDropHandle::new(tokio::spawn(writing)));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.check()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.check()?;
        Ok(match self.state {
            State::Ready => CHUNK,
            _ => 0,
        })
    }

    /// Waits for the running write: all that the guest wrote before it dropped the stream is
    /// written.
    async fn cancel(&mut self) {
        self.ready().await;
        self.state = State::Closed;
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        if let State::Writing(task) = &mut self.state {
            let written = task.await.map_err(io::Error::other).flatten();
            self.state = match written {
                Ok(written) => {
                    self.offset = self.offset.map(|offset| offset + written);
                    State::Ready
                }
                Err(error) => State::Failed(error),
            };
        }
    }
}

async fn write_all(
    place: Place,
    file: Arc<File>,
    mut bytes: Bytes,
    offset: Option<u64>,
) -> io::Result<u64> {
    let mut written = 0;
    while !bytes.is_empty() {
        let at = offset.map(|offset| offset.saturating_add(written));
        let (place, file) = (Some(place.clone()), Arc::clone(&file));
        let some = volume::write(place, file, bytes.clone(), at).await?;
        let _ = bytes.split_to(some);
        written += some as u64;
    }
    Ok(written)
}
