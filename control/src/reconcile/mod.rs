//! From what should run to what each worker is told: a pure plan, and the shell that carries it out.

mod execute;
pub mod observe;
pub mod plan;
mod shell;
mod timers;

pub use shell::Reconciler;
