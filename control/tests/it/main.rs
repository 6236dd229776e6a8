//! A real control plane on a real port over a real store, and a scripted client of the workers' contract.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod artifacts;
mod components;
mod fleet;
mod harness;
mod logs;
mod many;
mod meta;
mod restarts;
mod watch;
mod worker;
mod workloads;
