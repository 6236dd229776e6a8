//! The workload network: one replica's private 127.0.0.0/8 and `::1`, in process, TCP and UDP.
//!
//! A library that knows neither wasmtime nor the kernel's sockets. Guests reach it through the faces in
//! `sockets`, the host (probes, publishing, HTTP) through the same calls. What behaves as TCP (RFC 9293) does so
//! from a socket's point of view: there are no packets, no delay and no loss. UDP loses what its receiver has no room for.
//!
//! Locks, and their order: one mutex for a network's ports and sockets, taken to bind, connect, accept and close;
//! then one for each direction of a connection, all that reading and writing take. Nothing is woken, and no user's
//! value is dropped, while one is held. There are no tasks of its own: what nobody polls costs memory alone, and
//! every such cost is counted in [`NetLimits`].

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

/// The longest queue of connections that wait to be accepted; longer requests are clamped, as Linux does.
pub const MAX_BACKLOG: usize = 4096;

/// The largest payload of a datagram over IPv4, in bytes (RFC 768 within RFC 791).
pub const MAX_DATAGRAM_V4: usize = 65_507;

/// The largest payload of a datagram over IPv6, in bytes.
pub const MAX_DATAGRAM_V6: usize = 65_527;

/// The smallest receive buffer that a socket can have, in bytes; smaller wishes are clamped.
pub const MIN_BUFFER: usize = 2 << 10;

/// The largest receive buffer that a socket can have, in bytes; larger wishes are clamped. All of a network together
/// hold [`NetLimits::buffered`], whatever each may.
pub const MAX_BUFFER: usize = 4 << 20;

/// Bounds of one network, for all its scopes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetLimits {
    /// Sockets in any state, bound or not; a connection inside the network is two, one for each end, from its start.
    /// The outer ends of published connections do not count: their publisher bounds them.
    pub sockets: usize,
    /// Sockets of TCP that listen.
    pub listeners: usize,
    /// Bytes of a new connection's receive buffers, one for each direction. A guest may ask for another size, from
    /// [`MIN_BUFFER`] to [`MAX_BUFFER`].
    pub buffer: usize,
    /// Bytes of datagrams that wait in a new UDP socket to be read. A guest may ask for another size, likewise.
    pub datagrams: usize,
    /// Bytes that wait to be read in all sockets together. Beyond it writers wait and datagrams are dropped; a sixteenth of
    /// `buffer`, 4 KiB at most, is each connection's own in each direction and comes on top.
    pub buffered: usize,
    /// The backlog of a listener that asks for none, in connections.
    pub backlog: usize,
    /// How long a connection waits for room in a listener's backlog.
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
    /// What a receive buffer becomes for which a guest asks this many bytes.
    pub fn clamp_buffer(&self, bytes: usize) -> usize {
        let smallest = MIN_BUFFER.min(self.buffer).min(self.datagrams);
        bytes.clamp(smallest, MAX_BUFFER)
    }
}

/// Where the bytes that a network's buffers hold are counted among others. In bytes.
pub trait Ledger: Send + Sync {
    /// What the network may hold at most.
    fn most(&self) -> usize;

    /// What could be taken at this moment.
    fn free(&self) -> usize;

    /// Takes all of it or nothing.
    fn take(&self, bytes: usize) -> bool;

    fn give(&self, bytes: usize);
}

/// What a network holds at one moment; all zero when every socket is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sockets in any state, the outer ends of published connections included.
    pub sockets: usize,
    /// Sockets that listen.
    pub listeners: usize,
    /// Connections that wait for room in a backlog.
    pub waiting: usize,
    /// Ports in use, by any address.
    pub ports: usize,
    /// Bytes written and not yet read.
    pub buffered: usize,
}

/// How a scope ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As a process that returns: peers read what was sent, then end of stream.
    Closed,
    /// As a trap, a kill or a limit: peers read what was sent, then a reset and never a clean end.
    Aborted,
}

/// Why the network refuses an operation; the words are those of `wasi:sockets` `error-code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    #[error("the port is in use, or no ephemeral port is left")]
    AddressInUse,
    #[error("only 127.0.0.0/8, ::1, 0.0.0.0 and :: exist in a workload's network")]
    AddressNotBindable,
    #[error("nothing listens on this address")]
    ConnectionRefused,
    #[error("the listener accepted nothing in time")]
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
