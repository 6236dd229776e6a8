//! A connection that may have to wait for its listener.

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

/// Resolves to the connection as soon as it stands, which is before the peer accepts it. It fails with
/// `ConnectionRefused` when the listener closes, `Timeout`, or `ScopeEnded`; its port is free then.
///
/// It goes on while nobody polls it. Dropping it gives back its place and port; when the connection stood already,
/// the peer sees it closed. Polling one that waits needs a tokio runtime with time.
pub struct Connecting {
    /// None once it has resolved.
    handle: Option<Handle>,
    /// What is known and not told yet.
    outcome: Option<Result<Arc<Conn>, NetError>>,
    /// What is left of it when it has failed.
    failed: Option<Socket>,
    local: SocketAddr,
    deadline: Instant,
    /// Made when it first has to wait.
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

    /// The address that it comes from.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Sets the receive buffer that the connection will have: see [`super::Reader::set_buffer`].
    pub fn set_buffer(&self, bytes: usize) {
        if let Some(handle) = &self.handle {
            handle.set_buffer(bytes);
        }
    }

    /// Ends the attempt, if it has not failed already, and leaves the socket without a port: whoever keeps it keeps its
    /// place. None when it has become a stream.
    pub fn give_up(self) -> Option<Socket> {
        self.failed.or_else(|| self.handle.map(Socket::given_up))
    }

    /// Whether it has an outcome, which the next poll tells.
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
