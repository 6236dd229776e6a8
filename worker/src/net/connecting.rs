//! A connection that may have to wait for its listener.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    NetError, Stream,
    conn::{Conn, Side},
    network::Handle,
};

/// Resolves to the connection as soon as it stands, which is before the peer accepts it. It fails with
/// `ConnectionRefused` when the listener closes, `Timeout`, or `ScopeEnded`.
///
/// It goes on while nobody polls it. Dropping it gives back its place and port; when the connection stood already,
/// the peer sees it closed. Polling one that waits needs a tokio runtime with time.
pub struct Connecting {
    /// None once it has resolved.
    handle: Option<Handle>,
    conn: Option<Arc<Conn>>,
    deadline: Instant,
    /// Made when it first has to wait.
    timer: Option<Pin<Box<Sleep>>>,
}

// === impl Connecting ===

impl Connecting {
    pub(super) fn new(handle: Handle, conn: Option<Arc<Conn>>) -> Self {
        let deadline = Instant::now() + handle.network.limits().connect_timeout;
        Self {
            handle: Some(handle),
            conn,
            deadline,
            timer: None,
        }
    }

    fn poll_conn(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Conn>, NetError>> {
        if let Some(conn) = self.conn.take() {
            return Poll::Ready(Ok(conn));
        }
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
        self.poll_conn(cx).map(|result| {
            // An error closes the socket, here and now.
            let handle = self.handle.take();
            let conn = result?;
            let handle = handle.ok_or(NetError::ScopeEnded)?;
            Ok(Stream::new(handle, conn, Side::Client))
        })
    }
}
