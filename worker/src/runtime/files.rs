//! Open files of one guest, bounded: each is a descriptor of the worker's, which all guests share.
//!
//! Only `open-at` of `wasi:filesystem/types` makes new ones, so it alone stands in for wasmtime's, by which it opens.

use std::{
    fs::File,
    sync::{Arc, Weak},
};

use wasmtime::{
    StoreContextMut,
    component::{Accessor, Linker, Resource},
};
use wasmtime_wasi::{
    filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView as _},
    p2::bindings::filesystem::types as p2,
    p3::bindings::filesystem::types as p3,
};

use super::{Guest, engine::Generation, host_memory};

/// Files and directories that one guest may have open, those that only its streams still read included. Beyond, it is
/// told `insufficient-memory`: WASI has no word for "too many open files".
pub const OPEN_FILES: usize = 1024;

/// Interfaces as wasmtime defines them; guests of other patch versions are linked to the same.
const P2: &str = "wasi:filesystem/types@0.2.12";
const P3: &str = "wasi:filesystem/types@0.3.0";
const OPEN_AT: &str = "[method]descriptor.open-at";

/// What one guest has open.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    /// Some may have been closed since.
    known: Vec<Weak<File>>,
    /// Cloned by each that is being opened.
    opening: Arc<()>,
}

/// Shadows `open-at`; `linker` has all of WASI already.
pub(super) fn add_to_linker(
    linker: &mut Linker<Guest>,
    generation: Generation,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker
        .instance(P2)?
        .func_wrap_async(OPEN_AT, |store, params| {
            Box::new(async move { Ok((open_p2(store, params).await?,)) })
        })?;
    if generation == Generation::P3 {
        linker
            .instance(P3)?
            .func_wrap_concurrent(OPEN_AT, |store, params| {
                Box::pin(async move { Ok((open_p3(store, params).await?,)) })
            })?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

async fn open_p2(
    mut store: StoreContextMut<'_, Guest>,
    (directory, path_flags, path, open_flags, flags): (
        Resource<Descriptor>,
        p2::PathFlags,
        String,
        p2::OpenFlags,
        p2::DescriptorFlags,
    ),
) -> wasmtime::Result<Result<Resource<Descriptor>, p2::ErrorCode>> {
    let guest = store.data_mut();
    let Some(_opening) = guest.files().begin() else {
        return Ok(Err(p2::ErrorCode::InsufficientMemory));
    };
    let mut files = guest.filesystem();
    let opening =
        p2::HostDescriptor::open_at(&mut files, directory, path_flags, path, open_flags, flags);
    match opening.await {
        Ok(opened) => {
            let file = file_of(files.table.get(&opened)?);
            guest.files().opened(file);
            Ok(Ok(opened))
        }
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

async fn open_p3(
    store: &Accessor<Guest>,
    (directory, path_flags, path, open_flags, flags): (
        Resource<Descriptor>,
        p3::PathFlags,
        String,
        p3::OpenFlags,
        p3::DescriptorFlags,
    ),
) -> wasmtime::Result<Result<Resource<Descriptor>, p3::ErrorCode>> {
    let _held = match host_memory::hold_paths(store, path.len()) {
        Ok(held) => held,
        Err(error) => return Ok(Err(error)),
    };
    let Some(_opening) = store.with(|mut store| store.data_mut().files().begin()) else {
        return Ok(Err(p3::ErrorCode::InsufficientMemory));
    };
    let files = store.with_getter::<WasiFilesystem>(Guest::filesystem);
    let opening = <WasiFilesystem as p3::HostDescriptorWithStore<_>>::open_at(
        &files, directory, path_flags, path, open_flags, flags,
    );
    match opening.await {
        Ok(opened) => store.with(|mut store| {
            let guest = store.data_mut();
            let file = file_of(guest.filesystem().table.get(&opened)?);
            guest.files().opened(file);
            Ok(Ok(opened))
        }),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

fn file_of(descriptor: &Descriptor) -> Weak<File> {
    match descriptor {
        Descriptor::File(file) => Arc::downgrade(&file.file),
        Descriptor::Dir(directory) => Arc::downgrade(&directory.dir),
    }
}

// === impl OpenFiles ===

impl OpenFiles {
    /// A place for one more, kept by what it returns until the file is open; `None` when there are too many.
    fn begin(&mut self) -> Option<Arc<()>> {
        if self.count() >= OPEN_FILES {
            self.known.retain(|file| file.strong_count() > 0);
        }
        (self.count() < OPEN_FILES).then(|| Arc::clone(&self.opening))
    }

    fn opened(&mut self, file: Weak<File>) {
        self.known.push(file);
    }

    /// At most so many are open.
    fn count(&self) -> usize {
        self.known.len() + Arc::strong_count(&self.opening) - 1
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn files_count_until_the_last_who_reads_them_is_gone() {
        let mut files = OpenFiles::default();
        let mut held = Vec::new();
        for _ in 0..OPEN_FILES {
            let _opening = files.begin().unwrap();
            let file = Arc::new(tempfile::tempfile().unwrap());
            files.opened(Arc::downgrade(&file));
            held.push(file);
        }
        assert!(files.begin().is_none());
        let reader = held.pop().unwrap();
        let stream = Arc::clone(&reader);
        drop(reader);
        assert!(files.begin().is_none(), "a stream has it open");
        drop(stream);
        let opening = files.begin().unwrap();
        assert!(files.begin().is_none(), "one is being opened");
        drop(opening);
        assert!(files.begin().is_some(), "it was given up");
    }
}
