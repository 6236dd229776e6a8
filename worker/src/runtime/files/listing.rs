//! `read-directory` of `wasi:filesystem` 0.3.
//!
//! wasmtime's own implementation occupies a thread of the worker until the guest has read all
//! entries, so a few hundred streams that are never read would block all others. Here a thread
//! reads a few entries at a time, when the guest asks for more.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustix::fs::{AtFlags, Dir, FileType};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::{
    StoreContextMut,
    component::{Destination, FutureReader, Resource, StreamProducer, StreamReader, StreamResult},
};
use wasmtime_wasi::{
    filesystem::{Descriptor, WasiFilesystemView as _},
    p3::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode},
};

use crate::runtime::Guest;

/// The number of entries that are read at once. A long listing needs no memory for more than these.
const BATCH: usize = 64;

type Outcome = FutureReader<Result<(), ErrorCode>>;

/// Some entries, and the rest of the directory unless these are the last.
type Batch = Result<(VecDeque<DirectoryEntry>, Option<Dir>), ErrorCode>;

/// The entries of a directory on their way to the guest.
struct Listing {
    read: VecDeque<DirectoryEntry>,
    next: Next,
    outcome: Option<oneshot::Sender<Result<(), ErrorCode>>>,
    /// Its descriptor is one of those that the guest has open.
    _open: Arc<()>,
}

enum Next {
    /// The directory is not open for reading yet.
    Directory(Arc<File>),
    Entries(Dir),
    Reading(AbortOnDropHandle<Batch>),
    End,
}

pub(super) fn read_directory(
    mut store: StoreContextMut<'_, Guest>,
    directory: &Resource<Descriptor>,
) -> wasmtime::Result<(StreamReader<DirectoryEntry>, Outcome)> {
    let (told, outcome) = oneshot::channel();
    let guest = store.data_mut();
    let directory = match guest.filesystem().table.get(directory)? {
        Descriptor::Dir(dir) => Ok(Arc::clone(&dir.dir)),
        Descriptor::File(_) => Err(ErrorCode::NotDirectory),
    };
    let open = guest.files().begin().ok_or(ErrorCode::InsufficientMemory);
    let entries = match directory.and_then(|directory| Ok((directory, open?))) {
        Ok((directory, open)) => {
            let listing = Listing {
                read: VecDeque::new(),
                next: Next::Directory(directory),
                outcome: Some(told),
                _open: open,
            };
            StreamReader::new(&mut store, listing)?
        }
        Err(code) => {
            // The receiver is used below.
            let _ = told.send(Err(code));
            StreamReader::new(&mut store, std::iter::empty())?
        }
    };
    Ok((entries, FutureReader::new(&mut store, outcome)?))
}

// === impl Listing ===

impl Listing {
    fn end(&mut self, how: Result<(), ErrorCode>) -> StreamResult {
        self.next = Next::End;
        if let Some(outcome) = self.outcome.take() {
            // A guest that is not interested has dropped the future.
            let _ = outcome.send(how);
        }
        StreamResult::Dropped
    }

    /// Returns the next entry, or `None` if there are no more.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<DirectoryEntry>, ErrorCode>> {
        loop {
            if let Some(entry) = self.read.pop_front() {
                return Poll::Ready(Ok(Some(entry)));
            }
            self.next = match std::mem::replace(&mut self.next, Next::End) {
                Next::End => return Poll::Ready(Ok(None)),
                Next::Directory(directory) => Next::read(move || {
                    let entries = Dir::read_from(&directory).map_err(io::Error::from)?;
                    batch(entries)
                }),
                Next::Entries(entries) => Next::read(move || batch(entries)),
                Next::Reading(mut reading) => match Pin::new(&mut reading).poll(cx) {
                    Poll::Pending => {
                        self.next = Next::Reading(reading);
                        return Poll::Pending;
                    }
                    Poll::Ready(done) => {
                        let done = done.map_err(|_| ErrorCode::Io).flatten();
                        let (read, rest) = match done {
                            Ok(done) => done,
                            Err(code) => return Poll::Ready(Err(code)),
                        };
                        self.read = read;
                        rest.map_or(Next::End, Next::Entries)
                    }
                },
            };
        }
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}

