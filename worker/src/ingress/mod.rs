//! Serves HTTP from the machine's network to everything that has routes: components, and ports of
//! services.

mod front;
mod peers;
pub mod router;
mod service;

pub use front::Ingress;
pub use peers::{ClusterFront, FleetRoutes};
pub use router::Router;
pub use service::{PortLimits, ServicePort, ServiceTarget};
