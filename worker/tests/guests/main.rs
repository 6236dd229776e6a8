//! Real guests over the workload network, with wasmtime and nothing else: no control plane, no agent.
#![allow(clippy::unwrap_used)]

mod answers;
mod bench;
mod bounds;
mod conform;
mod exits;
mod hostile;
mod http;
mod lease;
mod links;
mod outgoing;
mod p3;
mod sockets;
mod udp;
