//! `wasi:filesystem` for guests: wasmtime's implementation with bounds.
//!
//! The number of open files of one guest is bounded, because each is a descriptor of the worker,
//! which all guests share. The contents of an empty directory are bounded by the quota of that
//! volume. The calls that open or change something replace wasmtime's, and use them for the actual
//! work. [`p2`] and [`p3`] define the interfaces of both generations; [`volume`] is the part that
//! they share.

mod listing;
mod p2;
mod p3;
mod volume;

use std::{
    collections::HashMap,
    fs::File,
    sync::{Arc, Weak},
};

use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::{
    filesystem::{Descriptor, Dir, WasiFilesystemCtxView, WasiFilesystemView as _},
    p2::bindings::filesystem::preopens,
};

use crate::volumes::{
    Mount,
    quota::{Key, Quota},
};

use super::{Guest, engine::Generation};

/// The most files and directories that one guest may have open, including those that only its
/// streams still read. Beyond this, calls fail with `insufficient-memory`, because WASI has no code
/// for "too many open files".
pub const OPEN_FILES: usize = 1024;

/// The files and directories that one guest has open.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    /// The open files by address, which is unique while the file is known here. Some may have been
    /// closed since.
    known: HashMap<usize, Known>,
    /// This is cloned for each file that is being opened.
    opening: Arc<()>,
    /// The bounded directories that the guest was given, which do not count as open, with their
    /// quotas.
    mounts: Vec<(Arc<File>, Arc<Quota>)>,
}

#[derive(Debug)]
struct Known {
    file: Weak<File>,
    place: Option<Place>,
}

/// The quota by which a file counts, and its key there.
#[derive(Clone, Debug)]
struct Place {
    quota: Arc<Quota>,
    key: Key,
}

/// The two directories of a call that names two.
enum Pair {
    Unlimited,
    Together(Dir, Dir, Arc<Quota>),
    /// They are in different volumes, and are treated like different file systems.
    Apart,
}

/// Shadows the calls that open or change something. `linker` must already have all of WASI.
pub(super) fn add_to_linker(
    linker: &mut Linker<Guest>,
    generation: Generation,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    p2::add_to_linker(linker)?;
    if generation == Generation::P3 {
        p3::add_to_linker(linker)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

// === impl Guest ===

impl Guest {
    /// Records which of the guest's directories are bounded. `mounts` are all of its directories,
    /// in order.
    pub(super) fn bound(&mut self, mounts: &[Mount]) -> wasmtime::Result<()> {
        if mounts.iter().all(|mount| mount.quota().is_none()) {
            return Ok(());
        }
        let ctx = self.filesystem().ctx;
        let mut table = ResourceTable::new();
        let mut view = WasiFilesystemCtxView {
            ctx,
            table: &mut table,
        };
        let given = preopens::Host::get_directories(&mut view)?;
        let mut bounded = Vec::new();
        for ((directory, _), mount) in given.into_iter().zip(mounts) {
            if let (Descriptor::Dir(dir), Some(quota)) = (table.get(&directory)?, mount.quota()) {
                bounded.push((Arc::clone(&dir.dir), Arc::clone(quota)));
            }
        }
        self.files().mounts = bounded;
        Ok(())
    }

    /// Returns a directory that is bounded, with its quota. Returns `None` if wasmtime's own call
    /// should be used, even if only to fail.
    fn bounded(
        &mut self,
        directory: &Resource<Descriptor>,
    ) -> wasmtime::Result<Option<(Dir, Arc<Quota>)>> {
        let Descriptor::Dir(dir) = self.filesystem().table.get(directory)? else {
            return Ok(None);
        };
        let dir = dir.clone();
        let quota = self.files().quota(&dir.dir);
        Ok(quota.map(|quota| (dir, quota)))
    }

    fn pair(
        &mut self,
        one: &Resource<Descriptor>,
        other: &Resource<Descriptor>,
    ) -> wasmtime::Result<Pair> {
        Ok(match (self.bounded(one)?, self.bounded(other)?) {
            (None, None) => Pair::Unlimited,
            (Some((one, quota)), Some((other, same))) if Arc::ptr_eq(&quota, &same) => {
                Pair::Together(one, other, quota)
            }
            _ => Pair::Apart,
        })
    }

    /// Returns a file that counts in some quota, and its place there.
    fn counted(
        &mut self,
        file: &Resource<Descriptor>,
    ) -> wasmtime::Result<Option<(wasmtime_wasi::filesystem::File, Place)>> {
        let Descriptor::File(file) = self.filesystem().table.get(file)? else {
            return Ok(None);
        };
        let file = file.clone();
        let place = self.files().place(&file.file);
        Ok(place.map(|place| (file, place)))
    }
}

fn handle_of(descriptor: &Descriptor) -> &Arc<File> {
    match descriptor {
        Descriptor::File(file) => &file.file,
        Descriptor::Dir(directory) => &directory.dir,
    }
}

// === impl OpenFiles ===

impl OpenFiles {
    /// Reserves a place for one more open file. The returned value holds the place until the file
    /// is open. Returns `None` if too many files are open.
    fn begin(&mut self) -> Option<Arc<()>> {
        if self.count() >= OPEN_FILES {
            self.known.retain(|_, known| known.file.strong_count() > 0);
        }
        (self.count() < OPEN_FILES).then(|| Arc::clone(&self.opening))
    }

    fn opened(&mut self, file: &Arc<File>, place: Option<Place>) {
        let known = Known {
            file: Arc::downgrade(file),
            place,
        };
        self.known.insert(Arc::as_ptr(file).addr(), known);
    }

    fn quota(&self, directory: &Arc<File>) -> Option<Arc<Quota>> {
        let mut mounts = self.mounts.iter();
        let mount = mounts.find(|(mount, _)| Arc::ptr_eq(mount, directory));
        mount
            .map(|(_, quota)| Arc::clone(quota))
            .or_else(|| self.place(directory).map(|place| place.quota))
    }

    fn place(&self, file: &Arc<File>) -> Option<Place> {
        self.known.get(&Arc::as_ptr(file).addr())?.place.clone()
    }

    /// Returns an upper bound of the number of open files.
    fn count(&self) -> usize {
        self.known.len() + Arc::strong_count(&self.opening) - 1
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn files_count_until_their_last_reader_is_gone() {
        let mut files = OpenFiles::default();
        let mut held = Vec::new();
        for _ in 0..OPEN_FILES {
            let _opening = files.begin().unwrap();
            let file = Arc::new(tempfile::tempfile().unwrap());
            files.opened(&file, None);
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
