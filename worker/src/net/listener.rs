//! Bound and listening sockets.

use std::{
    future::poll_fn,
    net::SocketAddr,
    task::{Context, Poll, ready},
};

use super::{Connecting, NetError, Network, Socket, Stream, conn::Side, network::Handle};

/// A port that is held, for listening or connecting. Dropping it frees the port at once.
pub struct Bound {
    handle: Handle,
    local: SocketAddr,
}

/// A listening socket. Dropping it frees the port at once, resets what was not accepted and refuses what waits.
pub struct Listener {
    handle: Handle,
    local: SocketAddr,
}

// === impl Bound ===

impl Bound {
    pub(super) fn new(handle: Handle, local: SocketAddr) -> Self {
        Self { handle, local }
    }

    /// As it was bound, with the port that was chosen for 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Lets connections come. Up to `backlog` (1 to [`super::MAX_BACKLOG`], clamped) are established before they
    /// are accepted; more wait. Fails with `TooManyListeners` or `ScopeEnded`, and is closed then.
    pub fn listen(self, backlog: usize) -> Result<Listener, NetError> {
        self.try_listen(backlog).map_err(|(_, error)| error)
    }

    /// [`Self::listen`] that leaves the socket as it was when it fails.
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

    /// Connects from this port: see [`super::Scope::connect`]. A failure frees the port and leaves a socket without one.
    pub fn connect(self, to: SocketAddr) -> Result<Connecting, (Socket, NetError)> {
        Socket::new(self.handle).connect(to)
    }

    /// Sets the receive buffer that its connections will have: see [`super::Reader::set_buffer`].
    pub fn set_buffer(&self, bytes: usize) -> usize {
        self.handle.set_buffer(bytes)
    }

    /// [`Self::listen`] with the network's own backlog.
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
    /// As it was bound: 0.0.0.0 stays 0.0.0.0. An accepted stream has the address its peer asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The next established connection, if there is one. The peer may have closed it meanwhile: then it reads as
    /// closed. `ScopeEnded` is the only error, and final.
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

    /// [`Self::try_accept`], or waits. One task at a time: the last to poll is woken.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Stream, NetError>> {
        loop {
            if let Some(accepted) = self.try_accept() {
                return Poll::Ready(accepted);
            }
            ready!(self.poll_ready(cx));
        }
    }

    /// Whether [`Self::try_accept`] has something to say.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let handle = &self.handle;
        handle
            .network
            .update(|state, after| state.poll_acceptable(handle.key, cx, after))
    }

    /// Cancellation loses no connection.
    pub async fn accept(&mut self) -> Result<Stream, NetError> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// Changes the backlog (1 to [`super::MAX_BACKLOG`], clamped). A smaller one drops nothing that is established.
    pub fn set_backlog(&self, backlog: usize) {
        let handle = &self.handle;
        handle
            .network
            .update(|state, after| state.set_backlog(handle.key, backlog, after));
    }

    /// Sets the receive buffer that connections established from now on have; clamped as in
    /// [`super::Reader::set_buffer`]. Returns what it is, in bytes.
    pub fn set_buffer(&self, bytes: usize) -> usize {
        self.handle.set_buffer(bytes)
    }
}
