//! `wasi:sockets` 0.2 over the workload's network.
//!
//! `tcp`, `tcp-create-socket`, `udp`, `udp-create-socket` and `ip-name-lookup` are implemented
//! here. `network` and `instance-network` only pass out a token that has no meaning; wasmtime's are
//! used. `wasi:io/poll` and `wasi:io/streams` are implemented here as well, for all pollables and
//! streams, so that those of our sockets take the short way.

mod io;
mod lookup;
mod machine;
mod poll;
mod streams;
mod tcp;
mod udp;

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::{
    SocketResult,
    bindings::{
        io::{poll as poll_binding, streams as streams_binding},
        sockets::{
            ip_name_lookup,
            network::{self, ErrorCode, Network},
            tcp as tcp_binding, tcp_create_socket, udp as udp_binding, udp_create_socket,
        },
    },
};

use super::{HasSockets, SocketError, Sockets, SocketsView};

pub use poll::Wakeups;

/// Replaces wasmtime's access to the machine's network with the workload's network. Must be called
/// after all of WASI has been added.
pub fn add_to_linker<T: HasSockets>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    tcp_binding::add_to_linker::<T, Sockets>(linker, T::sockets)?;
    tcp_create_socket::add_to_linker::<T, Sockets>(linker, T::sockets)?;
    udp_binding::add_to_linker::<T, Sockets>(linker, T::sockets)?;
    udp_create_socket::add_to_linker::<T, Sockets>(linker, T::sockets)?;
    ip_name_lookup::add_to_linker::<T, Sockets>(linker, T::sockets)?;
    poll_binding::add_to_linker::<T, Sockets>(linker, T::sockets)?;
    streams_binding::add_to_linker::<T, Sockets>(linker, T::sockets)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl SocketsView<'_> {
    /// Checks the token that a guest must hold to use a socket. The token itself grants no rights.
    fn check_token(&self, network: &Resource<Network>) -> SocketResult<()> {
        self.table.get(network)?;
        Ok(())
    }
}

impl network::Host for SocketsView<'_> {
    fn convert_error_code(
        &mut self,
        error: wasmtime_wasi::p2::SocketError,
    ) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(
        &mut self,
        _error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(None)
    }
}

impl network::HostNetwork for SocketsView<'_> {
    fn drop(&mut self, token: Resource<Network>) -> wasmtime::Result<()> {
        self.table.delete(token)?;
        Ok(())
    }
}

impl From<SocketError> for ErrorCode {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::AccessDenied => Self::AccessDenied,
            SocketError::NotSupported => Self::NotSupported,
            SocketError::InvalidArgument => Self::InvalidArgument,
            SocketError::InvalidState => Self::InvalidState,
            SocketError::WouldBlock => Self::WouldBlock,
            SocketError::TooManySockets => Self::NewSocketLimit,
            SocketError::OutOfMemory => Self::OutOfMemory,
            SocketError::AddressNotBindable => Self::AddressNotBindable,
            SocketError::AddressInUse => Self::AddressInUse,
            SocketError::ConnectionRefused => Self::ConnectionRefused,
            SocketError::ConnectionReset => Self::ConnectionReset,
            SocketError::ConnectionBroken => Self::ConnectionAborted,
            SocketError::Timeout => Self::Timeout,
            SocketError::RemoteUnreachable => Self::RemoteUnreachable,
            SocketError::DatagramTooLarge => Self::DatagramTooLarge,
        }
    }
}

impl From<SocketError> for wasmtime_wasi::p2::SocketError {
    fn from(error: SocketError) -> Self {
        ErrorCode::from(error).into()
    }
}
