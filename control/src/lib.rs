//! The control plane: it stores which workloads should run, decides where, and sends the
//! assignments to the workers.
//!
//! [`ControlPlane::open`] takes a data directory, [`ControlPlane::serve`] a listener and a future
//! that resolves when it should stop.

mod artifact;
pub mod backup;
mod clock;
mod collector;
mod data_dir;
mod dirty;
mod events;
mod fleet;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod grpc;
mod identity;
mod index;
mod links;
mod listen;
mod reconcile;
mod scheduler;
mod server;
#[cfg(feature = "simulation")]
pub mod simulation;
mod state;
mod status;
mod store;
mod suggest;
mod text;
mod workload;

pub use data_dir::keep_new_files_private;
pub use listen::{ClientLimits, MAX_CONNECTIONS};
pub use server::{
    Config, ControlPlane, DEFAULT_ARTIFACT_RETENTION, DEFAULT_LISTEN,
    DEFAULT_REVISION_HISTORY_LIMIT, DEFAULT_WORKER_TIMEOUT, OpenError, ServeError,
};
pub use store::{OnLoss, StoreError};
