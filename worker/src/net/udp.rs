//! UDP sockets, and the way of published ports to them.

use std::{
    future::poll_fn,
    net::SocketAddr,
    task::{Context, Poll, ready},
};

use bytes::Bytes;

use super::{NetError, network::Handle};

/// A datagram, with its other end: who sent it, or for what leaves by a gateway, whom it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub address: SocketAddr,
    pub data: Bytes,
}

/// A bound UDP socket. Sending never waits: what the receiver has no room for is lost, as UDP does. Dropping it frees the
/// port at once.
pub struct UdpSocket {
    handle: Handle,
    local: SocketAddr,
}

/// A way for clients outside to one UDP port. It stays while the socket on that port comes and goes.
pub struct UdpGateway {
    handle: Handle,
}

// === impl UdpSocket ===

impl UdpSocket {
    pub(super) fn new(handle: Handle, local: SocketAddr) -> Self {
        Self { handle, local }
    }

    /// As it was bound, with the port that was chosen for 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The address that its datagrams come from: 127.0.0.1 or `::1` for a socket bound to all.
    pub fn source_addr(&self) -> SocketAddr {
        let source = self.update(|state| state.udp_source(self.handle.key));
        source.unwrap_or(self.local)
    }

    /// Exchanges datagrams with this peer alone, or with `None` with all again. What others sent and was not read yet is
    /// lost. Fails with `ScopeEnded` alone.
    pub fn set_peer(&self, peer: Option<SocketAddr>) -> Result<(), NetError> {
        self.update(|state| state.set_peer(self.handle.key, peer))
    }

    /// Whether a datagram to this address stays in the network: it is loopback, or that of a client outside that has
    /// sent to this socket through a published port.
    pub fn reaches(&self, to: SocketAddr) -> bool {
        self.update(|state| state.udp_reaches(self.handle.key, to))
    }

    /// Sends at once; where it is lost nobody says so. A socket with a peer is told that nobody was there by the call
    /// after: `ConnectionRefused`. Fails also with `DatagramTooLarge` or `ScopeEnded`, and with `ConnectionRefused` for an
    /// address that it does not reach.
    pub fn try_send(&self, to: SocketAddr, data: Bytes) -> Result<(), NetError> {
        self.handle
            .network
            .update(|state, after| state.send_datagram(self.handle.key, to, data, after))
    }

    /// The next datagram, if there is one. `ConnectionRefused` is about one sent before; `ScopeEnded` is final.
    pub fn try_receive(&self) -> Option<Result<Datagram, NetError>> {
        self.update(|state| state.receive(self.handle.key))
    }

    /// Whether [`Self::try_receive`] has something to say. One task at a time: the last to poll is woken.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        poll_ready(&self.handle, cx)
    }

    /// Cancellation loses no datagram.
    pub async fn receive(&self) -> Result<Datagram, NetError> {
        receive(&self.handle).await
    }

    /// Sets how many bytes may wait to be read, clamped from [`super::MIN_BUFFER`] to [`super::MAX_BUFFER`]; one datagram
    /// fits whatever that is. Returns what it is.
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

    /// Hands over what a client sent. Lost where no socket of the client's family holds the port, or has room.
    pub fn deliver(&self, from: SocketAddr, data: Bytes) {
        self.handle
            .network
            .update(|state, after| state.deliver(self.handle.key, from, data, after));
    }

    /// Takes a client for one that was never heard of: the service reaches it no longer.
    pub fn forget(&self, client: SocketAddr) {
        self.handle
            .network
            .update(|state, _| state.forget_client(self.handle.key, client));
    }

    /// The next datagram for a client. Cancellation loses none; `ScopeEnded` is the only error, and final.
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
