//! Connections that are read to their end after the peer has closed.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A client's connection to a server that may answer and close before it has read the whole
/// request.
///
/// When the next write fails, the server's answer may still be unread. hyper abandons a connection
/// at the first error in either direction, so a failed write waits here until everything has been
/// read.
pub(crate) struct LastWords<T> {
    io: T,
    writes: Writes,
}

enum Writes {
    Open,
    /// A write has failed. The waker belongs to the writing task.
    Failed(Waker),
    /// Everything has been read.
    Over,
}

// === impl LastWords ===

impl<T> LastWords<T> {
    pub fn new(io: T) -> Self {
        Self {
            io,
            writes: Writes::Open,
        }
    }

    pub fn into_inner(self) -> T {
        self.io
    }

    /// Returns the outcome of a write, unless it failed and must wait until everything has been
    /// read.
    fn written<R>(&mut self, cx: &mut Context<'_>, result: io::Result<R>) -> Poll<io::Result<R>> {
        match (&self.writes, result) {
            (Writes::Open | Writes::Failed(_), Err(error)) if is_closed(&error) => {
                self.writes = Writes::Failed(cx.waker().clone());
                Poll::Pending
            }
            (_, result) => Poll::Ready(result),
        }
    }

    fn read_all(&mut self) {
        if let Writes::Failed(writer) = std::mem::replace(&mut self.writes, Writes::Over) {
            writer.wake();
        }
    }
}

/// Returns whether the error means that the peer has closed.
fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset
    )
}

impl<T: AsyncRead + Unpin> AsyncRead for LastWords<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        let is_end = buf.filled().len() == before && buf.remaining() > 0;
        if result.is_err() || is_end {
            self.read_all();
        }
        Poll::Ready(result)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for LastWords<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.io).poll_write(cx, data));
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, parts));
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.io).poll_flush(cx));
        self.written(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::pin;

    use futures::poll;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split};

    use super::*;

    #[tokio::test]
    async fn a_write_fails_only_after_everything_has_been_read() {
        let (near, mut far) = duplex(16);
        far.write_all(b"goodbye").await.unwrap();
        drop(far);
        let (mut reads, mut writes) = split(LastWords::new(near));
        let mut writing = pin!(writes.write_all(b"and so on"));
        assert!(poll!(&mut writing).is_pending());
        let mut said = [0; 7];
        reads.read_exact(&mut said).await.unwrap();
        assert!(poll!(&mut writing).is_pending());
        assert_eq!(reads.read(&mut said).await.unwrap(), 0);
        let error = writing.await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_writer_that_waits_is_woken_by_the_end() {
        let (near, mut far) = duplex(16);
        let (mut reads, mut writes) = split(LastWords::new(near));
        let writing = tokio::spawn(async move {
            loop {
                if let Err(error) = writes.write_all(&[0; 64]).await {
                    return error;
                }
            }
        });
        far.write_all(b"enough").await.unwrap();
        drop(far);
        let mut said = String::new();
        reads.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "enough");
        let error = writing.await.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
