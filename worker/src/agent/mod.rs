//! The worker's side of the control plane: who the worker is, what it is told to run, what it tells.

pub mod artifacts;
pub mod assignment;
mod backoff;
pub mod capacity;
mod cgroup;
pub mod identity;
mod log_push;
mod network;
pub mod remote;
pub mod reports;
pub mod seen;
pub mod session;
pub mod state;
#[cfg(test)]
mod testing;
mod worker;

use std::time::Duration;

pub use assignment::{Assignment, Fence, NewestFence};
pub use capacity::default_compile_memory;
pub use worker::{Config, OpenError, ServeError, Worker};

/// What one replica uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub memory_bytes: u64,
    pub cpu_time: Duration,
}

/// What the session needs of the supervisor. Every call returns at once; what becomes of a replica is
/// told through the [`reports::ReportBook`].
pub trait Replicas: Send + Sync + 'static {
    /// Runs a replica, unless it is held already.
    fn assign(&self, assignment: Assignment);

    /// Stops a replica by its workload's rules. `STOPPED` is reported when it has, before the id leaves [`Self::replicas`].
    fn stop(&self, replica: &str);

    /// Ids of all replicas held, ended ones included.
    fn replicas(&self) -> Vec<String>;

    /// Bytes of memory that guests use at present.
    fn memory_used(&self) -> u64;

    /// What each replica uses that has something to use it: memory in bytes, and processor time since it was taken up.
    fn usage(&self) -> Vec<(String, Usage)>;
}
