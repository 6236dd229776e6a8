//! The contract between the session, which receives assignments, and the supervisor, which runs
//! them.

pub mod assignment;
pub mod reports;
#[cfg(test)]
pub(crate) mod testing;

use std::time::Duration;

pub use assignment::{Assignment, Fence, NewestFence};

/// What one replica uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub memory_bytes: u64,
    pub cpu_time: Duration,
}

/// What the session needs of the supervisor. Every call returns at once; what becomes of a replica
/// is told through the [`reports::ReportBook`].
pub trait Replicas: Send + Sync + 'static {
    /// Runs a replica, unless it is held already.
    fn assign(&self, assignment: Assignment);

    /// Stops a replica by its workload's rules. `STOPPED` is reported when it has, before the id
    /// leaves [`Self::replicas`].
    fn stop(&self, replica: &str);

    /// Ids of all replicas held, ended ones included.
    fn replicas(&self) -> Vec<String>;

    /// Bytes of memory that guests use at present.
    fn memory_used(&self) -> u64;

    /// What each replica uses that has something to use it: memory in bytes, and processor time
    /// since it was taken up.
    fn usage(&self) -> Vec<(String, Usage)>;
}
