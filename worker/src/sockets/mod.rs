//! `wasi:sockets` for guests: thin faces over the workload's network.
//!
//! What both versions of WASI share stands here; [`p2`] is the face of 0.2.

mod address;
mod options;
pub mod p2;
mod tcp;

use std::{net::SocketAddr, sync::Arc};

use crate::{
    net::{NetError, Scope},
    policy::{DenyReason, Op, Policy, Verdict},
};

pub use address::Family;
pub use tcp::TcpSocket;

/// A guest's way to the network: what it holds there, and what it may do.
#[derive(Clone)]
pub struct GuestNetwork {
    pub scope: Scope,
    pub policy: Arc<Policy>,
}

/// Why a socket operation failed, in the words of `wasi:sockets`.
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
    #[error("address not bindable")]
    AddressNotBindable,
    #[error("address in use")]
    AddressInUse,
    #[error("connection refused")]
    ConnectionRefused,
    #[error("connection reset")]
    ConnectionReset,
    #[error("timeout")]
    Timeout,
}

impl From<NetError> for SocketError {
    fn from(error: NetError) -> Self {
        match error {
            NetError::AddressInUse => Self::AddressInUse,
            NetError::AddressNotBindable => Self::AddressNotBindable,
            NetError::ConnectionRefused => Self::ConnectionRefused,
            NetError::Timeout => Self::Timeout,
            NetError::TooManySockets => Self::TooManySockets,
            NetError::ScopeEnded => Self::InvalidState,
        }
    }
}

impl From<DenyReason> for SocketError {
    fn from(reason: DenyReason) -> Self {
        match reason {
            // The address is what is wrong, not the guest's rights.
            DenyReason::NotLoopbackBind => Self::AddressNotBindable,
            _ => Self::AccessDenied,
        }
    }
}

/// Where an allowed operation takes place.
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
