//! What a replica uses of the machine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use warren_net::Network;

use super::memory::ReplicaMemory;

/// What one replica uses at present, and has used.
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

    /// Bytes: linear memory and tables of its instances, and what its network buffers for them.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.used() + self.network.taken() as u64
    }

    /// Time that its guests computed, all lives of the service and all invocations together.
    pub fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.cpu_nanos.load(Ordering::Relaxed))
    }

    pub(super) fn computed(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.cpu_nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}
