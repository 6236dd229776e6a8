//! The bound on what all buffers of one network hold together.

use std::{
    cmp,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Ledger, NetLimits};

/// How many bytes each direction of a connection may hold whatever the others do, so that a reader
/// that keeps reading is not stalled by readers that do not. With a small default buffer it is a
/// sixteenth of the buffer.
const FLOOR: usize = 4 << 10;

/// The account of bytes that buffers have taken. Streams take what they hold beyond their floor,
/// UDP sockets all that they hold.
pub(super) struct Pool {
    limit: usize,
    /// An account shared with others, in which the same bytes are counted.
    ledger: OnceLock<Arc<dyn Ledger>>,
    /// How many bytes each direction of a connection may hold without taking them from the pool.
    pub floor: usize,
    taken: AtomicUsize,
}

impl Pool {
    pub fn new(limits: &NetLimits) -> Self {
        Self {
            limit: limits.buffered,
            ledger: OnceLock::new(),
            floor: FLOOR.min(limits.buffer / 16),
            taken: AtomicUsize::new(0),
        }
    }

    /// Also counts in `ledger` what is taken from now on. Only the first call has an effect.
    pub fn count_in(&self, ledger: Arc<dyn Ledger>) {
        let _ = self.ledger.set(ledger);
    }

    /// Takes up to `most` bytes and returns how many it took.
    pub fn take(&self, most: usize) -> usize {
        let most = cmp::min(most, self.ledger.get().map_or(most, |ledger| ledger.free()));
        let limit = self.limit();
        let mut got = 0;
        let taken = self
            .taken
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                got = cmp::min(most, limit.saturating_sub(taken));
                (got > 0).then(|| taken + got)
            });
        match taken {
            Ok(_) if self.is_counted(got) => got,
            _ => 0,
        }
    }

    /// Takes all of the bytes or none, and returns whether it took them.
    pub fn take_all(&self, bytes: usize) -> bool {
        let limit = self.limit();
        let fits = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= limit);
        let taken = self
            .taken
            .try_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.is_ok() && self.is_counted(bytes)
    }

    /// Counts in the ledger what was taken from the pool, or returns it to the pool if the ledger
    /// refuses it.
    fn is_counted(&self, bytes: usize) -> bool {
        let is_counted = self.ledger.get().is_none_or(|ledger| ledger.take(bytes));
        if !is_counted {
            self.taken.fetch_sub(bytes, Ordering::Relaxed);
        }
        is_counted
    }

    pub fn give(&self, bytes: usize) {
        if bytes > 0 {
            self.taken.fetch_sub(bytes, Ordering::Relaxed);
            if let Some(ledger) = self.ledger.get() {
                ledger.give(bytes);
            }
        }
    }

    /// Returns how many bytes can be taken at this moment.
    pub fn left(&self) -> usize {
        let left = self.limit().saturating_sub(self.taken());
        self.ledger
            .get()
            .map_or(left, |ledger| cmp::min(left, ledger.free()))
    }

    fn limit(&self) -> usize {
        self.ledger
            .get()
            .map_or(self.limit, |ledger| cmp::min(self.limit, ledger.most()))
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
    fn no_more_is_taken_than_is_left() {
        let pool = pool(100);
        assert_eq!(pool.take(60), 60);
        assert!(!pool.take_all(41));
        assert_eq!(pool.take(60), 40);
        assert_eq!((pool.take(1), pool.left()), (0, 0));
        pool.give(30);
        assert!(pool.take_all(30));
        assert!(!pool.take_all(usize::MAX));
    }

    /// Another user of the same memory.
    #[derive(Default)]
    struct Shared(AtomicUsize);

    impl Ledger for Shared {
        fn most(&self) -> usize {
            60
        }

        fn free(&self) -> usize {
            80_usize.saturating_sub(self.0.load(Ordering::Relaxed))
        }

        fn take(&self, bytes: usize) -> bool {
            let fits = |used| Some(used + bytes).filter(|used| *used <= 80);
            let used = &self.0;
            used.try_update(Ordering::Relaxed, Ordering::Relaxed, fits)
                .is_ok()
        }

        fn give(&self, bytes: usize) {
            self.0.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_taken_is_counted_in_the_ledger_and_bounded_by_it() {
        let pool = pool(100);
        let ledger = Arc::new(Shared::default());
        pool.count_in(ledger.clone());
        assert_eq!((pool.left(), pool.take(70)), (60, 60));
        assert_eq!((ledger.free(), pool.left()), (20, 0));
        pool.give(60);
        assert_eq!(ledger.free(), 80);
        assert!(ledger.take(50), "another user");
        assert_eq!(pool.left(), 30);
        assert!(!pool.take_all(31));
        assert_eq!((pool.taken(), ledger.free()), (0, 30));
        assert_eq!(pool.take(50), 30);
        pool.give(30);
        assert_eq!((pool.taken(), ledger.free()), (0, 30));
    }

    #[test]
    fn concurrent_takers_do_not_exceed_the_limit() {
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
