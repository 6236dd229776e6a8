//! Requests that another worker answers: the routes of the fleet, and the way there and in.
//!
//! A request comes to any worker. Where that one has no ready replica of its own, it sends the
//! request on to the `--listen` address of one that has, over HTTP/2, and that one answers it from
//! its own replicas or says that it cannot: a request is never forwarded twice.

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
