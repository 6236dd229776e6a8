//! Why an operation was refused, in words that say what to change.

use std::net::SocketAddr;

use super::HOST_NAME;

/// The reason of a refusal. It reads as an answer to the author of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DenyReason {
    #[error(
        "components cannot listen, only the service of a workload can: move the listener into the service"
    )]
    ComponentMayNotListen,
    #[error(
        "a service binds to 127.0.0.0/8, ::1, 0.0.0.0 or :: in its own network; add `publish` to be reached from outside"
    )]
    NotLoopbackBind,
    #[error("{addr} is not the address of a host that can be connected to")]
    NotAHost { addr: SocketAddr },
    #[error("egress does not allow {addr}: add \"{addr}\" or its host name to `egress`")]
    NoEgressRule { addr: SocketAddr },
    #[error("egress does not name {name}: add \"{name}:PORT\" to `egress`")]
    NameNotInEgress { name: String },
    #[error(
        "{addr} is link-local, which no name and no network allows: add \"{addr}\" itself to `egress`"
    )]
    LinkLocal { addr: SocketAddr },
    #[error(
        "{addr} is the worker's own address, which no name and no network allows: add \"{addr}\" itself to `egress`"
    )]
    WorkerAddress { addr: SocketAddr },
    #[error(
        "{addr} is a cloud's metadata service, which no name and no network allows: add \"{addr}\" itself to `egress`"
    )]
    Metadata { addr: SocketAddr },
    #[error(
        "Warren itself listens on {addr}, and no guest reaches its control plane or its workers, whatever `egress` says"
    )]
    WarrenListener { addr: SocketAddr },
    #[error(
        "cannot find out whether {addr} is the worker's own address, so it is refused: {cause}; let the worker open \
         AF_NETLINK sockets"
    )]
    Unknown { addr: SocketAddr, cause: String },
    #[error("egress does not allow the worker's loopback: add \"{HOST_NAME}:{port}\" to `egress`")]
    NoHostRule { port: u16 },
    #[error(
        "this worker keeps its loopback from guests: start it with --allow-host-loopback to let them reach its port {port}"
    )]
    HostLoopbackNotAllowed { port: u16 },
}
