//! The memory of all guests of a worker. Each guest is always granted its reserve, and more while
//! the worker has free memory.
//!
//! Growth within a reserve costs three atomic additions. Growth beyond it is a loan, which also
//! costs a compare-and-set that all guests share and, for the first loan of an instance, the lock
//! of its guest. The worker's own lock is taken only when a replica is added or removed, and when
//! loans have to be reclaimed.

mod rules;
mod shortage;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

pub use shortage::Shortage;

use rules::{Ask, Borrower};
use shortage::Kind;

/// The memory that all guests of the worker share. Amounts are in bytes.
#[derive(Debug)]
pub struct MemoryBudget {
    capacity: u64,
    /// The bytes that guests use now.
    used: AtomicU64,
    /// The sum over all guests of what each uses or reserves, whichever is more. It exceeds
    /// `capacity` only while the reserve of a new replica is still lent to others, or if the
    /// reserves together exceed the memory of the worker.
    committed: AtomicU64,
    /// The bytes of instances that were asked to end and have not released them yet.
    returning: AtomicU64,
    replicas: AtomicUsize,
    guests: Mutex<Vec<Weak<GuestMemory>>>,
}

/// The memory of one replica.
#[derive(Debug)]
pub struct ReplicaMemory {
    budget: Arc<MemoryBudget>,
    used: AtomicU64,
    /// The bytes that its guests use beyond their reserves.
    excess: AtomicU64,
}

/// The memory of the service, or of all instances of one component, in one replica.
#[derive(Debug)]
pub struct GuestMemory {
    replica: Arc<ReplicaMemory>,
    reserve: u64,
    used: AtomicU64,
    returning: AtomicU64,
    /// The instances that were granted memory beyond the reserve, by their address.
    borrowers: Mutex<HashMap<usize, Weak<InstanceMemory>>>,
}

/// The memory of one instance. [`Self::release`] returns it.
#[derive(Debug)]
pub struct InstanceMemory {
    guest: Arc<GuestMemory>,
    used: AtomicU64,
    borrows: AtomicBool,
    /// The bytes that it used when it was asked to end; 0 if it was not.
    returning: AtomicU64,
    end: Notify,
}

// === impl MemoryBudget ===

impl MemoryBudget {
    /// Returns a budget of `capacity` bytes.
    pub fn new(capacity: u64) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            used: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            returning: AtomicU64::new(0),
            replicas: AtomicUsize::new(0),
            guests: Mutex::default(),
        })
    }

    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Returns the bytes that guests use now.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Returns the bytes that can still be lent.
    fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.committed.load(Relaxed))
    }

    pub fn replica(self: &Arc<Self>) -> Arc<ReplicaMemory> {
        self.replicas.fetch_add(1, Relaxed);
        Arc::new(ReplicaMemory {
            budget: Arc::clone(self),
            used: AtomicU64::new(0),
            excess: AtomicU64::new(0),
        })
    }

    /// Asks instances that borrow to end until the memory of the rest fits the capacity, beginning
    /// with the replica that exceeds its reserves most. Returns whether it fits.
    fn settle(&self) -> bool {
        let guests = self.guests.lock();
        loop {
            let allowed = self.capacity.saturating_add(self.returning.load(Relaxed));
            if self.used() <= allowed {
                return true;
            }
            let live: Vec<_> = guests.iter().filter_map(Weak::upgrade).collect();
            let borrowers: Vec<_> = live.iter().map(|guest| guest.as_borrower()).collect();
            let mut order = rules::order(&borrowers).into_iter();
            if !order.any(|index| live[index].end_one()) {
                return false;
            }
        }
    }
}

// === impl ReplicaMemory ===

impl ReplicaMemory {
    /// Returns the bytes that its guests use now.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Adds a guest with this reserve, in bytes, which is committed for as long as the guest lives.
    pub fn guest(self: &Arc<Self>, reserve: u64) -> Arc<GuestMemory> {
        let guest = Arc::new(GuestMemory {
            replica: Arc::clone(self),
            reserve,
            used: AtomicU64::new(0),
            returning: AtomicU64::new(0),
            borrowers: Mutex::default(),
        });
        self.budget.committed.fetch_add(reserve, Relaxed);
        let mut guests = self.budget.guests.lock();
        guests.retain(|guest| guest.strong_count() > 0);
        guests.push(Arc::downgrade(&guest));
        drop(guests);
        guest
    }

    /// Borrows this many more bytes from the worker. Returns whether it lends them.
    fn borrow(&self, bytes: u64) -> bool {
        let excess = self.excess.fetch_add(bytes, Relaxed).saturating_add(bytes);
        let budget = &self.budget;
        let ask = Ask {
            bytes,
            excess,
            alone: budget.replicas.load(Relaxed) == 1,
        };
        let lent = budget
            .committed
            .fetch_update(Relaxed, Relaxed, |committed| {
                rules::lends(budget.capacity, committed, ask).then(|| committed + bytes)
            });
        if lent.is_err() {
            self.excess.fetch_sub(bytes, Relaxed);
        }
        lent.is_ok()
    }

