//! The side of the control plane that workers connect to: sessions, leases, and log lines on their
//! way to readers.

mod bounds;
pub mod compile;
mod decisions;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod hello;
mod intake;
pub mod leases;
mod listen;
pub mod listeners;
pub mod logs;
mod member;
pub mod newcomers;
mod orders;
mod places;
pub mod presence;
mod registry;
mod report;
pub mod retire;
pub mod routes;
pub mod session;
mod steps;
pub mod usage;

use std::{sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{dirty::DirtySet, events::Events, index::Index, state::State};
pub use error::SessionError;
use leases::Leases;
pub use listen::Outbox;
use listeners::ListenerBoard;
use logs::LogsBroker;
use newcomers::Newcomers;
pub use places::SessionPlaces;
pub use registry::Registry;
pub use retire::WorkerRefusal;
use routes::RouteBoard;
use usage::Usages;

/// The state that all sessions share.
pub struct Fleet {
    pub state: State,
    pub index: Arc<Index>,
    pub events: Arc<Events>,
    pub dirty: Arc<DirtySet>,
    pub leases: Arc<Leases>,
    pub usages: Arc<Usages>,
    pub registry: Arc<Registry>,
    pub logs: LogsBroker,
    pub routes: Arc<RouteBoard>,
    pub listeners: Arc<ListenerBoard>,
    /// The identity of the store.
    pub cluster_id: String,
    /// Grows with every start of a control plane over this store.
    pub term: u64,
    /// Silence after which a worker's replicas are LOST.
    pub worker_timeout: Duration,
    pub newcomers: Newcomers,
    /// Held while a fence is drawn: sessions take turns, and none loses a race too often.
    pub fences: tokio::sync::Mutex<()>,
    pub places: SessionPlaces,
    /// Owns the tasks of sessions and log readers.
    pub tasks: TaskTracker,
    /// Ends all of them.
    pub shutdown: CancellationToken,
}
