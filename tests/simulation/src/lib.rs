//! A fleet in one thread: one control plane and many workers, as they are, over simulated time, network, disks and
//! guests.
//!
//! What runs is the control plane from its gRPC services to the store's disk, and each worker's session, reports, lease
//! and kept state. Replaced are the clock and chance ([`warren_model::ambient`]), the way between the processes, both
//! disks, and the supervisor with its guests. A seed decides everything, so the same seed gives the same trace, byte for
//! byte.
//!
//! What is promised, and how to run it and to replay a seed, stands in `docs/simulation.md`.
