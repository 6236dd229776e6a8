//! A connection attempt, which may have to wait for its listener.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    NetError, Socket, Stream,
    conn::{Conn, Side},
    network::Handle,
    state::Begun,
};

/// A future that resolves to the connection as soon as it is established, which is before the peer
/// accepts it. It fails with `ConnectionRefused` if the listener closes, with `Timeout`, or with
/// `ScopeEnded`; its port is then free.
///
/// The attempt progresses even while it is not polled. Dropping it frees its place and port; if the
/// connection was already established, the peer sees it closed. Polling an attempt that has to wait
/// needs a tokio runtime with time enabled.
pub struct Connecting {
    /// `None` once the future has resolved.
    handle: Option<Handle>,
    /// The outcome, from when it is known until the future resolves.
    outcome: Option<Result<Arc<Conn>, NetError>>,
    /// The socket that remains after a failure.
    failed: Option<Socket>,
    local: SocketAddr,
    deadline: Instant,
    /// Created when the attempt first has to wait.
    timer: Option<Pin<Box<Sleep>>>,
}

// === impl Connecting ===

impl Connecting {
    pub(super) fn new(handle: Handle, begun: Begun) -> Self {
        let deadline = Instant::now() + handle.network.limits().connect_timeout;
        Self {
            handle: Some(handle),
            outcome: begun.conn.map(Ok),
            failed: None,
            local: begun.local,
            deadline,
            timer: None,
        }
    }

    /// Returns the source address of the connection.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Sets the receive buffer that the connection will have: see [`super::Reader::set_buffer`].
    pub fn set_buffer(&self, bytes: usize) {
        if let Some(handle) = &self.handle {
            handle.set_buffer(bytes);
        }
    }

    /// Abandons the attempt and returns its socket without a port, which still counts against the
    /// limit until it is dropped. Returns `None` if the attempt has become a stream.
    pub fn give_up(self) -> Option<Socket> {
        self.failed.or_else(|| self.handle.map(Socket::given_up))
    }

    /// Waits until the outcome is known; the next poll of the future then returns it.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.outcome.is_none() {
            self.outcome = Some(ready!(self.poll_conn(cx)));
        }
        Poll::Ready(())
    }

    fn poll_conn(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Conn>, NetError>> {
        let Some(handle) = &self.handle else {
            return Poll::Ready(Err(NetError::ScopeEnded));
        };
        let result = handle
            .network
            .update(|state, after| state.poll_connect(handle.key, cx, after));
        if result.is_ready() {
            return result;
        }
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(self.deadline)));
        timer.as_mut().poll(cx).map(|()| Err(NetError::Timeout))
    }
}

impl Future for Connecting {
    type Output = Result<Stream, NetError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(self.poll_ready(cx));
        let (outcome, handle) = (self.outcome.take(), self.handle.take());
        Poll::Ready(match (outcome, handle) {
            (Some(Ok(conn)), Some(handle)) => Ok(Stream::new(handle, conn, Side::Client)),
            (Some(Err(error)), handle) => {
                self.failed = handle.map(Socket::given_up);
                Err(error)
            }
            (Some(Ok(_)), None) | (None, _) => Err(NetError::ScopeEnded),
        })
    }
}
