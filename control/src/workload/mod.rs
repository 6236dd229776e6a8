//! The operations on workloads: each decides over what is stored and writes what follows from it.

mod change;
mod decide;
mod operations;

pub use operations::{RolledBack, Verbs, roll_back_failed};
