//! Describes why a guest is short of memory.

use std::fmt;

use warren_model::quantity::rounded_bytes;

/// The reason why the worker refuses memory or takes it back, although the guest is within its own
/// limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    pub(super) kind: Kind,
    /// The bytes that the guest had.
    pub(super) used: u64,
    pub(super) reserve: u64,
    /// The bytes that the worker could still lend.
    pub(super) free: u64,
    pub(super) capacity: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// There is too little memory to lend it more.
    Refused,
    /// The memory that it borrowed is needed for the reserves of others.
    TakenBack,
    /// The reserves on this worker exceed its memory.
    OverAssigned,
}

// === impl Shortage ===

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (used, reserve) = (rounded_bytes(self.used), rounded_bytes(self.reserve));
        let (free, capacity) = (rounded_bytes(self.free), rounded_bytes(self.capacity));
        match self.kind {
            Kind::Refused => write!(
                f,
                "the worker has too little memory left: the guest has {used} with a reserve of {reserve}, and {free} of \
                 the worker's {capacity} are free; raise `reserve.memory`, or give the worker more memory"
            ),
            Kind::TakenBack => write!(
                f,
                "the worker took its memory back for the reserves of others: the guest had {used} with a reserve of \
                 {reserve}, and the worker has {capacity}; raise `reserve.memory`, or give the worker more memory"
            ),
            Kind::OverAssigned => write!(
                f,
                "the reserves on this worker add up to more than its {capacity}: the guest has {used} with a reserve of \
                 {reserve}; give the worker more memory, or move replicas to others with `warren drain`"
            ),
        }
    }
}
