//! Measures what a replica uses of the machine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use warren_net::Network;

use super::memory::ReplicaMemory;

/// The current and the accumulated usage of one replica.
pub struct ReplicaUsage {
    memory: Arc<ReplicaMemory>,
    cpu_nanos: AtomicU64,
    network: Network,
}

// === impl ReplicaUsage ===

impl ReplicaUsage {
    pub fn new(network: Network, memory: Arc<ReplicaMemory>) -> Self {
        Self {
            memory,
            cpu_nanos: AtomicU64::new(0),
            network,
        }
    }

    /// Returns the bytes of linear memory and tables of its instances, and of the network's buffers
    /// for them.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.used() + self.network.taken() as u64
    }

    /// Returns the CPU time of its guests: of all lives of the service and all invocations
    /// together.
    pub fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.cpu_nanos.load(Ordering::Relaxed))
    }

    pub(super) fn computed(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.cpu_nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}
