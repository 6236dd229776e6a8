//! The memory limits of one instance.

use std::{fmt, sync::Arc};

use wasmtime::ResourceLimiter;

use super::{
    host_memory::Exceeded,
    memory::{InstanceMemory, Shortage},
};

/// The bytes that an element of a table takes.
const ELEMENT_BYTES: usize = size_of::<usize>();
/// The most elements of all tables of one instance. The largest real programs have tens of
/// thousands.
pub(super) const TABLE_ELEMENTS: usize = 100_000;
/// The most core instances, memories and tables of one component.
pub(super) const CORE_INSTANCES: u32 = 200;
pub(super) const MEMORIES: u32 = 20;
pub(super) const TABLES: u32 = 200;

/// Limits the memory of one store, summed over its linear memories and tables, and remembers which
/// limit was reached. The memory that it grants comes from the worker's budget, and is returned
/// when the store is dropped.
pub struct Limiter {
    memory_limit: usize,
    memory_used: usize,
    table_used: usize,
    refused: Option<MemoryLimit>,
    memory: Arc<InstanceMemory>,
}

/// The limit by which a guest was refused more memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    Bytes(usize),
    TableElements(usize),
    /// The worker is short of memory; the guest is within its own limit.
    Worker(Shortage),
    /// The guest makes the worker itself hold too much.
    Host(Exceeded),
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "its limit is {bytes} bytes"),
            Self::TableElements(elements) => {
                write!(f, "its tables may have {elements} elements")
            }
            Self::Worker(shortage) => shortage.fmt(f),
            Self::Host(exceeded) => exceeded.fmt(f),
        }
    }
}

impl Limiter {
    /// Returns a limiter with `memory_limit` in bytes.
    pub fn new(memory_limit: u64, memory: Arc<InstanceMemory>) -> Self {
        Self {
            memory_limit: usize::try_from(memory_limit).unwrap_or(usize::MAX),
            memory_used: 0,
            table_used: 0,
            refused: None,
            memory,
        }
    }

    /// Returns the limit that last refused the guest memory. It distinguishes a later trap from an
    /// ordinary one.
    pub fn refused(&self) -> Option<MemoryLimit> {
        self.refused
    }

    /// Grants `grown` more bytes. Returns whether they are granted.
    fn grow(&mut self, grown: usize) -> bool {
        let total = self.memory_used.saturating_add(grown);
        if total > self.memory_limit {
            self.refused = Some(MemoryLimit::Bytes(self.memory_limit));
            return false;
        }
        if let Err(shortage) = self.memory.grow(grown as u64) {
            self.refused = Some(MemoryLimit::Worker(shortage));
            return false;
        }
        self.memory_used = total;
        true
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.memory.release();
    }
}

/// Returns whether a growth exceeds the maximum of the memory's or table's own type. It then fails
/// in any case, so nothing is granted.
fn exceeds(maximum: Option<usize>, desired: usize) -> bool {
    maximum.is_some_and(|maximum| desired > maximum)
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if exceeds(maximum, desired) {
            return Ok(false);
        }
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = desired.saturating_sub(current);
        let elements = self.table_used.saturating_add(grown);
        if elements > TABLE_ELEMENTS {
            self.refused = Some(MemoryLimit::TableElements(TABLE_ELEMENTS));
            return Ok(false);
        }
        if exceeds(maximum, desired) {
            return Ok(false);
        }
        let allowed = self.grow(grown.saturating_mul(ELEMENT_BYTES));
        if allowed {
            self.table_used = elements;
        }
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    use crate::runtime::memory::MemoryBudget;

    /// Returns the limiter of an instance on a worker with plenty of memory, and the worker's
    /// budget.
    fn limiter(limit: u64) -> (Limiter, Arc<MemoryBudget>) {
        let budget = MemoryBudget::new(u64::MAX);
        let memory = budget.replica().guest(0).instance();
        (Limiter::new(limit, memory), budget)
    }

    #[test]
    fn memory_is_capped_over_all_memories_and_tables_of_the_instance() {
        let (mut limiter, worker) = limiter(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 41, None).unwrap());
        assert_eq!(limiter.refused(), Some(MemoryLimit::Bytes(100)));
        assert!(limiter.table_growing(10, 12, None).unwrap());
        assert!(!limiter.memory_growing(0, 25, None).unwrap());
        assert!(limiter.memory_growing(0, 24, None).unwrap());
        assert!(!limiter.table_growing(12, 13, None).unwrap());
        assert_eq!(worker.used(), 100);
        drop(limiter);
        assert_eq!(worker.used(), 0);
    }

    #[test]
    fn elements_of_tables_have_a_bound_of_their_own() {
        let (mut limiter, _) = limiter(u64::MAX);
        assert!(limiter.table_growing(0, TABLE_ELEMENTS, None).unwrap());
        assert!(!limiter.table_growing(0, 1, None).unwrap());
        let refused = Some(MemoryLimit::TableElements(TABLE_ELEMENTS));
        assert_eq!(limiter.refused(), refused);
    }

    #[test]
    fn growth_that_the_type_forbids_is_not_counted() {
        let (mut limiter, worker) = limiter(100);
        for _ in 0..3 {
            assert!(!limiter.memory_growing(10, 60, Some(50)).unwrap());
            assert!(!limiter.table_growing(1, 6, Some(5)).unwrap());
        }
        assert_eq!((worker.used(), limiter.refused()), (0, None));
        assert!(limiter.memory_growing(10, 50, Some(50)).unwrap());
        assert_eq!(worker.used(), 40);
    }

    #[test]
    fn the_worker_may_refuse_what_the_limit_allows() {
        let budget = MemoryBudget::new(100);
        let (replica, _other) = (budget.replica(), budget.replica());
        let mut limiter = Limiter::new(1000, replica.guest(50).instance());
        assert!(limiter.memory_growing(0, 50, None).unwrap());
        assert_eq!(limiter.refused(), None);
        assert!(!limiter.memory_growing(50, 101, None).unwrap());
        assert!(matches!(limiter.refused(), Some(MemoryLimit::Worker(_))));
    }

    #[test]
    fn hostile_sizes_do_not_overflow() {
        let (mut limiter, _) = limiter(u64::MAX - 1);
        assert!(limiter.memory_growing(0, 1, None).unwrap());
        assert!(!limiter.memory_growing(0, usize::MAX, None).unwrap());
        assert!(!limiter.table_growing(0, usize::MAX, None).unwrap());
        let (mut limiter, _) = self::limiter(1 << 20);
        assert!(!limiter.memory_growing(1, usize::MAX, None).unwrap());
    }
}
