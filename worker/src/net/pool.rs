//! What the buffers of one network may hold together.

use std::{
    cmp,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::NetLimits;

/// What every direction of a connection may hold whatever the others do, in bytes: so nobody who reads is kept from
/// reading on by those who do not. Of small default buffers it is a sixteenth.
const FLOOR: usize = 4 << 10;

/// Bytes that buffers have taken. Streams ask for what they hold beyond their floor, UDP for everything.
#[derive(Debug)]
pub(super) struct Pool {
    limit: usize,
    /// Of each direction of a connection, in bytes.
    pub floor: usize,
    taken: AtomicUsize,
}

impl Pool {
    pub fn new(limits: &NetLimits) -> Self {
        Self {
            limit: limits.buffered,
            floor: FLOOR.min(limits.buffer / 16),
            taken: AtomicUsize::new(0),
        }
    }

    /// Takes up to `most` bytes, and returns how many there were.
    pub fn take(&self, most: usize) -> usize {
        let mut got = 0;
        let taken = self
            .taken
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                got = cmp::min(most, self.limit.saturating_sub(taken));
                (got > 0).then(|| taken + got)
            });
        taken.map_or(0, |_| got)
    }

    /// Takes all of it or nothing.
    pub fn take_all(&self, bytes: usize) -> bool {
        let fits = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= self.limit);
        let taken = self
            .taken
            .try_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.is_ok()
    }

    pub fn give(&self, bytes: usize) {
        if bytes > 0 {
            self.taken.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// What can be taken at this moment.
    pub fn left(&self) -> usize {
        self.limit.saturating_sub(self.taken())
    }

    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::thread;

    use super::*;

    fn pool(buffered: usize) -> Pool {
        Pool::new(&NetLimits {
            buffered,
            ..NetLimits::default()
        })
    }

    #[test]
    fn no_more_is_taken_than_there_is() {
        let pool = pool(100);
        assert_eq!(pool.take(60), 60);
        assert!(!pool.take_all(41));
        assert_eq!(pool.take(60), 40);
        assert_eq!((pool.take(1), pool.left()), (0, 0));
        pool.give(30);
        assert!(pool.take_all(30));
        assert!(!pool.take_all(usize::MAX));
    }

    #[test]
    fn many_at_once_take_no_more_than_one_by_one() {
        let pool = pool(1_000);
        thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    for n in 0..20_000 {
                        let got = pool.take(n % 700);
                        assert!(pool.taken() <= 1_000);
                        pool.give(got);
                    }
                });
            }
        });
        assert_eq!(pool.taken(), 0);
    }
}
