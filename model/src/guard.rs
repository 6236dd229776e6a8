//! Rules that a test can take away, to show that the simulation notices what breaks without them.
//!
//! Each is one operand of a condition in a pure decision. In a program every guard is enforced, at
//! no cost.

/// A rule on which a promise of the fleet rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// A worker's replicas become LOST only after it was silent for the worker timeout.
    LostAfterTimeout,
    /// No report revives a replica that is to stop.
    StoppingIsFinal,
    /// A worker that comes back replaces its own session, although that one has not ended yet.
    SameWorkerReturns,
    /// A worker runs an exclusive service only while it holds its lease, which ends before the
    /// control plane gives the service to another worker.
    ExclusiveByLease,
    /// No replica of an exclusive service starts before all others have certainly ended.
    ExclusiveWaits,
}

impl Guard {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::LostAfterTimeout,
        Self::StoppingIsFinal,
        Self::SameWorkerReturns,
        Self::ExclusiveByLease,
        Self::ExclusiveWaits,
    ];

    /// Returns true, except on a thread of the simulation that runs without this guard.
    #[cfg(not(feature = "simulation"))]
    #[inline]
    pub const fn is_enforced(self) -> bool {
        true
    }

    /// Returns true, except on a thread of the simulation that runs without this guard.
    #[cfg(feature = "simulation")]
    pub fn is_enforced(self) -> bool {
        simulated::removed() != Some(self)
    }
}

/// Guards that a test takes away.
#[cfg(feature = "simulation")]
pub mod simulated {
    use std::cell::Cell;

    use super::Guard;

    thread_local! {
        static REMOVED: Cell<Option<Guard>> = const { Cell::new(None) };
    }

    /// Enforces all guards of this thread again when it is dropped.
    #[derive(Debug)]
    pub struct Without(());

    /// Takes one guard, or none, away from this thread.
    pub fn without(guard: Option<Guard>) -> Without {
        REMOVED.set(guard);
        Without(())
    }

    pub(super) fn removed() -> Option<Guard> {
        REMOVED.get()
    }

    impl Drop for Without {
        fn drop(&mut self) {
            REMOVED.set(None);
        }
    }
}
