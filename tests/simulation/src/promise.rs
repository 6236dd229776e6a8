//! The promises of a fleet.

/// A promise, which is checked after every step until one is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// A change that a user was told is done stays done, whatever dies.
    AnswersHold,
    /// A replica that was to stop does not run again, and one that has stopped does not start.
    StoppedStaysStopped,
    /// No replica runs twice at once, and nothing of an exclusive service acts after a later one,
    /// whose fence is greater, has started.
    NeverTwice,
    /// No more replicas are made than are asked for, plus those that an update may add.
    NoneForNothing,
    /// Once the faults have ended, what should run does, and nothing else.
    Converges,
    /// A replica becomes LOST only when its worker was silent for the worker timeout, and once all
    /// is as it should be, nothing is started or stopped.
    NothingFlaps,
    /// No user, no worker and no control plane that starts is refused what it may have.
    NobodyIsRefused,
}

impl Promise {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::AnswersHold,
        Self::StoppedStaysStopped,
        Self::NeverTwice,
        Self::NoneForNothing,
        Self::Converges,
        Self::NothingFlaps,
        Self::NobodyIsRefused,
    ];
}
