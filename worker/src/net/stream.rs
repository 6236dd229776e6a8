//! A connection's end, whole or as two halves.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::coop,
};

use super::{
    ReadEnd, WriteEnd,
    conn::{Conn, Side},
    network::Handle,
    pipe::{Pipe, Sent, Taken},
};

/// An established connection. Dropping it closes it: the peer reads what was sent, then end of stream, or a reset
/// when bytes were left unread here; what it writes from then on fails.
pub struct Stream {
    // Dropped in this order: whether something is left unread decides how the writer ends.
    reader: Reader,
    writer: Writer,
}

/// The receiving half. When it is dropped before its [`Writer`], what arrives is discarded.
pub struct Reader(Arc<Half>);

/// The sending half. Dropping it before its [`Reader`] shuts the direction down as [`Self::shutdown`] does.
pub struct Writer(Arc<Half>);

/// What both halves share. The socket is closed when the second of them is dropped.
struct Half {
    conn: Arc<Conn>,
    side: Side,
    handle: Handle,
}

// === impl Stream ===

impl Stream {
    pub(super) fn new(handle: Handle, conn: Arc<Conn>, side: Side) -> Self {
        let half = Arc::new(Half { conn, side, handle });
        Self {
            reader: Reader(Arc::clone(&half)),
            writer: Writer(half),
        }
    }

    /// Stays what it is after both sides closed.
    pub fn local_addr(&self) -> SocketAddr {
        self.reader.0.conn.local(self.reader.0.side)
    }

    /// Stays what it is after both sides closed.
    pub fn peer_addr(&self) -> SocketAddr {
        self.reader.0.conn.peer(self.reader.0.side)
    }

    pub fn split(self) -> (Reader, Writer) {
        (self.reader, self.writer)
    }
}

// === impl Reader ===

impl Reader {
    /// Takes up to `max` bytes without copying. Empty means none at present, or `max` 0; fewer than `max` does not
    /// mean that there are no more. An end is final and comes after everything that was sent.
    pub fn try_read(&mut self, max: usize) -> Result<Bytes, ReadEnd> {
        self.pipe().read(max)
    }

    /// Whether [`Self::try_read`] has bytes or an end. One task at a time: the last to poll is woken.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.pipe().poll_readable(cx)
    }

    /// Copies what there is to `out`, as far as it fits, or waits for bytes or an end. Shares its place with
    /// [`Self::poll_ready`].
    pub fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut impl BufMut,
    ) -> Poll<Result<usize, ReadEnd>> {
        self.pipe().poll_read(cx, out)
    }

    /// `shutdown(receive)` of `wasi:sockets/tcp`: what is buffered and what arrives is discarded, and reads end. The
    /// peer does not notice: its writes succeed, as they do on Linux.
    pub fn stop(&mut self) {
        self.pipe().turn_away(Taken::Stopped);
    }

    /// The receive buffer's size, in bytes.
    pub fn buffer(&self) -> usize {
        self.pipe().capacity()
    }

    /// Sets it, clamped from [`super::MIN_BUFFER`] to [`super::MAX_BUFFER`]. Bytes that are buffered or that the peer
    /// was promised room for stay. Returns what it is, in bytes.
    pub fn set_buffer(&mut self, bytes: usize) -> usize {
        let bytes = self.0.handle.network.limits().clamp_buffer(bytes);
        self.pipe().set_capacity(bytes);
        bytes
    }

    fn pipe(&self) -> &Pipe {
        self.0.conn.incoming(self.0.side)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.pipe().turn_away(Taken::Dropped);
    }
}

// === impl Writer ===

impl Writer {
    /// Hands `data` to the peer, as far as its receive buffer has room: returns how many bytes that was, 0 when it
    /// is full. Chunks of 4 KiB and more are not copied and keep their allocation alive until they are read, so
    /// `data` should own most of what it refers to; of a chunk that only fits in part a copy may be taken.
    pub fn try_write(&mut self, data: Bytes) -> Result<usize, WriteEnd> {
        self.pipe().write(data)
    }

    /// Bytes that the next [`Self::try_write`] takes, up to 64 KiB. The promise holds even if the peer's buffer is made
    /// smaller; it keeps that room from the network's other sockets until then, or until it is asked for again.
    pub fn capacity(&self) -> Result<usize, WriteEnd> {
        self.pipe().offer()
    }

    /// [`Self::capacity`] once it is not 0. Shares its place with [`Self::poll_ready`].
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, WriteEnd>> {
        self.pipe().poll_offer(cx)
    }

    /// Copies as much of `data` as the peer's receive buffer has room for, or waits for room or an end. Shares its place
    /// with [`Self::poll_ready`].
    pub fn poll_copy(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<Result<usize, WriteEnd>> {
        self.pipe().poll_write(cx, data)
    }

    /// Why nothing can be written any more, if that is so.
    pub fn end(&self) -> Option<WriteEnd> {
        self.pipe().write_end()
    }

    /// Whether there is room, or an end. One task at a time: the last to poll is woken.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.pipe().poll_writable(cx)
    }

    /// Why nothing can be written any more, as soon as that is so. Shares its place with [`Self::poll_ready`]: of
    /// the two the last to be polled is woken.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<WriteEnd> {
        self.pipe().poll_write_end(cx)
    }

    /// `shutdown(send)`: the peer reads what is buffered, then end of stream. The other direction stays open.
    pub fn shutdown(&mut self) {
        self.pipe().finish(Sent::Fin);
    }

    fn pipe(&self) -> &Pipe {
        self.0.conn.outgoing(self.0.side)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // If bytes were left unread by a reader that is gone, closing the socket resets instead.
        if !self.0.conn.incoming(self.0.side).is_lost() {
            self.shutdown();
        }
    }
}

// === tokio's traits ===

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A peer on another thread may never let it wait: then tokio's budget makes it yield.
        let budget = ready!(coop::poll_proceed(cx));
        let result = ready!(self.pipe().poll_read(cx, buf));
        budget.made_progress();
        match result {
            Ok(_) | Err(ReadEnd::Eof) => Poll::Ready(Ok(())),
            Err(end @ ReadEnd::Reset) => Poll::Ready(Err(end.into())),
        }
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let budget = ready!(coop::poll_proceed(cx));
        let result = ready!(self.pipe().poll_write(cx, data));
        budget.made_progress();
        Poll::Ready(result.map_err(io::Error::from))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let budget = ready!(coop::poll_proceed(cx));
        let mut written = 0;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            match self.pipe().poll_write(cx, part) {
                Poll::Ready(Ok(n)) => {
                    written += n;
                    // Room that a reader makes from here on is for the rest of this part.
                    if n < part.len() {
                        break;
                    }
                }
                // The next call meets it again.
                Poll::Pending | Poll::Ready(Err(_)) if written > 0 => break,
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(end)) => return Poll::Ready(Err(end.into())),
            }
        }
        budget.made_progress();
        Poll::Ready(Ok(written))
    }

    /// Writers such as hyper then need not join what they write first.
    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What was written is with the peer already.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.writer.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}
