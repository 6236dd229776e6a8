//! How much a guest has put into an empty directory, counted as it does so.
//!
//! The directory is empty when counting begins, and the guest changes it through its host calls alone, one at a time: so
//! the sums are exact and nothing is ever scanned.

use std::{
    collections::HashMap,
    fs::File,
    sync::{Arc, Weak},
};

use tokio::sync::{Mutex, OwnedMutexGuard};
use warren_model::spec::EmptyDir;

/// How deep directories may be nested: a bound for those who walk the tree, and for what moving a directory costs.
pub const DEPTH: u32 = 128;
/// What a file system allots: files take whole blocks, a directory or a symbolic link takes one.
pub const BLOCK: u64 = 4096;
/// Files that are known to be open before those that were closed are forgotten.
const KNOWN: usize = 1024;

/// Names a file whatever its names are: a hash of its device and inode.
pub type Key = (u64, u64);

/// The limits of one empty directory and what is used of them. Whoever changes the directory holds the lock.
#[derive(Debug)]
pub struct Quota {
    /// Device and inode of the directory itself.
    root: (u64, u64),
    used: Arc<Mutex<Used>>,
}

/// Held while a guest's call changes the directory; queues nobody beyond the guest's own calls.
pub type Turn = OwnedMutexGuard<Used>;

#[derive(Debug)]
pub struct Used {
    limits: EmptyDir,
    bytes: u64,
    names: u32,
    /// Files that some instance of the guest has open.
    open: HashMap<Key, Opened>,
    /// At so many open files those that were closed are forgotten.
    forget_at: usize,
}

#[derive(Debug, Default)]
struct Opened {
    by: Vec<Weak<File>>,
    /// Bytes of a file whose last name is gone: they are free when the last who has it open is gone too.
    nameless: Option<u64>,
}

/// What there would be too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Bytes,
    Names,
}

/// What a file of this size takes.
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
    /// Bytes and names that are used.
    #[cfg(test)]
    pub fn counted(&self) -> (u64, u32) {
        (self.bytes, self.names)
    }

    /// Whether there is room for one more name that takes so many bytes.
    pub fn admit(&mut self, bytes: u64) -> Result<(), Over> {
        if self.names >= self.limits.inodes {
            return Err(Over::Names);
        }
        if bytes > self.free() {
            return Err(Over::Bytes);
        }
        Ok(())
    }

    /// How large a file of this size may become.
    pub fn largest(&mut self, size: u64) -> u64 {
        let most = blocks(size).saturating_add(self.free());
        // Whole blocks, but never less than it has.
        (most / BLOCK * BLOCK).max(size)
    }

    /// Bytes that may still be used.
    fn free(&mut self) -> u64 {
        if self.limits.size_limit.saturating_sub(self.bytes) < BLOCK {
            self.forget_closed();
        }
        self.limits.size_limit.saturating_sub(self.bytes)
    }

    /// A name was made, of something that takes so many bytes of its own.
    pub fn named(&mut self, bytes: u64) {
        self.names += 1;
        self.bytes += bytes;
    }

    /// A name is gone. `last`: nothing else names what took so many bytes.
    pub fn unnamed(&mut self, last: Option<(Key, u64)>) {
        self.names = self.names.saturating_sub(1);
        let Some((key, bytes)) = last else { return };
        self.settle(key);
        match self.open.get_mut(&key) {
            Some(opened) => opened.nameless = Some(bytes),
            None => self.bytes = self.bytes.saturating_sub(bytes),
        }
    }

    /// A file has another size now.
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

    /// A guest has a file open, and keeps its bytes until it has closed it.
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

    /// Forgets a file that was closed: a new one may have its inode.
    fn settle(&mut self, key: Key) {
        if self.open.get(&key).is_some_and(|opened| !opened.is_open())
            && let Some(closed) = self.open.remove(&key)
        {
            self.bytes = self.bytes.saturating_sub(closed.nameless.unwrap_or(0));
        }
    }

    /// Gives back what files without a name took, once nobody has them open.
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
    fn a_limit_that_is_no_multiple_of_a_block_is_not_exceeded() {
        let mut used = used(2 * BLOCK - 1, 10);
        used.named(0);
        assert_eq!(used.largest(0), BLOCK);
        assert_eq!(used.largest(u64::MAX), u64::MAX);
    }

    #[test]
    fn every_name_counts_and_comes_back() {
        let mut used = used(1 << 20, 2);
        used.named(0);
        used.named(0);
        assert_eq!(used.admit(0), Err(Over::Names));
        // One of two names of a file: its bytes stay.
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
        // It still grows.
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
    fn what_was_closed_is_forgotten_before_it_is_much() {
        let mut used = used(1 << 20, 10);
        for number in 0..10 * KNOWN as u64 {
            used.opened((number, 0), Arc::downgrade(&file()));
        }
        assert!(used.open.len() <= KNOWN, "{}", used.open.len());
    }
}
