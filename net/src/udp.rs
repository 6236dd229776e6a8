//! UDP sockets, and the gateways through which published ports reach them.

use std::{
    future::poll_fn,
    net::SocketAddr,
    task::{Context, Poll, ready},
};

use bytes::Bytes;

use super::{NetError, network::Handle};

/// A datagram with the address of the other end: its sender, or its destination if it leaves
/// through a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub address: SocketAddr,
    pub data: Bytes,
}

/// A bound UDP socket. Sending never waits: a datagram that the receiver has no room for is lost,
/// as UDP permits. Dropping the socket frees the port at once.
pub struct UdpSocket {
    handle: Handle,
    local: SocketAddr,
}

/// A gateway between clients outside and one UDP port. It persists while sockets on that port come
/// and go.
pub struct UdpGateway {
    handle: Handle,
}

// === impl UdpSocket ===

impl UdpSocket {
    pub(super) fn new(handle: Handle, local: SocketAddr) -> Self {
        Self { handle, local }
    }

    /// Returns the address it was bound to, with the chosen port in place of port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Returns the source address of its datagrams: 127.0.0.1 or `::1` for a socket that is bound
    /// to all addresses.
    pub fn source_addr(&self) -> SocketAddr {
        let source = self.update(|state| state.udp_source(self.handle.key));
        source.unwrap_or(self.local)
    }

    /// Restricts the socket to one peer, or with `None` lifts the restriction. Unread datagrams
    /// from others are dropped. `ScopeEnded` is the only error.
    pub fn set_peer(&self, peer: Option<SocketAddr>) -> Result<(), NetError> {
        self.update(|state| state.set_peer(self.handle.key, peer))
    }

    /// Returns whether the network delivers a datagram to this address: a loopback address, or that
    /// of a client outside that has sent to this socket through a published port.
    pub fn reaches(&self, to: SocketAddr) -> bool {
        self.update(|state| state.udp_reaches(self.handle.key, to))
    }

    /// Sends a datagram without waiting; a lost datagram is not reported. If a socket with a peer
    /// sent to a port that no socket is bound to, its next call fails with `ConnectionRefused`.
    /// Also fails with `DatagramTooLarge` or `ScopeEnded`, and with `ConnectionRefused` for an
    /// address that [`Self::reaches`] denies.
    pub fn try_send(&self, to: SocketAddr, data: Bytes) -> Result<(), NetError> {
        self.handle
            .network
            .update(|state, after| state.send_datagram(self.handle.key, to, data, after))
    }

    /// Returns the next datagram, if there is one. `ConnectionRefused` concerns a datagram that was
    /// sent earlier; `ScopeEnded` is final.
    pub fn try_receive(&self) -> Option<Result<Datagram, NetError>> {
        self.update(|state| state.receive(self.handle.key))
    }

    /// Waits until [`Self::try_receive`] would return a datagram or an error. Only the task that
    /// polled last is woken.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        poll_ready(&self.handle, cx)
    }

    /// Receives the next datagram. Cancel safe: no datagram is lost.
    pub async fn receive(&self) -> Result<Datagram, NetError> {
        receive(&self.handle).await
    }

    /// Sets how many unread bytes the socket may hold, clamped to [`super::MIN_BUFFER`] and
    /// [`super::MAX_BUFFER`]; an empty queue takes one datagram of any size. Returns the resulting
    /// size in bytes.
    pub fn set_buffer(&self, bytes: usize) -> usize {
        let bytes = self.handle.network.limits().clamp_buffer(bytes);
        self.update(|state| state.set_datagram_buffer(self.handle.key, bytes));
        bytes
    }

    fn update<R>(&self, f: impl FnOnce(&mut super::state::State) -> R) -> R {
        self.handle.network.update(|state, _| f(state))
    }
}

// === impl UdpGateway ===

impl UdpGateway {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// Delivers a client's datagram. It is lost if no socket of the client's family is bound to the
    /// port, or if the socket has no room.
    pub fn deliver(&self, from: SocketAddr, data: Bytes) {
        self.handle
            .network
            .update(|state, after| state.deliver(self.handle.key, from, data, after));
    }

    /// Forgets a client; the service can no longer reply to it.
    pub fn forget(&self, client: SocketAddr) {
        self.handle
            .network
            .update(|state, _| state.forget_client(self.handle.key, client));
    }

    /// Receives the next datagram for a client. Cancel safe: no datagram is lost. `ScopeEnded` is
    /// the only error, and is final.
    pub async fn receive(&self) -> Result<Datagram, NetError> {
        receive(&self.handle).await
    }
}

fn poll_ready(handle: &Handle, cx: &mut Context<'_>) -> Poll<()> {
    handle
        .network
        .update(|state, after| state.poll_receivable(handle.key, cx, after))
}

async fn receive(handle: &Handle) -> Result<Datagram, NetError> {
    poll_fn(|cx| {
        loop {
            let received = handle.network.update(|state, _| state.receive(handle.key));
            if let Some(received) = received {
                return Poll::Ready(received);
            }
            ready!(poll_ready(handle, cx));
        }
    })
    .await
}
