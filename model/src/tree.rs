//! Removes directories that another program has filled, whatever they contain.
//!
//! A guest can nest directories deeper than a stack, a path or a table of descriptors allows for.
//! So nothing here recurses or follows a path of more than one segment: a directory's own
//! directories are moved to the top, one level at a time, and removed from there. Symbolic links
//! are removed, never followed.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags},
    io::Errno,
};

/// The number of passes over a directory that may remove nothing although it lists entries, because
/// another process may be removing them too.
const IDLE_PASSES: u32 = 3;

/// One removal.
struct Removal<'a> {
    /// Directories that are not empty are moved here.
    top: OwnedFd,
    /// How the next one is named there.
    next: u64,
    go_on: &'a dyn Fn() -> bool,
}

/// Removes a directory with everything in it, or a file, or a link itself. Needs four descriptors,
/// and memory that does not grow with the contents. An entry that cannot be removed stays, with its
/// parent directories; everything else is removed.
pub fn remove(path: &Path) -> io::Result<()> {
    remove_while(path, &|| true)
}

/// Removes as [`remove`] does. Fails with `Interrupted` soon after `go_on` returns false; the rest
/// can be removed later.
pub fn remove_while(path: &Path, go_on: &dyn Fn() -> bool) -> io::Result<()> {
    let top = match open(CWD, path) {
        // A link too, which is not followed.
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok(rustix::fs::unlink(path)?),
        top => top?,
    };
    let mut removal = Removal {
        top,
        next: 0,
        go_on,
    };
    removal.empty()?;
    Ok(rustix::fs::rmdir(path)?)
}

// === impl Removal ===

impl Removal<'_> {
    /// Removes all that the top holds, and what its directories hold by way of the top.
    fn empty(&mut self) -> io::Result<()> {
        let mut idle = 0;
        loop {
            let (mut seen, mut removed, mut failed) = (false, false, None);
            for entry in Dir::read_from(&self.top)? {
                let entry = entry?;
                if is_dots(entry.file_name()) {
                    continue;
                }
                if !(self.go_on)() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                seen = true;
                match self.remove_entry(entry.file_name(), entry.file_type()) {
                    Ok(()) => removed = true,
                    Err(Errno::NOENT) => {}
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            if !seen {
                return Ok(());
            }
            idle = if removed { 0 } else { idle + 1 };
            match failed {
                Some(error) if !removed => return Err(error.into()),
                _ if idle == IDLE_PASSES => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
                _ => {}
            }
        }
    }

    /// Removes one entry of the top.
    fn remove_entry(&mut self, name: &CStr, file_type: FileType) -> Result<(), Errno> {
        if remove_simple(&self.top, name, file_type)? {
            return Ok(());
        }
        let directory = open(&self.top, name)?;
        self.hoist(&directory)?;
        rustix::fs::unlinkat(&self.top, name, AtFlags::REMOVEDIR)
    }

    /// Empties a directory: what it holds is removed or, if that is more than one step, moved to
    /// the top.
    fn hoist(&mut self, directory: &OwnedFd) -> Result<(), Errno> {
        loop {
            let (mut moved, mut failed) = (false, None);
            for entry in Dir::read_from(directory)? {
                let entry = entry?;
                let name = entry.file_name();
                if is_dots(name) {
                    continue;
                }
                if !(self.go_on)() {
                    return Err(Errno::INTR);
                }
                let done = remove_simple(directory, name, entry.file_type()).and_then(|gone| {
                    if gone {
                        Ok(())
                    } else {
                        self.lift(directory, name)
                    }
                });
                match done {
                    Ok(()) => moved = true,
                    Err(Errno::NOENT) => {}
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            // Entries that were added or moved while they were read may have been missed.
            match failed {
                Some(error) if !moved => return Err(error),
                _ if !moved => return Ok(()),
                _ => {}
            }
        }
    }

    /// Moves a directory to the top, under a name that is free there.
    fn lift(&mut self, from: &OwnedFd, name: &CStr) -> Result<(), Errno> {
        let mut granted = false;
        loop {
            let free = format!("{:x}", self.next);
            match rustix::fs::renameat(from, name, &self.top, free) {
                // Not of this process's making: the number is taken.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => self.next += 1,
                // Its `..` changes, which takes the right to write to it.
                Err(Errno::ACCESS) if !granted => {
                    grant(from, name)?;
                    granted = true;
                }
                lifted => {
                    self.next += 1;
                    return lifted;
                }
            }
        }
    }
}

/// Removes a file or an empty directory. Returns `false` for a directory that is not empty.
fn remove_simple(directory: &OwnedFd, name: &CStr, file_type: FileType) -> Result<bool, Errno> {
    if file_type != FileType::Directory {
        match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            // Not every file system lists types.
            Err(Errno::ISDIR) => {}
            Err(Errno::PERM) if file_type == FileType::Unknown => {}
            removed => return removed.map(|()| true),
        }
    }
    match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        removed => removed.map(|()| true),
    }
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// Opens a directory, never by a link, with the rights to empty it.
fn open<P: rustix::path::Arg + Copy>(
    at: impl std::os::fd::AsFd + Copy,
    name: P,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(at, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            grant(at, name)?;
            rustix::fs::openat(at, name, flags, Mode::empty())?
        }
        opened => opened?,
    };
    if rustix::fs::fstat(&opened)?.st_mode & Mode::RWXU.bits() != Mode::RWXU.bits() {
        // Where this is refused, the removal is too, and says why.
        let _ = rustix::fs::fchmod(&opened, Mode::RWXU);
    }
    Ok(opened)
}

/// Gives the owner every right to a directory, which may be one that cannot be opened.
fn grant<P: rustix::path::Arg>(at: impl std::os::fd::AsFd, name: P) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::openat(at, name, flags, Mode::empty())?;
    // The one way to the directory itself: `fchmod` takes no such descriptor, and a name may be a
    // link by now.
    let itself = format!("/proc/self/fd/{}", found.as_raw_fd());
    rustix::fs::chmod(itself, Mode::RWXU)
}

#[cfg(test)]
mod tests;
