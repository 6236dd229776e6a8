//! Counts how much a guest stores in an empty directory, as it changes it.
//!
//! The directory is empty when counting begins, and the guest changes it only through its host
//! calls, one at a time. The sums are therefore exact, and the directory is never scanned.

use std::{
    collections::HashMap,
    fs::File,
    sync::{Arc, Weak},
};

use tokio::sync::{Mutex, OwnedMutexGuard};
use warren_model::spec::EmptyDir;

/// How deep directories may be nested. This bounds walks of the tree and the cost of moving a
/// directory.
pub const DEPTH: u32 = 128;
/// The unit in which a file system allocates, in bytes. Files take whole blocks; a directory or a
/// symbolic link takes one.
pub const BLOCK: u64 = 4096;
/// How many open files are tracked before closed ones are forgotten.
const KNOWN: usize = 1024;

/// Identifies a file independently of its names: a hash of its device and inode.
pub type Key = (u64, u64);

/// The limits of one empty directory and how much of them is used. A call that changes the
/// directory must hold the lock.
#[derive(Debug)]
pub struct Quota {
    /// Device and inode of the directory itself.
    root: (u64, u64),
    used: Arc<Mutex<Used>>,
}

/// Held while a guest's call changes the directory. Only calls of the same guest wait for it.
pub type Turn = OwnedMutexGuard<Used>;

#[derive(Debug)]
pub struct Used {
    limits: EmptyDir,
    bytes: u64,
    names: u32,
    /// Files that some instance of the guest has open.
    open: HashMap<Key, Opened>,
    /// The number of tracked files at which closed ones are forgotten.
    forget_at: usize,
}

#[derive(Debug, Default)]
struct Opened {
    by: Vec<Weak<File>>,
    /// The bytes of a file whose last name was removed. They are freed once no instance has it
    /// open.
    nameless: Option<u64>,
}

/// The limit that would be exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Bytes,
    Names,
}

/// Returns how many bytes of disk a file of this size takes.
pub fn blocks(size: u64) -> u64 {
    size.div_ceil(BLOCK).saturating_mul(BLOCK)
}

// === impl Quota ===

impl Quota {
    pub fn new(limits: EmptyDir, root: (u64, u64)) -> Self {
        let used = Used {
            limits,
            bytes: 0,
            names: 0,
            open: HashMap::new(),
            forget_at: KNOWN,
        };
        Self {
            root,
            used: Arc::new(Mutex::new(used)),
        }
    }

    /// Waits until no other call changes the directory.
    pub async fn turn(&self) -> Turn {
        Arc::clone(&self.used).lock_owned().await
    }

    pub fn root(&self) -> (u64, u64) {
        self.root
    }
}

// === impl Used ===

impl Used {
    /// Returns the used bytes and names.
    #[cfg(test)]
    pub fn counted(&self) -> (u64, u32) {
        (self.bytes, self.names)
    }

    /// Checks that there is room for one more name that takes this many bytes.
    pub fn admit(&mut self, bytes: u64) -> Result<(), Over> {
        if self.names >= self.limits.inodes {
            return Err(Over::Names);
        }
        if bytes > self.free() {
            return Err(Over::Bytes);
        }
        Ok(())
    }

    /// Returns how large a file of this size may become.
    pub fn largest(&mut self, size: u64) -> u64 {
        let most = blocks(size).saturating_add(self.free());
        // Rounded down to whole blocks, but never below its present size.
        (most / BLOCK * BLOCK).max(size)
    }

    /// Returns how many bytes may still be used.
    fn free(&mut self) -> u64 {
        if self.limits.size_limit.saturating_sub(self.bytes) < BLOCK {
            self.forget_closed();
        }
        self.limits.size_limit.saturating_sub(self.bytes)
    }

    /// Records a new name, for a file or directory that initially takes this many bytes.
    pub fn named(&mut self, bytes: u64) {
        self.names += 1;
        self.bytes += bytes;
    }

    /// Records that a name was removed. `last` is given if it was the file's last name, with the
    /// bytes that the file takes.
    pub fn unnamed(&mut self, last: Option<(Key, u64)>) {
        self.names = self.names.saturating_sub(1);
        let Some((key, bytes)) = last else { return };
        self.settle(key);
        match self.open.get_mut(&key) {
            Some(opened) => opened.nameless = Some(bytes),
            None => self.bytes = self.bytes.saturating_sub(bytes),
        }
    }

    /// Records that a file's size has changed.
    pub fn resized(&mut self, key: Key, from: u64, to: u64) {
        self.settle(key);
        let (from, to) = (blocks(from), blocks(to));
        let count = |bytes: u64| bytes.saturating_add(to).saturating_sub(from);
        self.bytes = count(self.bytes);
        if let Some(Opened {
            nameless: Some(bytes),
            ..
        }) = self.open.get_mut(&key)
        {
            *bytes = count(*bytes);
        }
    }

