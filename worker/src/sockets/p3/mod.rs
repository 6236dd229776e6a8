//! `wasi:sockets` 0.3 over the workload's network.

mod lookup;
mod machine;
mod streams;
mod tcp;
mod udp;

use wasmtime::component::Linker;
use wasmtime_wasi::p3::{
    bindings::sockets::{
        ip_name_lookup,
        types::{self, ErrorCode, IpAddressFamily},
    },
    sockets::SocketError as Trappable,
};

use super::{Family, HasSockets, SocketError, Sockets, SocketsView};

/// Replaces wasmtime's access to the machine's network with the workload's network. Must be called
/// after all of WASI 0.3 has been added.
pub fn add_to_linker<T: HasSockets>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    types::add_to_linker::<T, Sockets>(linker, T::sockets)?;
    ip_name_lookup::add_to_linker::<T, Sockets>(linker, T::sockets)?;
    linker.allow_shadowing(false);
    Ok(())
}

type SocketResult<T> = Result<T, Trappable>;

impl types::Host for SocketsView<'_> {
    fn convert_error_code(&mut self, error: Trappable) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }
}

impl From<SocketError> for ErrorCode {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::AccessDenied => Self::AccessDenied,
            SocketError::NotSupported => Self::NotSupported,
            SocketError::InvalidArgument => Self::InvalidArgument,
            SocketError::InvalidState => Self::InvalidState,
            SocketError::WouldBlock => Self::Other(Some("would block".to_owned())),
            // 0.3 has no code for EMFILE.
            SocketError::TooManySockets | SocketError::OutOfMemory => Self::OutOfMemory,
            SocketError::AddressNotBindable => Self::AddressNotBindable,
            SocketError::AddressInUse => Self::AddressInUse,
            SocketError::ConnectionRefused => Self::ConnectionRefused,
            SocketError::ConnectionReset => Self::ConnectionReset,
            SocketError::ConnectionBroken => Self::ConnectionBroken,
            SocketError::Timeout => Self::Timeout,
            SocketError::RemoteUnreachable => Self::RemoteUnreachable,
            SocketError::DatagramTooLarge => Self::DatagramTooLarge,
        }
    }
}

impl From<SocketError> for Trappable {
    fn from(error: SocketError) -> Self {
        ErrorCode::from(error).into()
    }
}

impl From<IpAddressFamily> for Family {
    fn from(family: IpAddressFamily) -> Self {
        match family {
            IpAddressFamily::Ipv4 => Self::Ipv4,
            IpAddressFamily::Ipv6 => Self::Ipv6,
        }
    }
}

impl From<Family> for IpAddressFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::Ipv4 => Self::Ipv4,
            Family::Ipv6 => Self::Ipv6,
        }
    }
}
