//! The reasons of conditions and events that programs act upon, or that several rooms use.

/// A worker compiles a component, which may take long: it counts as progress.
pub const COMPILING: &str = "Compiling";
/// No worker can compile a component, and waiting alone does not help.
pub const COMPILE_FAILED: &str = "CompileFailed";
/// A published port is not free, and waiting alone does not help.
pub const PORT_UNAVAILABLE: &str = "PortUnavailable";
/// A revision may have taken workers down, and gets no other worker.
pub const HELD: &str = "Held";
/// No worker can take a replica at present.
pub const UNSCHEDULABLE: &str = "Unschedulable";
/// A replica has a worker, as the event of that says it.
pub const SCHEDULED: &str = "Scheduled";
/// A replica has a worker, as its condition says it.
pub const PLACED: &str = "Placed";
/// Something has not begun yet.
pub const PENDING: &str = "Pending";
/// A guest was refused something; each refusal is a distinct event.
pub const REFUSED: &str = "Refused";
/// A rollout made no progress within its deadline.
pub const PROGRESS_DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";
/// A workload, or its replica, has done its work for good.
pub const COMPLETED: &str = "Completed";
/// A workload is being deleted.
pub const DELETING: &str = "Deleting";
/// A replica or a worker is about to stop.
pub const STOPPING: &str = "Stopping";
/// A replica is stopping and lets its requests finish.
pub const DRAINING: &str = "Draining";
/// A replica or a worker has stopped in order.
pub const STOPPED: &str = "Stopped";
/// The worker of a replica does not send heartbeats.
pub const WORKER_LOST: &str = "WorkerLost";
/// The process of a worker ended and another one began.
pub const WORKER_RESTARTED: &str = "WorkerRestarted";
/// A worker does not follow what it is assigned.
pub const ASSIGNMENTS_DROPPED: &str = "AssignmentsDropped";
