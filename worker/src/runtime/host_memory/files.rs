//! Charges for functions of `wasi:filesystem/types`: for directory listings of 0.2, which are read
//! as a whole, and for the paths of calls of 0.3, any number of which may be in progress.

use std::{fs::File, sync::Arc};

use rustix::fs::{Dir, Mode, OFlags, openat};
use tokio::task::spawn_blocking;
use wasmtime::{
    StoreContextMut,
    component::{Accessor, Linker, Resource, ResourceType},
};
use wasmtime_wasi::{
    TrappableError,
    filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView as _},
    p2::{
        ReaddirIterator,
        bindings::filesystem::types::{self as p2, HostDescriptor as _},
    },
    p3::bindings::filesystem::types as p3,
};

use super::{Charge, Held};
use crate::runtime::{Guest, engine::Generation};

/// The interfaces as wasmtime defines them. Guests of other patch versions are linked to them, too.
const P2: &str = "wasi:filesystem/types@0.2.12";
const P3: &str = "wasi:filesystem/types@0.3.0";

/// The longest paths of one call together, in bytes: two of the longest that Linux allows.
const PATH_MAX: usize = 2 * 4096;

/// The bytes of an entry of a listing without its name.
const ENTRY: usize = 128;

pub(super) fn add_to_linker(
    linker: &mut Linker<Guest>,
    generation: Generation,
) -> wasmtime::Result<()> {
    let mut types = linker.instance(P2)?;
    types.func_wrap_async(
        "[method]descriptor.read-directory",
        |store: StoreContextMut<'_, Guest>, (directory,): (Resource<Descriptor>,)| {
            Box::new(async move { Ok((read_directory(store, directory).await?,)) })
        },
    )?;
    types.resource(
        "directory-entry-stream",
        ResourceType::host::<ReaddirIterator>(),
        |mut store, rep| {
            let guest = store.data_mut();
            guest.account().listings.remove(&rep);
            let listing = Resource::<ReaddirIterator>::new_own(rep);
            guest.account_and_table().1.delete(listing)?;
            Ok(())
        },
    )?;
    if generation == Generation::P3 {
        add_paths(linker)?;
    }
    Ok(())
}

async fn read_directory(
    mut store: StoreContextMut<'_, Guest>,
    directory: Resource<Descriptor>,
) -> wasmtime::Result<Result<Resource<ReaddirIterator>, p2::ErrorCode>> {
    let guest = store.data_mut();
    let file = match guest.filesystem().table.get(&directory)? {
        Descriptor::Dir(directory) => Arc::clone(&directory.dir),
        Descriptor::File(_) => return Ok(Err(p2::ErrorCode::NotDirectory)),
    };
    let budget = Arc::clone(guest.host_budget());
    // The entries are counted first, because the size of a listing cannot be queried. Errors are
    // left for the actual read to report.
    let listed = spawn_blocking(move || {
        let bytes = listing_bytes(&file).unwrap_or(0);
        budget.take(Held::Directories, bytes)
    });
    let Ok(charge) = listed.await? else {
        return Ok(Err(p2::ErrorCode::InsufficientMemory));
    };
    match guest.filesystem().read_directory(directory).await {
        Ok(listing) => {
            guest.account().listings.insert(listing.rep(), charge);
            Ok(Ok(listing))
        }
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

/// Returns the bytes that the entries of a directory take when all of them are read.
fn listing_bytes(directory: &File) -> rustix::io::Result<usize> {
    // The guest's own descriptor may be one that only allows lookups.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = openat(directory, ".", flags, Mode::empty())?;
    let mut bytes = 0;
    for entry in Dir::read_from(&readable)? {
        bytes += ENTRY + entry?.file_name().to_bytes().len();
    }
    Ok(bytes)
}

/// Charges for the paths of a call until it has ended.
pub(in crate::runtime) fn hold_paths(
    store: &Accessor<Guest>,
    bytes: usize,
) -> Result<Charge, p3::ErrorCode> {
    if bytes > PATH_MAX {
        return Err(p3::ErrorCode::NameTooLong);
    }
    let budget = store.with(|mut store| Arc::clone(store.data_mut().host_budget()));
    let charge = budget.take(Held::Values, bytes);
    charge.map_err(|_| p3::ErrorCode::InsufficientMemory)
}

/// Replaces one of wasmtime's functions by one that refuses paths that are too long before anything
/// waits.
macro_rules! with_paths {
    ($types:ident, $name:literal, $method:ident,
     ($($arg:ident: $ty:ty),*), [$($path:ident),*]) => {
        $types.func_wrap_concurrent(
            concat!("[method]descriptor.", $name),
            |store: &Accessor<Guest>, ($($arg,)*): ($($ty,)*)| {
                Box::pin(async move {
                    let _held = match hold_paths(store, [$($path.len()),*].iter().sum()) {
                        Ok(held) => held,
                        Err(error) => return Ok((Err(error),)),
                    };
                    let files = store.with_getter::<WasiFilesystem>(Guest::filesystem);
                    let result =
                        <WasiFilesystem as p3::HostDescriptorWithStore<_>>::$method(&files, $($arg),*);
                    Ok((told(result.await)?,))
                })
            },
        )?;
    };
}

type Fd = Resource<Descriptor>;

/// The functions that change a directory are not here: `runtime::files` bounds these, and holds
/// their paths.
fn add_paths(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut types = linker.instance(P3)?;
    with_paths!(types, "stat-at", stat_at,
        (fd: Fd, flags: p3::PathFlags, path: String), [path]);
    with_paths!(types, "set-times-at", set_times_at,
        (fd: Fd, flags: p3::PathFlags, path: String, accessed: p3::NewTimestamp,
         modified: p3::NewTimestamp), [path]);
    with_paths!(types, "readlink-at", readlink_at, (fd: Fd, path: String), [path]);
    with_paths!(types, "metadata-hash-at", metadata_hash_at,
        (fd: Fd, flags: p3::PathFlags, path: String), [path]);
    Ok(())
}

fn told<R>(
    result: Result<R, TrappableError<p3::ErrorCode>>,
) -> wasmtime::Result<Result<R, p3::ErrorCode>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}
