//! Describes why an instance is not created.

use std::{fmt, time::Duration};

use super::cost::Pool;

/// A pool is exhausted for one more instance of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortfall {
    pub(super) pool: Pool,
    pub(super) capacity: u32,
    /// The sum of what all workloads hold.
    pub(super) used: u32,
    /// The amount that the workload holds.
    pub(super) has: u32,
    /// The amount that one more instance takes.
    pub(super) wants: u32,
    /// The amount that the workload can have at any time.
    pub(super) reserve: u32,
    /// The time that it waited, if it did.
    pub(super) waited: Option<Duration>,
}

// === impl Shortfall ===

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pool,
            capacity,
            used,
            has,
            wants,
            reserve,
            waited,
        } = self;
        let name = pool.name();
        if let Some(waited) = waited {
            write!(f, "it waited {waited:.1?} without success: ")?;
        }
        write!(
            f,
            "the worker's pool of {name} has no more for this workload: of {capacity} {name} it holds {has} and all \
             workloads together {used}; its share is {reserve} and what others leave, and one more instance takes {wants}; "
        )?;
        match pool {
            Pool::ServiceMappings | Pool::ServiceMemories => f.write_str(
                "move replicas to other workers with `warren drain`, or raise vm.max_map_count and start the worker again",
            ),
            _ => f.write_str(
                "lower `limits.concurrency` so that requests wait, or add workers",
            ),
        }
    }
}
