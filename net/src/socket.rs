//! Sockets without an address.

use std::net::SocketAddr;

use super::{Bound, Connecting, NetError, UdpSocket, network::Handle, state::Source};

/// A socket that has no port yet or has lost it. It counts as one socket and holds nothing else;
/// dropping it frees its place.
///
/// Every operation returns the socket when it fails, so that the caller can try again, or keep the
/// socket so that it still counts against the limit.
pub struct Socket {
    handle: Handle,
}

// === impl Socket ===

impl Socket {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// Abandons the handle's connection attempt, and returns its socket without a port.
    pub(super) fn given_up(handle: Handle) -> Self {
        handle
            .network
            .update(|state, after| state.give_up(handle.key, after));
        Self { handle }
    }

    /// Binds the socket to a port: see [`super::Scope::bind`].
    pub fn bind(self, local: SocketAddr) -> Result<Bound, (Self, NetError)> {
        let key = self.handle.key;
        let bound = self
            .handle
            .network
            .update(|state, _| state.bind(key, local));
        match bound {
            Ok(local) => Ok(Bound::new(self.handle, local)),
            Err(error) => Err((self, error)),
        }
    }

    /// Binds the socket to a UDP port: see [`super::Scope::bind_udp`].
    pub fn bind_udp(self, local: SocketAddr) -> Result<UdpSocket, (Self, NetError)> {
        let key = self.handle.key;
        let bound = self
            .handle
            .network
            .update(|state, after| state.bind_udp(key, local, after));
        match bound {
            Ok(local) => Ok(UdpSocket::new(self.handle, local)),
            Err(error) => Err((self, error)),
        }
    }

    /// Connects from any free port: see [`super::Scope::connect`].
    pub fn connect(self, to: SocketAddr) -> Result<Connecting, (Self, NetError)> {
        let key = self.handle.key;
        let begun = self.handle.network.update(|state, after| {
            let begun = state.connect(Source::Socket(key), to, after);
            if begun.is_err() {
                state.unbind(key);
            }
            begun
        });
        match begun {
            Ok(begun) => Ok(Connecting::new(self.handle, begun)),
            Err(error) => Err((self, error)),
        }
    }

    /// Sets the size of its connections' receive buffers: see [`super::Reader::set_buffer`].
    pub fn set_buffer(&self, bytes: usize) -> usize {
        self.handle.set_buffer(bytes)
    }
}
