//! The workload network: a private, in-process 127.0.0.0/8 and `::1` for one replica, with TCP and
//! UDP.
//!
//! The module depends on neither wasmtime nor the kernel's sockets. Guests reach it through the
//! `wasi:sockets` implementations in `sockets`; the host (probes, publishing, HTTP) makes the same
//! calls directly. Connections behave like TCP (RFC 9293) from a socket's point of view: there are
//! no packets, no delay and no loss. UDP drops datagrams that the receiver has no room for.
//!
//! Locks are taken in this order: first the network's mutex over its ports and sockets, which bind,
//! connect, accept and close take; then the mutex of one direction of a connection, which is the
//! only one that reading and writing take. No task is woken and no caller's value is dropped while
//! a lock is held. The network spawns no tasks: a socket that nothing polls costs only memory, and
//! all of that memory is bounded by [`NetLimits`].

mod address;
mod buffer;
mod conn;
mod connecting;
mod end;
mod listener;
mod network;
mod pipe;
mod pool;
mod ports;
mod scope;
mod socket;
mod state;
mod stream;
mod udp;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use connecting::Connecting;
pub use end::{ReadEnd, WriteEnd};
pub use listener::{Bound, Listener};
pub use network::Network;
pub use scope::Scope;
pub use socket::Socket;
pub use stream::{Reader, Stream, Writer};
pub use udp::{Datagram, UdpGateway, UdpSocket};

/// The longest queue of connections that wait to be accepted. A larger backlog is clamped to it, as
/// on Linux.
pub const MAX_BACKLOG: usize = 4096;

/// The largest payload of a datagram over IPv4, in bytes (RFC 768 within RFC 791).
pub const MAX_DATAGRAM_V4: usize = 65_507;

/// The largest payload of a datagram over IPv6, in bytes.
pub const MAX_DATAGRAM_V6: usize = 65_527;

/// The smallest receive buffer that a socket can have, in bytes. A smaller request is clamped to
/// it.
pub const MIN_BUFFER: usize = 2 << 10;

/// The largest receive buffer that a socket can have, in bytes. A larger request is clamped to it.
/// All buffers of a network together hold at most [`NetLimits::buffered`], whatever their sizes.
pub const MAX_BUFFER: usize = 4 << 20;

/// The limits of one network, over all its scopes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetLimits {
    /// The number of sockets in any state, bound or not. A connection inside the network counts as
    /// two, one for each end, from the moment it is begun. The outer ends of published connections
    /// do not count: the publisher bounds them.
    pub sockets: usize,
    /// The number of listening TCP sockets.
    pub listeners: usize,
    /// The size of a new connection's receive buffer in each direction, in bytes. A guest may set
    /// another size between [`MIN_BUFFER`] and [`MAX_BUFFER`].
    pub buffer: usize,
    /// The size of a new UDP socket's receive queue, in bytes. A guest may set another size within
    /// the same bounds.
    pub datagrams: usize,
    /// The number of unread bytes in all sockets together. Beyond it, writers wait and datagrams
    /// are dropped. Each direction of a connection additionally has a floor of its own, which does
    /// not count here: a sixteenth of `buffer`, at most 4 KiB.
    pub buffered: usize,
    /// The backlog of a listener that does not set one, in connections.
    pub backlog: usize,
    /// How long a connection attempt waits for room in a listener's backlog.
    pub connect_timeout: Duration,
}

impl Default for NetLimits {
    fn default() -> Self {
        Self {
            sockets: 1024,
            listeners: 256,
            buffer: 256 << 10,
            datagrams: 256 << 10,
            buffered: 32 << 20,
            backlog: 128,
            connect_timeout: Duration::from_secs(75),
        }
    }
}

impl NetLimits {
    /// Returns the size that a receive buffer gets when a guest requests this many bytes.
    pub fn clamp_buffer(&self, bytes: usize) -> usize {
        let smallest = MIN_BUFFER.min(self.buffer).min(self.datagrams);
        bytes.clamp(smallest, MAX_BUFFER)
    }
}

/// An account that a network's buffers share with other users of host memory. All amounts are
/// bytes.
pub trait Ledger: Send + Sync {
    /// Returns the most that the network may hold.
    fn most(&self) -> usize;

    /// Returns how much could be taken at this moment.
    fn free(&self) -> usize;

    /// Takes all of the bytes or none, and returns whether it took them.
    fn take(&self, bytes: usize) -> bool;

    /// Returns bytes that were taken.
    fn give(&self, bytes: usize);
}

/// A snapshot of what a network holds. All counts are zero when every socket is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sockets in any state, the outer ends of published connections included.
    pub sockets: usize,
    /// Listening sockets.
    pub listeners: usize,
    /// Connection attempts that wait for room in a backlog.
    pub waiting: usize,
    /// Ports in use, on any address.
    pub ports: usize,
    /// Bytes that were written and not yet read.
    pub buffered: usize,
}

/// How a scope ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest returned: peers read what was sent, then end of stream.
    Closed,
    /// The guest trapped, was killed or hit a limit: peers read what was sent, then get a reset and
    /// never a clean end of stream.
    Aborted,
}

/// Why the network refuses an operation. The variants are named after the `error-code` of
/// `wasi:sockets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    #[error("the port is in use, or no ephemeral port is free")]
    AddressInUse,
    #[error("only 127.0.0.0/8, ::1, 0.0.0.0 and :: exist in a workload's network")]
    AddressNotBindable,
    #[error("nothing listens on this address")]
    ConnectionRefused,
    #[error("the connection timed out because the listener's backlog stayed full")]
    Timeout,
    #[error("the workload has too many sockets")]
    TooManySockets,
    #[error("the workload has too many listeners")]
    TooManyListeners,
    #[error("the datagram is too large")]
    DatagramTooLarge,
    #[error("the guest that held this socket has ended")]
    ScopeEnded,
}
