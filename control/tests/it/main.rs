//! A real control plane on a real port over a real store, and a scripted client of the workers'
//! contract.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod artifacts;
mod components;
mod connections;
mod drains;
mod errors;
mod exclusive;
mod fleet;
#[cfg(target_os = "linux")]
mod full;
mod harness;
mod links;
mod logs;
mod many;
mod meta;
mod pages;
mod places;
mod presence;
mod restarts;
mod revisions;
mod rollouts;
mod selectors;
mod strangers;
mod suspects;
mod watch;
mod worker;
mod workloads;
