//! The types of conditions, which the control plane, workers and clients know each other's by.

/// A replica has a worker.
pub const SCHEDULED: &str = "Scheduled";
/// The components of a replica are on its worker and compiled.
pub const ARTIFACTS_READY: &str = "ArtifactsReady";
/// The service of a replica runs.
pub const STARTED: &str = "Started";
/// A replica, a workload or a worker takes work.
pub const READY: &str = "Ready";
/// The rollout of a workload is under way.
pub const PROGRESSING: &str = "Progressing";
/// A worker follows what it is assigned.
pub const ASSIGNMENTS: &str = "Assignments";

/// The conditions of a replica that its worker knows, in the order in which they come to hold.
pub const OF_WORKER: [&str; 3] = [ARTIFACTS_READY, STARTED, READY];
