//! Real guests in wasmtime over the workload network, without a control plane or an agent.
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