impl StreamProducer<Guest> for Listing {
    type Item = DirectoryEntry;
    type Buffer = Option<DirectoryEntry>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, Guest>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        // A read without capacity asks whether data is available. An entry is never far away, so
        // the answer is yes.
        if destination.remaining(&mut store) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        match self.poll_next(cx) {
            Poll::Ready(Ok(Some(entry))) => {
                destination.set_buffer(Some(entry));
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Ready(Ok(None)) => Poll::Ready(Ok(self.end(Ok(())))),
            Poll::Ready(Err(code)) => Poll::Ready(Ok(self.end(Err(code)))),
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }
}

// === impl Next ===

impl Next {
    fn read(batch: impl FnOnce() -> Batch + Send + 'static) -> Self {
        Self::Reading(AbortOnDropHandle::new(tokio::task::spawn_blocking(batch)))
    }
}

fn batch(mut entries: Dir) -> Batch {
    let mut read = VecDeque::with_capacity(BATCH);
    while read.len() < BATCH {
        let Some(entry) = entries.read() else {
            return Ok((read, None));
        };
        let entry = entry.map_err(io::Error::from)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let file_type = match entry.file_type() {
            // Not every file system stores types in its directories.
            FileType::Unknown => {
                let directory = entries.fd().map_err(io::Error::from)?;
                let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
                FileType::from_raw_mode(stat.map_err(io::Error::from)?.st_mode)
            }
            file_type => file_type,
        };
        let name = name.to_str().map_err(|_| ErrorCode::IllegalByteSequence)?;
        read.push_back(DirectoryEntry {
            type_: type_of(file_type),
            name: name.to_owned(),
        });
    }
    Ok((read, Some(entries)))
}

fn type_of(file_type: FileType) -> DescriptorType {
    match file_type {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::Fifo => DescriptorType::Fifo,
        FileType::Socket => DescriptorType::Socket,
        _ => DescriptorType::Other(None),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{collections::HashSet, fs, future::poll_fn};

    use super::*;

    fn listing(path: &std::path::Path) -> Listing {
        Listing {
            read: VecDeque::new(),
            next: Next::Directory(Arc::new(File::open(path).unwrap())),
            outcome: None,
            _open: Arc::default(),
        }
    }

    #[tokio::test]
    async fn every_entry_comes_once_with_its_type() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..3 * BATCH {
            fs::write(dir.path().join(number.to_string()), "").unwrap();
        }
        fs::create_dir(dir.path().join("dir")).unwrap();
        std::os::unix::fs::symlink("dir", dir.path().join("link")).unwrap();
        let mut listing = listing(dir.path());
        let mut names = HashSet::new();
        while let Some(entry) = poll_fn(|cx| listing.poll_next(cx)).await.unwrap() {
            match entry.name.as_str() {
                "dir" => assert!(matches!(entry.type_, DescriptorType::Directory)),
                "link" => assert!(matches!(entry.type_, DescriptorType::SymbolicLink)),
                _ => assert!(matches!(entry.type_, DescriptorType::RegularFile)),
            }
            assert!(names.insert(entry.name.clone()), "{}", entry.name);
        }
        assert_eq!(names.len(), 3 * BATCH + 2);
    }

    #[test]
    fn unread_listings_keep_no_thread() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..3 * BATCH {
            fs::write(dir.path().join(number.to_string()), "").unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(2)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut held: Vec<_> = (0..20).map(|_| listing(dir.path())).collect();
            for listing in &mut held {
                poll_fn(|cx| listing.poll_next(cx)).await.unwrap().unwrap();
            }
            tokio::task::spawn_blocking(|| ()).await.unwrap();
        });
    }
}
