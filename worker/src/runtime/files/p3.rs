//! `wasi:filesystem` 0.3.

use std::{
    fs::File,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::{
    StoreContextMut,
    component::{
        Accessor, FutureReader, Linker, Resource, Source, StreamConsumer, StreamReader,
        StreamResult,
    },
};
use wasmtime_wasi::{
    filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView as _},
    p2::{FsResult, bindings::filesystem::types as p2},
    p3::{
        bindings::filesystem::types::{
            DescriptorFlags, ErrorCode, HostDescriptorWithStore, OpenFlags, PathFlags,
        },
        filesystem::FilesystemResult,
    },
};

use crate::runtime::{Guest, host_memory::hold_paths};

use super::{Pair, Place, handle_of, listing, volume};

/// The interface as wasmtime defines it. Guests of other patch versions are linked to it, too.
const TYPES: &str = "wasi:filesystem/types@0.3.0";

/// The most bytes that one write moves.
const CHUNK: usize = 64 << 10;

type Fd = Resource<Descriptor>;
type Answer<T> = wasmtime::Result<Result<T, ErrorCode>>;
type Outcome = FutureReader<Result<(), ErrorCode>>;

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    macro_rules! shadow {
        ($($name:literal: $call:ident),*) => {$(
            types.func_wrap_concurrent(
                concat!("[method]descriptor.", $name),
                |store, params| Box::pin(async move { Ok(($call(store, params).await?,)) }),
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
        "set-size": set_size
    }
    types.func_wrap(
        "[method]descriptor.read-directory",
        |store, (directory,): (Fd,)| Ok((listing::read_directory(store, &directory)?,)),
    )?;
    types.func_wrap(
        "[method]descriptor.write-via-stream",
        |store, (file, data, offset): (Fd, StreamReader<u8>, u64)| {
            Ok((write_via_stream(store, &file, data, Some(offset))?,))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |store, (file, data): (Fd, StreamReader<u8>)| {
            Ok((write_via_stream(store, &file, data, None)?,))
        },
    )
}

/// Calls wasmtime's own implementation.
macro_rules! wasmtime {
    ($call:ident, $store:expr $(, $argument:expr)*) => {{
        let files = $store.with_getter::<WasiFilesystem>(Guest::filesystem);
        let call = <WasiFilesystem as HostDescriptorWithStore<_>>::$call(&files $(, $argument)*);
        answer(call.await)
    }};
}

/// Charges for the paths of a call until it has ended, because any number of calls may be in
/// progress.
macro_rules! hold {
    ($store:expr, $bytes:expr) => {
        match hold_paths($store, $bytes) {
            Ok(held) => held,
            Err(code) => return Ok(Err(code)),
        }
    };
}

async fn open(
    store: &Accessor<Guest>,
    (directory, path_flags, path, open_flags, flags): (
        Fd,
        PathFlags,
        String,
        OpenFlags,
        DescriptorFlags,
    ),
) -> Answer<Fd> {
    let _held = hold!(store, path.len());
    let Some(_opening) = store.with(|mut store| store.data_mut().files().begin()) else {
        return Ok(Err(ErrorCode::InsufficientMemory));
    };
    let bounded = store.with(|mut store| store.data_mut().bounded(&directory))?;
    let (opened, place) = match bounded {
        Some((dir, quota)) => {
            let (path_flags, open_flags) = (p2_path(path_flags), p2_open(open_flags));
            let flags = p2_descriptor(flags);
            let opening = volume::open(quota, dir, path_flags, path, open_flags, flags);
            match answer_p2(opening.await)? {
                Ok((opened, place)) => {
                    let push = |guest: &mut Guest| guest.filesystem().table.push(opened);
                    (store.with(|mut store| push(store.data_mut()))?, Some(place))
                }
                Err(code) => return Ok(Err(code)),
            }
        }
        None => match wasmtime!(
            open_at, store, directory, path_flags, path, open_flags, flags
        )? {
            Ok(opened) => (opened, None),
            Err(code) => return Ok(Err(code)),
        },
    };
    store.with(|mut store| {
        let guest = store.data_mut();
        let file = Arc::clone(handle_of(guest.filesystem().table.get(&opened)?));
        guest.files().opened(&file, place);
        Ok(Ok(opened))
    })
}

async fn create_directory(store: &Accessor<Guest>, (directory, path): (Fd, String)) -> Answer<()> {
    let _held = hold!(store, path.len());
    match store.with(|mut store| store.data_mut().bounded(&directory))? {
        Some((dir, quota)) => answer_p2(volume::create_directory(quota, dir, path).await),
        None => wasmtime!(create_directory_at, store, directory, path),
    }
}

async fn remove_directory(store: &Accessor<Guest>, (directory, path): (Fd, String)) -> Answer<()> {
    let _held = hold!(store, path.len());
    match store.with(|mut store| store.data_mut().bounded(&directory))? {
        Some((dir, quota)) => answer_p2(volume::remove_directory(quota, dir, path).await),
        None => wasmtime!(remove_directory_at, store, directory, path),
    }
}

async fn unlink(store: &Accessor<Guest>, (directory, path): (Fd, String)) -> Answer<()> {
    let _held = hold!(store, path.len());
    match store.with(|mut store| store.data_mut().bounded(&directory))? {
        Some((dir, quota)) => answer_p2(volume::unlink(quota, dir, path).await),
        None => wasmtime!(unlink_file_at, store, directory, path),
    }
}

async fn symlink(
    store: &Accessor<Guest>,
    (directory, target, path): (Fd, String, String),
) -> Answer<()> {
    let _held = hold!(store, target.len() + path.len());
    match store.with(|mut store| store.data_mut().bounded(&directory))? {
        Some((dir, quota)) => answer_p2(volume::symlink(quota, dir, target, path).await),
        None => wasmtime!(symlink_at, store, directory, target, path),
    }
}

async fn link(
    store: &Accessor<Guest>,
    (from, flags, old, to, new): (Fd, PathFlags, String, Fd, String),
) -> Answer<()> {
    let _held = hold!(store, old.len() + new.len());
    match store.with(|mut store| store.data_mut().pair(&from, &to))? {
        Pair::Together(from, to, quota) => {
            let linked = volume::link(quota, p2_path(flags), (from, old), (to, new));
            answer_p2(linked.await)
        }
        Pair::Apart => Ok(Err(ErrorCode::CrossDevice)),
        Pair::Unlimited => wasmtime!(link_at, store, from, flags, old, to, new),
    }
}

async fn rename(
    store: &Accessor<Guest>,
    (from, old, to, new): (Fd, String, Fd, String),
) -> Answer<()> {
    let _held = hold!(store, old.len() + new.len());
    match store.with(|mut store| store.data_mut().pair(&from, &to))? {
        Pair::Together(from, to, quota) => {
            answer_p2(volume::rename(quota, (from, old), (to, new)).await)
        }
        Pair::Apart => Ok(Err(ErrorCode::CrossDevice)),
        Pair::Unlimited => wasmtime!(rename_at, store, from, old, to, new),
    }
}

async fn set_size(store: &Accessor<Guest>, (file, size): (Fd, u64)) -> Answer<()> {
    match store.with(|mut store| store.data_mut().counted(&file))? {
        Some((file, _)) if file.perms.write_not_permitted() => Ok(Err(ErrorCode::NotPermitted)),
        Some((file, place)) => {
            let resized = volume::set_size(place, file.file, size).await;
            Ok(resized.map_err(ErrorCode::from))
        }
        None => wasmtime!(set_size, store, file, size),
    }
}

/// Writes at `offset`, or at the end of the file if it is `None`.
fn write_via_stream(
    mut store: StoreContextMut<'_, Guest>,
    file: &Fd,
    mut data: StreamReader<u8>,
    offset: Option<u64>,
) -> wasmtime::Result<Outcome> {
    let (told, outcome) = oneshot::channel();
    let guest = store.data_mut();
    let file = match guest.filesystem().table.get(file)? {
        Descriptor::Dir(_) => Err(ErrorCode::BadDescriptor),
        Descriptor::File(file) if file.perms.write_not_permitted() => Err(ErrorCode::NotPermitted),
        Descriptor::File(file) => Ok(Arc::clone(&file.file)),
    };
    match file {
        Ok(file) => {
            let input = Input {
                place: guest.files().place(&file),
                file,
                offset,
                writing: None,
                outcome: Some(told),
            };
            data.pipe(&mut store, input)?;
        }
        Err(code) => {
            data.close(&mut store)?;
            // The receiver is used below.
            let _ = told.send(Err(code));
        }
    }
    FutureReader::new(&mut store, outcome)
}

/// A stream of bytes into a file.
struct Input {
    /// The quota in which they count, if any.
    place: Option<Place>,
    file: Arc<File>,
    offset: Option<u64>,
    writing: Option<AbortOnDropHandle<io::Result<usize>>>,
    outcome: Option<oneshot::Sender<Result<(), ErrorCode>>>,
}

// === impl Input ===

impl Input {
    fn end(&mut self, how: Result<(), ErrorCode>) -> StreamResult {
        if let Some(outcome) = self.outcome.take() {
            // A guest that is not interested has dropped the future.
            let _ = outcome.send(how);
        }
        StreamResult::Dropped
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}

impl StreamConsumer<Guest> for Input {
    type Item = u8;

    /// Waits for a write that has begun, even if the guest would rather cancel it, because it may
    /// already have happened.
    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, Guest>,
        source: Source<'_, u8>,
        _finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut source = source.as_direct(store);
        let input = &mut *self;
        if input.writing.is_none() {
            let bytes = source.remaining();
            // A write without bytes asks whether there is room.
            if bytes.is_empty() {
                return Poll::Ready(Ok(StreamResult::Completed));
            }
            let bytes = bytes[..bytes.len().min(CHUNK)].to_vec();
            let (place, file) = (input.place.clone(), Arc::clone(&input.file));
            let writing = volume::write(place, file, bytes, input.offset);
            input.writing = Some(AbortOnDropHandle::new(tokio::spawn(writing)));
        }
        let Some(writing) = &mut input.writing else {
            return Poll::Pending;
        };
        let written = ready!(Pin::new(writing).poll(cx));
        input.writing = None;
        match written.map_err(io::Error::other).flatten() {
            Ok(written) => {
                source.mark_read(written);
                input.offset = input.offset.map(|offset| offset + written as u64);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Err(error) => Poll::Ready(Ok(input.end(Err(error.into())))),
        }
    }
}

fn answer<T>(result: FilesystemResult<T>) -> Answer<T> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

fn answer_p2<T>(result: FsResult<T>) -> Answer<T> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Ok(Err(of_p2(error.downcast()?))),
    }
}

fn p2_path(flags: PathFlags) -> p2::PathFlags {
    match flags.contains(PathFlags::SYMLINK_FOLLOW) {
        true => p2::PathFlags::SYMLINK_FOLLOW,
        false => p2::PathFlags::empty(),
    }
}

fn p2_open(flags: OpenFlags) -> p2::OpenFlags {
    let both = [
        (OpenFlags::CREATE, p2::OpenFlags::CREATE),
        (OpenFlags::DIRECTORY, p2::OpenFlags::DIRECTORY),
        (OpenFlags::EXCLUSIVE, p2::OpenFlags::EXCLUSIVE),
        (OpenFlags::TRUNCATE, p2::OpenFlags::TRUNCATE),
    ];
    both.into_iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .fold(p2::OpenFlags::empty(), |all, (_, flag)| all | flag)
}

fn p2_descriptor(flags: DescriptorFlags) -> p2::DescriptorFlags {
    use DescriptorFlags as P3;
    use p2::DescriptorFlags as P2;
    let both = [
        (P3::READ, P2::READ),
        (P3::WRITE, P2::WRITE),
        (P3::FILE_INTEGRITY_SYNC, P2::FILE_INTEGRITY_SYNC),
        (P3::DATA_INTEGRITY_SYNC, P2::DATA_INTEGRITY_SYNC),
        (P3::REQUESTED_WRITE_SYNC, P2::REQUESTED_WRITE_SYNC),
        (P3::MUTATE_DIRECTORY, P2::MUTATE_DIRECTORY),
    ];
    both.into_iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .fold(P2::empty(), |all, (_, flag)| all | flag)
}

fn of_p2(code: p2::ErrorCode) -> ErrorCode {
    use p2::ErrorCode as P2;
    match code {
        P2::Access => ErrorCode::Access,
        P2::WouldBlock => ErrorCode::Other(Some("would block".to_owned())),
        P2::Already => ErrorCode::Already,
        P2::BadDescriptor => ErrorCode::BadDescriptor,
        P2::Busy => ErrorCode::Busy,
        P2::Deadlock => ErrorCode::Deadlock,
        P2::Quota => ErrorCode::Quota,
        P2::Exist => ErrorCode::Exist,
        P2::FileTooLarge => ErrorCode::FileTooLarge,
        P2::IllegalByteSequence => ErrorCode::IllegalByteSequence,
        P2::InProgress => ErrorCode::InProgress,
        P2::Interrupted => ErrorCode::Interrupted,
        P2::Invalid => ErrorCode::Invalid,
        P2::Io => ErrorCode::Io,
        P2::IsDirectory => ErrorCode::IsDirectory,
        P2::Loop => ErrorCode::Loop,
        P2::TooManyLinks => ErrorCode::TooManyLinks,
        P2::MessageSize => ErrorCode::MessageSize,
        P2::NameTooLong => ErrorCode::NameTooLong,
        P2::NoDevice => ErrorCode::NoDevice,
        P2::NoEntry => ErrorCode::NoEntry,
        P2::NoLock => ErrorCode::NoLock,
        P2::InsufficientMemory => ErrorCode::InsufficientMemory,
        P2::InsufficientSpace => ErrorCode::InsufficientSpace,
        P2::NotDirectory => ErrorCode::NotDirectory,
        P2::NotEmpty => ErrorCode::NotEmpty,
        P2::NotRecoverable => ErrorCode::NotRecoverable,
        P2::Unsupported => ErrorCode::Unsupported,
        P2::NoTty => ErrorCode::NoTty,
        P2::NoSuchDevice => ErrorCode::NoSuchDevice,
        P2::Overflow => ErrorCode::Overflow,
        P2::NotPermitted => ErrorCode::NotPermitted,
        P2::Pipe => ErrorCode::Pipe,
        P2::ReadOnly => ErrorCode::ReadOnly,
        P2::InvalidSeek => ErrorCode::InvalidSeek,
        P2::TextFileBusy => ErrorCode::TextFileBusy,
        P2::CrossDevice => ErrorCode::CrossDevice,
    }
}
