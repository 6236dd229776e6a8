//! Whole clusters for tests: real processes, real clients, real components.
//!
//! Nothing here depends on Warren's crates: what a test sees is what a user sees, through the
//! command line, HTTP, TCP and gRPC. Every port is chosen by the system and every file lies in a
//! directory of the test's own, so tests run beside each other. A process ends with the value that
//! stands for it; when its test fails, what it wrote is printed.

mod answer;
mod cgroup;
mod cluster;
mod dev;
pub mod docs;
mod http;
mod lab;
mod neighbour;
mod process;
mod resp;
pub mod tools;
mod wait;

pub use answer::Answer;
pub use cgroup::MemoryGroup;
pub use cluster::{Cluster, Control, Worker, own_loopback};
pub use dev::Dev;
pub use http::{Open, Reply, get, open, request, try_get};
pub use lab::{Lab, example, guest};
pub use neighbour::{Neighbour, Record};
pub use process::Process;
pub use resp::Resp;
pub use wait::{SOON, eventually, within};
