//! Why an operation was refused, with what to change.

use std::net::SocketAddr;

use super::HOST_NAME;

/// The reason for a refusal. The messages are addressed to the author of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DenyReason {
    #[error(
        "components cannot listen; only the service of a workload can: move the listener into the service"
    )]
    ComponentMayNotListen,
    #[error(
        "a service can bind only to 127.0.0.0/8, ::1, 0.0.0.0 and ::, in its own network; use `publish` to make it \
         reachable from outside"
    )]
    NotLoopbackBind,
    #[error("{addr} is not an address that can be connected to")]
    NotAHost { addr: SocketAddr },
    #[error("egress does not allow {addr}: add \"{addr}\" or its host name to `egress`")]
    NoEgressRule { addr: SocketAddr },
    #[error("egress does not name {name}: add \"{name}:PORT\" to `egress`")]
    NameNotInEgress { name: String },
    #[error(
        "{addr} is a link-local address, which a host name or a wider network in `egress` does not cover: add \
         \"{addr}\" itself"
    )]
    LinkLocal { addr: SocketAddr },
    #[error(
        "{addr} is the worker's own address, which a host name or a wider network in `egress` does not cover: add \
         \"{addr}\" itself"
    )]
    WorkerAddress { addr: SocketAddr },
    #[error(
        "{addr} is a cloud's metadata service, which a host name or a wider network in `egress` does not cover: add \
         \"{addr}\" itself"
    )]
    Metadata { addr: SocketAddr },
    #[error(
        "Warren itself listens on {addr}; guests can reach neither its control plane nor its workers, whatever `egress` \
         says"
    )]
    WarrenListener { addr: SocketAddr },
    #[error(
        "cannot determine whether {addr} is the worker's own address, so it is refused: {cause}; allow the worker to \
         open AF_NETLINK sockets"
    )]
    Unknown { addr: SocketAddr, cause: String },
    #[error("egress does not allow the worker's loopback: add \"{HOST_NAME}:{port}\" to `egress`")]
    NoHostRule { port: u16 },
    #[error(
        "this worker does not let guests reach its loopback: start it with --allow-host-loopback to let them reach its \
         port {port}"
    )]
    HostLoopbackNotAllowed { port: u16 },
}
