//! The socket of a client while HTTP is spoken on it, and how it is closed.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::{rt::TokioIo, server::conn::auto};
use rustix::{io::ioctl_fionread, net::Shutdown};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{exchange::Budget, turns::Turns};

/// The silence after its answer that means that a client has sent everything.
const QUIET: Duration = Duration::from_secs(5);
/// The longest time that a worker which is stopping waits for the rest of a refused upload.
const LAST: Duration = Duration::from_secs(1);
const PIECE: usize = 16 << 10;

/// The socket of one client. HTTP reads and writes one handle. Another one stays with the
/// connection's task, which watches the socket and closes it.
#[derive(Clone)]
pub(super) struct Socket {
    stream: Arc<TcpStream>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    turns: Arc<Turns>,
    /// True if the client has closed its side or the connection is broken, so that nothing more
    /// arrives.
    over: AtomicBool,
}

/// Returns the client's connection after a switch of protocols, with the bytes that were read
/// before it.
pub(crate) fn after_http(upgraded: Upgraded) -> Option<(TcpStream, Bytes)> {
    let parts = auto::upgrade::downcast::<TokioIo<Socket>>(upgraded).ok()?;
    let stream = Arc::into_inner(parts.io.into_inner().stream)?;
    Some((stream, parts.read_buf))
}

// === impl Socket ===

impl Socket {
    pub fn new(stream: TcpStream, turns: Arc<Turns>) -> Self {
        Self {
            stream: Arc::new(stream),
            shared: Arc::new(Shared {
                turns,
                over: AtomicBool::new(false),
            }),
        }
    }

    /// Completes when the connection is broken: the client has reset it, or no longer answers. If a
    /// client has only closed its sending side, that is no reason to give up its request.
    pub async fn broken(&self) {
        // An error of the wait itself means the same.
        let _ = self.stream.ready(Interest::ERROR).await;
    }

    /// Returns whether closing now would reset the connection before the client has read
    /// everything, because bytes that it sent have not been read.
    pub fn has_unread(&self) -> bool {
        !self.shared.over.load(Ordering::Acquire)
            && ioctl_fionread(&*self.stream).is_ok_and(|unread| unread > 0)
    }

    /// Returns whether the client may still send.
    pub fn is_open(&self) -> bool {
        !self.shared.over.load(Ordering::Acquire)
    }

    /// Closes the sending side, and discards what the client still sends until it closes its own
    /// side, falls silent or has exhausted the budget (RFC 9112, section 9.6).
    pub async fn linger(self, budget: &Budget, draining: &CancellationToken) {
        if rustix::net::shutdown(&*self.stream, Shutdown::Write).is_err() {
            return;
        }
        let rest = async {
            let end = Instant::now() + budget.time();
            let mut piece = vec![0; PIECE];
            while let Ok(Ok(())) =
                timeout_at(end.min(Instant::now() + QUIET), self.readable()).await
            {
                match self.stream.try_read(&mut piece) {
                    Ok(0) => return,
                    Ok(count) if !budget.spend(count) => return,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        };
        tokio::pin!(rest);
        tokio::select! {
            () = &mut rest => {}
            () = draining.cancelled() => {
                let _ = tokio::time::timeout(LAST, rest).await;
            }
        }
    }

    /// Closes the connection with a reset instead of an end of stream.
    pub fn reset(self) {
        // If this fails, the client sees an end of stream.
        let _ = self.stream.set_zero_linger();
    }

    async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    fn try_read(&self, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        let (room, mut read) = (buffer.remaining(), 0);
        let result = self.stream.try_io(Interest::READABLE, || {
            read = self.stream.try_read_buf(buffer)?;
            // The kernel has no more bytes at present. Reporting this here saves a read that would
            // only return the same.
            match 0 < read && read < room {
                true => Err(io::ErrorKind::WouldBlock.into()),
                false => Ok(()),
            }
        });
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && read > 0 => Ok(()),
            result => result,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.remaining();
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    if result.is_err() || before > 0 && buffer.remaining() == before {
                        self.shared.over.store(true, Ordering::Release);
                    }
                    return Poll::Ready(result);
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, || self.stream.try_write(data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, || self.stream.try_write_vectored(pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The connection's task closes the socket, once it knows in which way.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Socket {
    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        mut send: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let polled = loop {
            match self.stream.poll_write_ready(cx) {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {}
            }
            match send() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => break Poll::Ready(result),
            }
        };
        self.shared.turns.wrote(polled)
    }
}
