//! What one instance may take of the machine's memory.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use wasmtime::ResourceLimiter;

/// Elements over all tables of one instance. The largest of real programs have tens of thousands.
pub(super) const TABLE_ELEMENTS: usize = 100_000;
/// Core instances, memories and tables of one component.
const CORE_INSTANCES: usize = 200;
const MEMORIES: usize = 20;
const TABLES: usize = 200;

/// Linear memory of all guests, in bytes.
#[derive(Debug, Default)]
pub struct MemoryMeter(AtomicU64);

impl MemoryMeter {
    pub fn used(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Caps linear memory of one store, summed over its memories, and remembers that the cap was hit.
#[derive(Debug)]
pub struct Limiter {
    memory_limit: usize,
    memory_used: usize,
    table_used: usize,
    refused: bool,
    meter: Arc<MemoryMeter>,
}

impl Limiter {
    /// `memory_limit` in bytes.
    pub fn new(memory_limit: u64, meter: Arc<MemoryMeter>) -> Self {
        Self {
            memory_limit: usize::try_from(memory_limit).unwrap_or(usize::MAX),
            memory_used: 0,
            table_used: 0,
            refused: false,
            meter,
        }
    }

    /// Whether the guest was refused memory: how a later trap is told from an ordinary one.
    pub fn was_refused(&self) -> bool {
        self.refused
    }

    fn grow(used: &mut usize, limit: usize, current: usize, desired: usize) -> bool {
        let total = used.saturating_add(desired.saturating_sub(current));
        if total > limit {
            return false;
        }
        *used = total;
        true
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        let used = self.memory_used as u64;
        self.meter.0.fetch_sub(used, Ordering::Relaxed);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = Self::grow(&mut self.memory_used, self.memory_limit, current, desired);
        if allowed {
            let grown = desired.saturating_sub(current) as u64;
            self.meter.0.fetch_add(grown, Ordering::Relaxed);
        }
        self.refused |= !allowed;
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = Self::grow(&mut self.table_used, TABLE_ELEMENTS, current, desired);
        self.refused |= !allowed;
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

    #[test]
    fn memory_is_capped_over_all_memories_of_the_instance() {
        let meter = Arc::new(MemoryMeter::default());
        let mut limiter = Limiter::new(100, Arc::clone(&meter));
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 41, None).unwrap());
        assert!(limiter.was_refused());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert_eq!(meter.used(), 100);
        drop(limiter);
        assert_eq!(meter.used(), 0);
    }

    #[test]
    fn hostile_sizes_do_not_overflow() {
        let mut limiter = Limiter::new(u64::MAX, Arc::default());
        assert!(limiter.memory_growing(0, 1, None).unwrap());
        assert!(limiter.memory_growing(0, usize::MAX, None).unwrap());
        assert!(
            !Limiter::new(1 << 20, Arc::default())
                .memory_growing(1, usize::MAX, None)
                .unwrap()
        );
    }
}
