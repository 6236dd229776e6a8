//! Why a change of a workload was refused.

use warren_model::{error::Violations, name::WorkloadId};

use crate::{store::StoreError, suggest::Absent};

/// Why a change was not made. Nothing of it was written.
///
/// Workloads are named as `NAMESPACE/NAME`; violations name the fields that they are about.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    Invalid(Violations),
    /// There is no such workload, or no such revision of it.
    #[error(transparent)]
    Absent(#[from] Absent),
    #[error("workload `{0}` is being deleted: try again once it is gone")]
    Deleting(String),
    #[error(
        "workload `{0}` has no revision to go back to: every one that is kept runs what runs now"
    )]
    NoEarlierRevision(String),
    /// A revision that another version of Warren made asks for what this one cannot run.
    #[error("{0}")]
    RevisionNotSupported(Violations),
    #[error("{0}")]
    ArtifactMissing(Violations),
    #[error("{0}")]
    RouteTaken(Violations),
    /// The workload is not at the revision that the caller saw; 0 means that there is none.
    #[error("{}", overtaken(*expected, *present))]
    Overtaken { expected: u32, present: u32 },
    /// The writes of others came between every time.
    #[error("workload `{0}` keeps changing; try again")]
    Contended(WorkloadId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether the same change can succeed when it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    Never,
    /// Somebody else changed the workload: read it, and decide whether the change is still wanted.
    Reread,
    /// The same change can succeed later without anybody's help.
    Later,
}

// === impl Refusal ===

impl Refusal {
    pub fn retry(&self) -> Retry {
        match self {
            Self::Overtaken { .. }
            | Self::Contended(_)
            | Self::Store(StoreError::Conflict { .. }) => Retry::Reread,
            Self::Deleting(_) => Retry::Later,
            Self::Store(error) if error.is_transient() => Retry::Later,
            Self::Invalid(_)
            | Self::Absent(_)
            | Self::NoEarlierRevision(_)
            | Self::RevisionNotSupported(_)
            | Self::ArtifactMissing(_)
            | Self::RouteTaken(_)
            | Self::Store(_) => Retry::Never,
        }
    }
}

fn overtaken(expected: u32, present: u32) -> String {
    match (present, expected) {
        (0, _) => format!("revision {expected} was expected and there is no such workload"),
        (_, 0) => format!("no workload was expected and it is at revision {present}"),
        _ => format!("revision {expected} was expected and the workload is at {present}"),
    }
}
