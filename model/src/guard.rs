//! Rules on which the fleet's promises rest, each by a name, so that the simulation can show what breaks without it.
//!
//! In a program every guard stands, and asking costs nothing.

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// What a user is told to be done is flushed before.
    FlushBeforeAnswer,
    /// A write is done only upon the state that it was decided upon.
    CompareAndSet,
    /// A worker's replicas are LOST only once it was silent for the worker timeout.
    LostAfterTimeout,
    /// A plan is made upon a state that has what the plan before did.
    PlanUponOwnWrites,
    /// The first assignments of a session are complete: a worker stops what they do not name.
    CompleteAssignments,
    /// No report takes back that a replica is to stop.
    StoppingIsFinal,
    /// A worker that comes back takes the place of its own session that nobody has noticed to be gone.
    SameWorkerReturns,
    /// A worker runs nothing of an exclusive service without its lease, which ends before the control plane gives it up.
    ExclusiveByLease,
    /// No replica of an exclusive service is started before all others have ended for certain.
    ExclusiveWaits,
    /// A worker tells in each session anew what became of its replicas.
    ReportsRepeated,
    /// A worker keeps on disk what it is told before it does so.
    KeptBeforeFollowed,
}

impl Guard {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::FlushBeforeAnswer,
        Self::CompareAndSet,
        Self::LostAfterTimeout,
        Self::PlanUponOwnWrites,
        Self::CompleteAssignments,
        Self::StoppingIsFinal,
        Self::SameWorkerReturns,
        Self::ExclusiveByLease,
        Self::ExclusiveWaits,
        Self::ReportsRepeated,
        Self::KeptBeforeFollowed,
    ];

    /// Whether it is in force: always, but in a simulation without it.
    #[cfg(not(feature = "simulation"))]
    #[inline]
    pub const fn stands(self) -> bool {
        true
    }

    /// Whether it is in force: always, but in a simulation without it.
    #[cfg(feature = "simulation")]
    pub fn stands(self) -> bool {
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

    /// A guard is out of force on this thread as long as this lives.
    #[derive(Debug)]
    pub struct Without(());

    /// Takes one guard away, or none.
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
