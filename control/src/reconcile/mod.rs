//! Reconciliation: a pure plan decides which assignments each worker gets, and a shell carries the
//! plan out.

mod execute;
pub mod observe;
pub mod plan;
mod shell;
mod timers;

pub use shell::Reconciler;
