//! What the fleet promises.

/// Looked at after every step, until one is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// What a user was told to be done is done, whatever dies.
    AnswersHold,
    /// A replica that was to stop does not run again, and one that has stopped does not start.
    StoppedStaysStopped,
    /// No replica runs twice at once, and nothing of an exclusive service does anything after a later one has started,
    /// whose fence is greater.
    NeverTwice,
    /// No more replicas are made than are asked for, and an update may have beside them.
    NoneForNothing,
    /// Once nothing goes wrong any more, what should run does, and nothing else.
    Converges,
    /// Replicas are moved for a cause only: LOST are those of a worker that was silent for the worker timeout, and once
    /// all is as it should be, nothing is started or stopped.
    NothingFlaps,
    /// Nobody is refused what is right, neither users nor workers nor a control plane that starts.
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
