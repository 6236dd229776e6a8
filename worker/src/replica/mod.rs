//! The contract between the session, which receives assignments, and the supervisor, which runs
//! them.

pub mod assignment;
pub mod reports;
#[cfg(test)]
pub(crate) mod testing;

use std::time::Duration;

pub use assignment::{Assignment, Fence, NewestFence};

/// The usage of one replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub memory_bytes: u64,
    pub cpu_time: Duration,
}

/// The interface of the supervisor for the session. Every call returns at once; the progress of a
/// replica is reported through the [`reports::ReportBook`].
pub trait Replicas: Send + Sync + 'static {
    /// Runs a replica, unless it is already held.
    fn assign(&self, assignment: Assignment);

    /// Stops a replica according to its workload's settings. `STOPPED` is reported once it has
    /// stopped, before the id leaves [`Self::replicas`].
    fn stop(&self, replica: &str);

    /// Returns the ids of all replicas held, including those that have ended.
    fn replicas(&self) -> Vec<String>;

    /// Returns the bytes of memory that guests use at present.
    fn memory_used(&self) -> u64;

    /// Returns the usage of each replica that has guests: memory in bytes, and CPU time since it
    /// was taken up.
    fn usage(&self) -> Vec<(String, Usage)>;
}
