//! What every RPC passes on its way in: a span, the authorisation point, limits, and the end of streams at shutdown.

pub mod authz;
pub mod limits;
pub mod methods;
pub mod tracing;
