//! `wasi:sockets` for guests: thin adapters over the workload's network.
//!
//! This module holds what both versions of WASI share; [`p2`] implements 0.2 and [`p3`] implements
//! 0.3.

mod address;
mod options;
pub mod p2;
pub mod p3;
mod tcp;
mod udp;

use std::{io, net::SocketAddr, sync::Arc};

use warren_net::{NetError, Scope};
use wasmtime::component::{HasData, ResourceTable};
use wasmtime_wasi::sockets::WasiSocketsCtx;

use crate::policy::{DenyReason, Op, Policy, Verdict};

pub use address::Family;
pub use tcp::TcpSocket;
pub use udp::UdpSocket;

/// A guest's access to the network: the sockets that it holds, and the policy that applies to it.
#[derive(Clone)]
pub struct GuestNetwork {
    pub scope: Scope,
    pub policy: Arc<Policy>,
}

/// The state of one store that the socket interfaces operate on.
pub struct SocketsView<'a> {
    pub table: &'a mut ResourceTable,
    pub wasi: &'a mut WasiSocketsCtx,
    pub network: &'a GuestNetwork,
    pub wakeups: &'a mut p2::Wakeups,
}

/// A store's data that has the socket interfaces, as it has those of WASI by `WasiView`.
pub trait HasSockets: Send + 'static {
    /// Charges the guest until it is dropped.
    type Charge: Send;

    fn sockets(&mut self) -> SocketsView<'_>;

    /// Charges the guest for a datagram. Returns `None` when the host already holds as much for the
    /// guest as it may.
    fn hold_datagram(&self, bytes: usize) -> Option<Self::Charge>;
}

/// Selects [`SocketsView`] as the data of the socket interfaces.
pub struct Sockets;

impl HasData for Sockets {
    type Data<'a> = SocketsView<'a>;
}

/// Why a socket operation failed, in the terms of `wasi:sockets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SocketError {
    #[error("access denied")]
    AccessDenied,
    #[error("not supported")]
    NotSupported,
    #[error("invalid argument")]
    InvalidArgument,
    #[error("invalid state")]
    InvalidState,
    #[error("would block")]
    WouldBlock,
    #[error("too many sockets")]
    TooManySockets,
    #[error("out of memory")]
    OutOfMemory,
    #[error("address not bindable")]
    AddressNotBindable,
    #[error("address in use")]
    AddressInUse,
    #[error("connection refused")]
    ConnectionRefused,
    #[error("datagram too large")]
    DatagramTooLarge,
    #[error("connection reset")]
    ConnectionReset,
    #[error("connection broken")]
    ConnectionBroken,
    #[error("timeout")]
    Timeout,
    #[error("remote unreachable")]
    RemoteUnreachable,
}

impl From<io::Error> for SocketError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::WouldBlock => Self::WouldBlock,
            Kind::PermissionDenied => Self::AccessDenied,
            Kind::ConnectionRefused => Self::ConnectionRefused,
            Kind::ConnectionReset => Self::ConnectionReset,
            Kind::BrokenPipe | Kind::ConnectionAborted => Self::ConnectionBroken,
            Kind::AddrInUse => Self::AddressInUse,
            Kind::InvalidInput => Self::InvalidArgument,
            Kind::TimedOut => Self::Timeout,
            // Not caused by the guest or its workload.
            _ => match rustix::io::Errno::from_io_error(&error) {
                Some(rustix::io::Errno::MSGSIZE) => Self::DatagramTooLarge,
                Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => Self::TooManySockets,
                _ => Self::RemoteUnreachable,
            },
        }
    }
}

impl From<NetError> for SocketError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::AddressInUse => Self::AddressInUse,
            NetError::AddressNotBindable => Self::AddressNotBindable,
            NetError::ConnectionRefused => Self::ConnectionRefused,
            NetError::Timeout => Self::Timeout,
            NetError::TooManySockets => Self::TooManySockets,
            // `listen` fails with ENOBUFS.
            NetError::TooManyListeners => Self::OutOfMemory,
            NetError::DatagramTooLarge => Self::DatagramTooLarge,
            NetError::ScopeEnded => Self::InvalidState,
        }
    }
}

impl From<DenyReason> for SocketError {
    fn from(reason: DenyReason) -> Self {
        match reason {
            // The address is at fault here, not the guest's permissions.
            DenyReason::NotLoopbackBind => Self::AddressNotBindable,
            _ => Self::AccessDenied,
        }
    }
}

/// The network in which a permitted operation takes place.
enum Place {
    /// In the workload's own network.
    Workload,
    /// On the machine's network, at this address.
    Machine(SocketAddr),
}

impl GuestNetwork {
    fn decide(&self, operation: Op) -> Result<Place, SocketError> {
        match self.policy.decide(operation) {
            Verdict::Workload => Ok(Place::Workload),
            Verdict::Machine(address) => Ok(Place::Machine(address)),
            Verdict::Deny(reason) => {
                tracing::debug!(?operation, %reason, "refused");
                Err(reason.into())
            }
        }
    }
}
