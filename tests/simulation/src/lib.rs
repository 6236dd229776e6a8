//! A fleet in one thread: one control plane and many workers, as they are, over simulated time, network, disks and
//! guests.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[cfg(not(tokio_unstable))]
compile_error!(
    "the simulation needs `--cfg tokio_unstable`: run cargo in `tests/simulation`, whose `.cargo/config.toml` sets it, \
     and leave RUSTFLAGS unset"
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
