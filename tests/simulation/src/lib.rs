//! A fleet in one thread: a control plane and many workers run unchanged over simulated time,
//! network, disks and guests.
//!
//! The code that runs is the control plane from its gRPC services to the store's disk, and each
//! worker's session, reports, lease and saved state. Clock and chance ([`warren_model::ambient`]),
//! the network, both kinds of disk, and the supervisor with its guests are replaced. A seed decides
//! everything, so the same seed gives the same trace, byte for byte.
//!
//! `docs/simulation.md` lists the promises, and says how to run the simulation and to replay a
//! seed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[cfg(not(tokio_unstable))]
compile_error!(
    "tokio cannot be seeded without `--cfg tokio_unstable`: run cargo in `tests/simulation`, whose \
     `.cargo/config.toml` sets it, and leave RUSTFLAGS unset"
);

mod chance;
mod disk;
mod faults;
mod guests;
mod invariants;
mod machine;
mod network;
pub mod promise;
pub mod run;
pub mod trace;
mod truth;
mod user;
mod worker;
mod world;