    /// Records that a guest has opened a file, which keeps its bytes in use until it is closed.
    pub fn opened(&mut self, key: Key, by: Weak<File>) {
        if self.open.len() >= self.forget_at {
            self.forget_closed();
            self.forget_at = (2 * self.open.len()).max(KNOWN);
        }
        self.settle(key);
        let opened = self.open.entry(key).or_default();
        opened.by.retain(|file| file.strong_count() > 0);
        opened.by.push(by);
    }

    /// Forgets a file if it was closed, as a new file may have the same inode.
    fn settle(&mut self, key: Key) {
        if self.open.get(&key).is_some_and(|opened| !opened.is_open())
            && let Some(closed) = self.open.remove(&key)
        {
            self.bytes = self.bytes.saturating_sub(closed.nameless.unwrap_or(0));
        }
    }

    /// Frees the bytes of files without a name that are no longer open.
    fn forget_closed(&mut self) {
        let bytes = &mut self.bytes;
        self.open.retain(|_, opened| {
            let open = opened.is_open();
            if !open {
                *bytes = bytes.saturating_sub(opened.nameless.unwrap_or(0));
            }
            open
        });
    }
}

// === impl Opened ===

impl Opened {
    fn is_open(&self) -> bool {
        self.by.iter().any(|file| file.strong_count() > 0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn used(size_limit: u64, inodes: u32) -> Used {
        let limits = EmptyDir { size_limit, inodes };
        let quota = Quota::new(limits, (0, 0));
        Arc::into_inner(quota.used).unwrap().into_inner()
    }

    fn file() -> Arc<File> {
        Arc::new(tempfile::tempfile().unwrap())
    }

    #[test]
    fn bytes_are_those_of_whole_blocks() {
        let mut used = used(3 * BLOCK, 10);
        used.named(BLOCK);
        used.named(0);
        assert_eq!(used.largest(0), 2 * BLOCK);
        used.resized((1, 1), 0, 1);
        assert_eq!((used.bytes, used.largest(1)), (2 * BLOCK, 2 * BLOCK));
        assert_eq!(used.admit(BLOCK), Ok(()));
        used.resized((1, 1), 1, BLOCK + 1);
        assert_eq!(used.admit(BLOCK), Err(Over::Bytes));
        assert_eq!(used.admit(0), Ok(()));
        assert_eq!(used.largest(BLOCK + 1), 2 * BLOCK);
        used.resized((1, 1), BLOCK + 1, 0);
        used.unnamed(Some(((2, 2), BLOCK)));
        assert_eq!(used.bytes, 0);
    }

    #[test]
    fn a_limit_that_is_not_a_multiple_of_a_block_is_not_exceeded() {
        let mut used = used(2 * BLOCK - 1, 10);
        used.named(0);
        assert_eq!(used.largest(0), BLOCK);
        assert_eq!(used.largest(u64::MAX), u64::MAX);
    }

    #[test]
    fn every_name_counts_until_it_is_removed() {
        let mut used = used(1 << 20, 2);
        used.named(0);
        used.named(0);
        assert_eq!(used.admit(0), Err(Over::Names));
        // One of two names of a file is removed: its bytes stay.
        used.resized((1, 1), 0, BLOCK);
        used.unnamed(None);
        assert_eq!((used.admit(0), used.bytes), (Ok(()), BLOCK));
        used.unnamed(Some(((1, 1), BLOCK)));
        assert_eq!((used.names, used.bytes), (0, 0));
    }

    #[test]
    fn a_file_without_a_name_counts_until_it_is_closed() {
        let mut used = used(2 * BLOCK, 10);
        let (key, held) = ((1, 1), file());
        used.named(0);
        used.opened(key, Arc::downgrade(&held));
        used.resized(key, 0, BLOCK);
        used.unnamed(Some((key, BLOCK)));
        assert_eq!((used.largest(0), used.bytes), (BLOCK, BLOCK));
        // The file can still grow.
        used.resized(key, BLOCK, 2 * BLOCK);
        assert_eq!(used.largest(0), 0);
        drop(held);
        assert_eq!(used.largest(0), 2 * BLOCK);
        assert!(used.open.is_empty());
    }

    #[test]
    fn a_new_file_with_the_inode_of_an_old_one_is_another_file() {
        let mut used = used(10 * BLOCK, 10);
        let (key, old) = ((1, 1), file());
        used.named(0);
        used.opened(key, Arc::downgrade(&old));
        used.resized(key, 0, 3 * BLOCK);
        used.unnamed(Some((key, 3 * BLOCK)));
        drop(old);
        let new = file();
        used.named(0);
        used.opened(key, Arc::downgrade(&new));
        used.resized(key, 0, BLOCK);
        assert_eq!(used.bytes, BLOCK);
        drop(new);
        used.forget_closed();
        assert_eq!(used.bytes, BLOCK, "it has a name");
    }

    #[test]
    fn closed_files_are_forgotten_in_time() {
        let mut used = used(1 << 20, 10);
        for number in 0..10 * KNOWN as u64 {
            used.opened((number, 0), Arc::downgrade(&file()));
        }
        assert!(used.open.len() <= KNOWN, "{}", used.open.len());
    }
}