    fn repay(&self, bytes: u64) {
        self.budget.committed.fetch_sub(bytes, Relaxed);
        self.excess.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for ReplicaMemory {
    fn drop(&mut self) {
        self.budget.replicas.fetch_sub(1, Relaxed);
    }
}

// === impl GuestMemory ===

impl GuestMemory {
    pub fn instance(self: &Arc<Self>) -> Arc<InstanceMemory> {
        Arc::new(InstanceMemory {
            guest: Arc::clone(self),
            used: AtomicU64::new(0),
            borrows: AtomicBool::new(false),
            returning: AtomicU64::new(0),
            end: Notify::new(),
        })
    }

    /// Counts this many more bytes and returns how many of them are a loan, or `None` if they are
    /// not granted.
    ///
    /// The loan is taken before the bytes are counted, so each change of `used` carries exactly its
    /// own part of the loans even if others grow concurrently.
    fn take(&self, bytes: u64) -> Option<u64> {
        let mut before = self.used.load(Relaxed);
        loop {
            let after = before.checked_add(bytes)?;
            let loan = self.loan(before, after);
            if loan > 0 && !self.replica.borrow(loan) {
                return None;
            }
            match self.used.compare_exchange(before, after, Relaxed, Relaxed) {
                Ok(_) => return Some(loan),
                Err(now) => before = now,
            }
            if loan > 0 {
                self.replica.repay(loan);
            }
        }
    }

    fn put(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Relaxed);
        let loan = self.loan(before - bytes, before);
        if loan > 0 {
            self.replica.repay(loan);
        }
    }

    /// Returns how many bytes of a growth are beyond the reserve.
    fn loan(&self, before: u64, after: u64) -> u64 {
        after.saturating_sub(self.reserve) - before.saturating_sub(self.reserve)
    }

    fn as_borrower(&self) -> Borrower {
        let kept = self
            .used
            .load(Relaxed)
            .saturating_sub(self.returning.load(Relaxed));
        Borrower {
            replica: Arc::as_ptr(&self.replica).addr(),
            excess: kept.saturating_sub(self.reserve),
        }
    }

    /// Asks the largest instance that borrows to end. Returns whether there is one.
    fn end_one(&self) -> bool {
        let borrowers = self.borrowers.lock();
        let borrowers = borrowers.values().filter_map(Weak::upgrade);
        let largest = borrowers
            .map(|instance| (instance.used.load(Relaxed), instance))
            .filter(|(used, instance)| *used > 0 && instance.returning.load(Relaxed) == 0)
            .max_by_key(|(used, _)| *used);
        let Some((used, instance)) = largest else {
            return false;
        };
        instance.returning.store(used, Relaxed);
        self.returning.fetch_add(used, Relaxed);
        self.replica.budget.returning.fetch_add(used, Relaxed);
        instance.end.notify_one();
        true
    }

    fn shortage(&self, kind: Kind) -> Shortage {
        let budget = &self.replica.budget;
        Shortage {
            kind,
            used: self.used.load(Relaxed),
            reserve: self.reserve,
            free: budget.free(),
            capacity: budget.capacity,
        }
    }
}

impl Drop for GuestMemory {
    fn drop(&mut self) {
        let budget = &self.replica.budget;
        budget.committed.fetch_sub(self.reserve, Relaxed);
    }
}

// === impl InstanceMemory ===

impl InstanceMemory {
    /// Grants this many more bytes, or returns why the worker does not.
    pub fn grow(self: &Arc<Self>, bytes: u64) -> Result<(), Shortage> {
        let guest = &self.guest;
        if self.is_ending() {
            return Err(guest.shortage(Kind::TakenBack));
        }
        let refused = || guest.shortage(Kind::Refused);
        let loan = guest.take(bytes).ok_or_else(refused)?;
        if loan > 0 && !self.borrows.swap(true, Relaxed) {
            let mut borrowers = guest.borrowers.lock();
            borrowers.insert(self.address(), Arc::downgrade(self));
        }
        self.used.fetch_add(bytes, Relaxed);
        guest.replica.used.fetch_add(bytes, Relaxed);
        let budget = &guest.replica.budget;
        let used = budget.used.fetch_add(bytes, Relaxed).saturating_add(bytes);
        if used > budget.capacity && !budget.settle() {
            self.give_back(bytes);
            return Err(guest.shortage(Kind::OverAssigned));
        }
        Ok(())
    }

    /// Returns all memory of the instance, which must not grow afterwards.
    pub fn release(&self) {
        self.give_back(self.used.load(Relaxed));
        let guest = &self.guest;
        if self.borrows.load(Relaxed) {
            // Under the lock, it has either been asked to end already or never will be.
            guest.borrowers.lock().remove(&self.address());
        }
        let returned = self.returning.load(Relaxed);
        if returned > 0 {
            guest.returning.fetch_sub(returned, Relaxed);
            guest.replica.budget.returning.fetch_sub(returned, Relaxed);
        }
    }

    fn give_back(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let replica = &self.guest.replica;
        self.used.fetch_sub(bytes, Relaxed);
        replica.used.fetch_sub(bytes, Relaxed);
        replica.budget.used.fetch_sub(bytes, Relaxed);
        self.guest.put(bytes);
    }

    /// Completes when the worker needs the memory for the reserves of others; the instance must
    /// then end. Only one caller may wait.
    pub async fn taken_back(&self) -> Shortage {
        while !self.is_ending() {
            self.end.notified().await;
        }
        self.guest.shortage(Kind::TakenBack)
    }

    /// Returns why it is being ended, if it is because of [`Self::taken_back`].
    pub fn ending(&self) -> Option<Shortage> {
        self.is_ending()
            .then(|| self.guest.shortage(Kind::TakenBack))
    }

    fn is_ending(&self) -> bool {
        self.returning.load(Relaxed) > 0
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}
