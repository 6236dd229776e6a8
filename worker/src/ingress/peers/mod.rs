//! Requests that another worker answers: the routes of the fleet, and the way to that worker.
//!
//! A request may arrive at any worker. If that worker has no ready replica of its own, it forwards
//! the request over HTTP/2 to the `--listen` address of a worker that has one. That worker answers
//! from its own replicas, or reports that it cannot: a request is never forwarded twice.

mod body;
mod forward;
mod front;
mod peer;
mod table;
mod upgrade;
mod wire;

#[cfg(test)]
mod tests;

pub(super) use forward::forward;
pub use front::ClusterFront;
pub use table::FleetRoutes;
pub(super) use table::Remote;
pub(super) use wire::strip;
