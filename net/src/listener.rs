//! Bound and listening sockets.

use std::{
    future::poll_fn,
    net::SocketAddr,
    task::{Context, Poll, ready},
};

use super::{Connecting, NetError, Network, Socket, Stream, conn::Side, network::Handle};

/// A socket bound to a port, to listen on or to connect from. Dropping it frees the port at once.
pub struct Bound {
    handle: Handle,
    local: SocketAddr,
}

/// A listening socket. Dropping it frees the port at once, resets connections that were not
/// accepted and refuses those that wait for room in the backlog.
pub struct Listener {
    handle: Handle,
    local: SocketAddr,
}

// === impl Bound ===

impl Bound {
    pub(super) fn new(handle: Handle, local: SocketAddr) -> Self {
        Self { handle, local }
    }

    /// Returns the address it was bound to, with the chosen port in place of port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Starts to listen. Up to `backlog` connections (1 to [`super::MAX_BACKLOG`], clamped) are
    /// established before they are accepted; further ones wait. Fails with `TooManyListeners` or
    /// `ScopeEnded`, and then closes the socket.
    pub fn listen(self, backlog: usize) -> Result<Listener, NetError> {
        self.try_listen(backlog).map_err(|(_, error)| error)
    }

    /// Like [`Self::listen`], but returns the socket unchanged on failure.
    pub fn try_listen(self, backlog: usize) -> Result<Listener, (Self, NetError)> {
        let Self { handle, local } = self;
        let listening = handle
            .network
            .update(|state, after| state.listen(handle.key, backlog, after));
        match listening {
            Ok(()) => Ok(Listener { handle, local }),
            Err(error) => Err((Self { handle, local }, error)),
        }
    }

    /// Connects from this port: see [`super::Scope::connect`]. On failure the port is freed and the
    /// socket is returned without one.
    pub fn connect(self, to: SocketAddr) -> Result<Connecting, (Socket, NetError)> {
        Socket::new(self.handle).connect(to)
    }

    /// Sets the size of its connections' receive buffers: see [`super::Reader::set_buffer`].
    pub fn set_buffer(&self, bytes: usize) -> usize {
        self.handle.set_buffer(bytes)
    }

    /// Like [`Self::listen`], with the network's default backlog.
    pub fn listen_default(self) -> Result<Listener, NetError> {
        let backlog = self.handle.network.limits().backlog;
        self.listen(backlog)
    }

    pub(super) fn is_of(&self, network: &Network) -> bool {
        self.handle.network.is(network)
    }
}

// === impl Listener ===

impl Listener {
    /// Returns the address it was bound to: 0.0.0.0 stays 0.0.0.0. The local address of an accepted
    /// stream is the one its peer connected to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Returns the next established connection, if there is one. If the peer has closed it since,
    /// its reads say so. `ScopeEnded` is the only error, and is final.
    pub fn try_accept(&mut self) -> Option<Result<Stream, NetError>> {
        let network = &self.handle.network;
        let accepted = network.update(|state, after| state.accept(self.handle.key, after));
        accepted
            .map(|next| {
                next.map(|(key, conn)| {
                    Stream::new(
                        Handle {
                            network: network.clone(),
                            key,
                        },
                        conn,
                        Side::Server,
                    )
                })
            })
            .transpose()
    }

    /// Like [`Self::try_accept`], but waits for a connection. Only the task that polled last is
    /// woken.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Stream, NetError>> {
        loop {
            if let Some(accepted) = self.try_accept() {
                return Poll::Ready(accepted);
            }
            ready!(self.poll_ready(cx));
        }
    }

    /// Waits until [`Self::try_accept`] would return a connection or an error.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let handle = &self.handle;
        handle
            .network
            .update(|state, after| state.poll_acceptable(handle.key, cx, after))
    }

    /// Accepts the next connection. Cancel safe: no connection is lost.
    pub async fn accept(&mut self) -> Result<Stream, NetError> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// Changes the backlog (1 to [`super::MAX_BACKLOG`], clamped). A smaller one does not drop
    /// established connections.
    pub fn set_backlog(&self, backlog: usize) {
        let handle = &self.handle;
        handle
            .network
            .update(|state, after| state.set_backlog(handle.key, backlog, after));
    }

    /// Sets the receive buffer of connections that are established from now on, clamped as in
    /// [`super::Reader::set_buffer`]. Returns the resulting size in bytes.
    pub fn set_buffer(&self, bytes: usize) -> usize {
        self.handle.set_buffer(bytes)
    }
}
