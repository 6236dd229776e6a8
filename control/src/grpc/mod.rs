//! The public gRPC services: they check, call, and translate; nothing is decided here that is not about one request.

mod arrival;
pub mod artifact;
pub mod authz;
pub mod details;
pub mod error;
pub mod fleet;
pub mod limits;
mod metered;
pub mod methods;
mod page;
pub mod routes;
pub mod scope;
pub mod system;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
pub mod tracing;
mod watch;
pub mod worker;
pub mod workload;

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use tonic::Status;
use warren_model::component::Limits;

use crate::{artifact::ArtifactFiles, events::Events, fleet::Fleet, index::Index, state::State};

/// What all public services share.
pub struct Shared {
    pub state: State,
    pub index: Arc<Index>,
    pub events: Arc<Events>,
    pub fleet: Arc<Fleet>,
    pub artifacts: ArtifactFiles,
    /// Held for reading while an Apply relies on artifacts, for writing while one is removed.
    pub references: tokio::sync::RwLock<()>,
    /// Revisions that are kept of a workload, at least.
    pub revision_history_limit: usize,
    /// What a component that is pushed may hold.
    pub artifact_limits: Limits,
    /// How long an artifact stays that no revision names.
    pub artifact_retention: Duration,
}

/// A response stream of any kind.
pub type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
