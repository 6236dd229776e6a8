//! Why an instance is not made, in words.

use std::{fmt, time::Duration};

use super::cost::Pool;

/// A pool has nothing left for one more instance of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortfall {
    pub(super) pool: Pool,
    pub(super) capacity: u32,
    /// What all workloads have.
    pub(super) used: u32,
    /// What the workload has.
    pub(super) has: u32,
    /// What one more instance takes.
    pub(super) wants: u32,
    /// What the workload can have at any time.
    pub(super) reserve: u32,
    /// How long it waited for it, if it did.
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
            write!(f, "it waited {waited:.1?} in vain: ")?;
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
