//! What a replica uses of the machine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::net::Network;

/// Memory of all guests of the worker, in bytes.
#[derive(Debug, Default)]
pub struct MemoryMeter(AtomicU64);

/// What one replica uses at present, and has used.
pub struct ReplicaUsage {
    guests: AtomicU64,
    cpu_nanos: AtomicU64,
    network: Network,
    worker: Arc<MemoryMeter>,
}

// === impl MemoryMeter ===

impl MemoryMeter {
    pub fn used(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl ReplicaUsage ===

impl ReplicaUsage {
    pub fn new(network: Network, worker: Arc<MemoryMeter>) -> Self {
        Self {
            guests: AtomicU64::new(0),
            cpu_nanos: AtomicU64::new(0),
            network,
            worker,
        }
    }

    /// Bytes: linear memory and tables of its instances, and what its network buffers for them.
    pub fn memory_bytes(&self) -> u64 {
        self.guests.load(Ordering::Relaxed) + self.network.taken() as u64
    }

    /// Time that its guests computed, all lives of the service and all invocations together.
    pub fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.cpu_nanos.load(Ordering::Relaxed))
    }

    pub(super) fn computed(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.cpu_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn grew(&self, bytes: u64) {
        self.guests.fetch_add(bytes, Ordering::Relaxed);
        self.worker.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn shrank(&self, bytes: u64) {
        self.guests.fetch_sub(bytes, Ordering::Relaxed);
        self.worker.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}
