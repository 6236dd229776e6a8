//! Everything that speaks gRPC: the services, which check, call and translate; the layers that
//! every call passes on its way in (a span, the authorisation, the limits) and on its way out
//! (details for every failure); and the statuses that the errors of other rooms become.
//!
//! No other room names `tonic::Status`, and nothing is decided here but about a single request.

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
mod refusal;
pub mod routes;
mod scope;
pub mod system;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
pub mod tracing;
mod watch;
pub mod worker;
pub mod workload;

use std::sync::Arc;

use futures::stream::BoxStream;
use tonic::Status;

use crate::{artifact::Artifacts, fleet::Fleet, workload::Workloads};

/// What the services call.
#[derive(Clone)]
pub struct Services {
    pub workloads: Arc<Workloads>,
    pub artifacts: Arc<Artifacts>,
    pub fleet: Arc<Fleet>,
}

/// A response stream of any kind.
pub type Responses<T> = BoxStream<'static, Result<T, Status>>;
