//! Real guests over the workload network, with wasmtime and nothing else: no control plane, no agent.
#![allow(clippy::unwrap_used)]

mod bench;
mod exits;
mod http;
mod links;
mod p3;
mod sockets;
mod udp;
