//! The operations on workloads: each decides over what is stored and writes what follows from it.
//!
//! A client's request and the reconciler both call [`Workloads::operate`].
//! A [`Refusal`] says in its type why a change was not made and whether it helps to try again.

mod change;
mod decide;
mod operations;
mod refusal;

use std::sync::Arc;

pub use decide::{Effect, Operation};
pub use refusal::{Refusal, Retry};

use crate::{artifact::ArtifactFiles, events::Events, index::Index, state::State};

/// The workloads of the cluster.
pub struct Workloads {
    pub state: State,
    pub index: Arc<Index>,
    pub events: Arc<Events>,
    pub artifacts: ArtifactFiles,
    /// The number of revisions that are kept of each workload, at least.
    pub revision_history_limit: usize,
}
