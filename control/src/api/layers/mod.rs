//! What every RPC passes on its way in: a span, the authorisation point, limits, and the end of streams at shutdown;
//! and on its way out: details for every failure.

pub mod authz;
pub mod details;
pub mod limits;
pub mod methods;
pub mod tracing;
