//! The worker's side of the control plane: its identity, its session, and its desired
//! state on disk.

pub mod capacity;
mod cgroup;
pub mod identity;
mod log_push;
mod network;
pub mod seen;
pub mod session;
pub mod state;
#[cfg(test)]
pub(crate) mod testing;

pub use capacity::default_compile_memory;
pub(crate) use network::network;
