//! What one instance may take of the machine's memory.

use std::{fmt, sync::Arc};

use wasmtime::ResourceLimiter;

use super::usage::ReplicaUsage;

/// What an element of a table takes, in bytes.
const ELEMENT_BYTES: usize = size_of::<usize>();
/// Elements over all tables of one instance. The largest of real programs have tens of thousands.
pub(super) const TABLE_ELEMENTS: usize = 100_000;
/// Core instances, memories and tables of one component.
const CORE_INSTANCES: usize = 200;
const MEMORIES: usize = 20;
const TABLES: usize = 200;

/// Caps the memory of one store, summed over its linear memories and tables, and remembers which cap was hit.
pub struct Limiter {
    memory_limit: usize,
    memory_used: usize,
    table_used: usize,
    refused: Option<MemoryLimit>,
    usage: Arc<ReplicaUsage>,
}

/// Which limit refused a guest more memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    Bytes(usize),
    TableElements(usize),
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "its limit is {bytes} bytes"),
            Self::TableElements(elements) => {
                write!(f, "its tables may have {elements} elements")
            }
        }
    }
}

impl Limiter {
    /// `memory_limit` in bytes.
    pub fn new(memory_limit: u64, usage: Arc<ReplicaUsage>) -> Self {
        Self {
            memory_limit: usize::try_from(memory_limit).unwrap_or(usize::MAX),
            memory_used: 0,
            table_used: 0,
            refused: None,
            usage,
        }
    }

    /// What last refused the guest memory: how a later trap is told from an ordinary one.
    pub fn refused(&self) -> Option<MemoryLimit> {
        self.refused
    }

    /// `grown` in bytes.
    fn grow(&mut self, grown: usize) -> bool {
        let total = self.memory_used.saturating_add(grown);
        if total > self.memory_limit {
            self.refused = Some(MemoryLimit::Bytes(self.memory_limit));
            return false;
        }
        self.memory_used = total;
        self.usage.grew(grown as u64);
        true
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.usage.shrank(self.memory_used as u64);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = desired.saturating_sub(current);
        let elements = self.table_used.saturating_add(grown);
        if elements > TABLE_ELEMENTS {
            self.refused = Some(MemoryLimit::TableElements(TABLE_ELEMENTS));
            return Ok(false);
        }
        let allowed = self.grow(grown.saturating_mul(ELEMENT_BYTES));
        if allowed {
            self.table_used = elements;
        }
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }

    fn tables(&self) -> usize {
        TABLES
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    use crate::net::{NetLimits, Network};
    use crate::runtime::usage::MemoryMeter;

    fn usage(worker: &Arc<MemoryMeter>) -> Arc<ReplicaUsage> {
        let network = Network::new(NetLimits::default());
        Arc::new(ReplicaUsage::new(network, Arc::clone(worker)))
    }

    #[test]
    fn memory_is_capped_over_all_memories_and_tables_of_the_instance() {
        let worker = Arc::default();
        let usage = usage(&worker);
        let mut limiter = Limiter::new(100, Arc::clone(&usage));
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 41, None).unwrap());
        assert_eq!(limiter.refused(), Some(MemoryLimit::Bytes(100)));
        assert!(limiter.table_growing(10, 12, None).unwrap());
        assert!(!limiter.memory_growing(0, 25, None).unwrap());
        assert!(limiter.memory_growing(0, 24, None).unwrap());
        assert!(!limiter.table_growing(12, 13, None).unwrap());
        assert_eq!((usage.memory_bytes(), worker.used()), (100, 100));
        drop(limiter);
        assert_eq!((usage.memory_bytes(), worker.used()), (0, 0));
    }

    #[test]
    fn elements_of_tables_have_a_bound_of_their_own() {
        let mut limiter = Limiter::new(u64::MAX, usage(&Arc::default()));
        assert!(limiter.table_growing(0, TABLE_ELEMENTS, None).unwrap());
        assert!(!limiter.table_growing(0, 1, None).unwrap());
        let refused = Some(MemoryLimit::TableElements(TABLE_ELEMENTS));
        assert_eq!(limiter.refused(), refused);
    }

    #[test]
    fn hostile_sizes_do_not_overflow() {
        let usage = usage(&Arc::default());
        let mut limiter = Limiter::new(u64::MAX - 1, Arc::clone(&usage));
        assert!(limiter.memory_growing(0, 1, None).unwrap());
        assert!(!limiter.memory_growing(0, usize::MAX, None).unwrap());
        assert!(!limiter.table_growing(0, usize::MAX, None).unwrap());
        let mut limiter = Limiter::new(1 << 20, usage);
        assert!(!limiter.memory_growing(1, usize::MAX, None).unwrap());
    }
}
