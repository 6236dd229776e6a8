//! One end of a connection, whole or as two halves.

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

/// An established connection. Dropping it closes it: the peer reads what was sent, then end of
/// stream, or a reset if bytes were left unread on this side. The peer's later writes fail.
pub struct Stream {
    // Dropped in this order: whether bytes are left unread decides how the writer ends.
    reader: Reader,
    writer: Writer,
}

/// The receiving half. If it is dropped before its [`Writer`], bytes that arrive are discarded.
/// Each call takes the one lock of the direction, so the half can be shared without another.
pub struct Reader(Arc<Half>);

/// The sending half. Dropping it before its [`Reader`] shuts the direction down, as
/// [`Self::shutdown`] does. It can be shared as a [`Reader`] can.
pub struct Writer(Arc<Half>);

/// The state that both halves share. The socket is closed when the second half is dropped.
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

    /// Returns the local address, also after both sides have closed the connection.
    pub fn local_addr(&self) -> SocketAddr {
        self.reader.0.conn.local(self.reader.0.side)
    }

    /// Returns the peer's address, also after both sides have closed the connection.
    pub fn peer_addr(&self) -> SocketAddr {
        self.reader.0.conn.peer(self.reader.0.side)
    }

    pub fn split(self) -> (Reader, Writer) {
        (self.reader, self.writer)
    }
}

// === impl Reader ===

impl Reader {
    /// Takes up to `max` bytes without copying. The result is empty if no bytes are available at
    /// present or `max` is 0; fewer than `max` bytes do not mean that there are no more. An end is
    /// final and comes after everything that was sent.
    pub fn try_read(&self, max: usize) -> Result<Bytes, ReadEnd> {
        self.pipe().read(max)
    }

    /// Like [`Self::try_read`], but waits for bytes or an end. Shares its waker with
    /// [`Self::poll_ready`].
    pub fn poll_take(&self, cx: &mut Context<'_>, max: usize) -> Poll<Result<Bytes, ReadEnd>> {
        self.pipe().poll_take(cx, max)
    }

    /// Returns whether [`Self::try_read`] would return bytes or an end. Takes no lock.
    pub fn is_ready(&self) -> bool {
        self.pipe().is_readable()
    }

    /// Waits until [`Self::try_read`] would return bytes or an end. Only the task that polled last
    /// is woken.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.pipe().poll_readable(cx)
    }

    /// Copies the buffered bytes that fit into `out`, or waits for bytes or an end. Shares its
    /// waker with [`Self::poll_ready`].
    pub fn poll_copy(
        &self,
        cx: &mut Context<'_>,
        out: &mut impl BufMut,
    ) -> Poll<Result<usize, ReadEnd>> {
        self.pipe().poll_read(cx, out)
    }

    /// Implements `shutdown(receive)` of `wasi:sockets/tcp`: bytes that are buffered or arrive
    /// later are discarded, and reads end. The peer does not notice: its writes succeed, as on
    /// Linux.
    pub fn stop(&self) {
        self.pipe().turn_away(Taken::Stopped);
    }

    /// Returns the size of the receive buffer, in bytes.
    pub fn buffer(&self) -> usize {
        self.pipe().capacity()
    }

    /// Sets the size of the receive buffer, clamped to [`super::MIN_BUFFER`] and
    /// [`super::MAX_BUFFER`]. Bytes that are buffered, and room that the peer was promised, stay.
    /// Returns the resulting size in bytes.
    pub fn set_buffer(&self, bytes: usize) -> usize {
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
    /// Passes as much of `data` to the peer as its receive buffer has room for, and returns how
    /// many bytes that was; 0 if the buffer is full. Chunks of 4 KiB or more are not copied and
    /// keep their allocation alive until they are read, so `data` should own most of what it refers
    /// to. A chunk that fits only in part may be copied.
    pub fn try_write(&self, data: Bytes) -> Result<usize, WriteEnd> {
        self.pipe().write(data)
    }

    /// Promises how many bytes the next [`Self::try_write`] takes, up to 64 KiB. The promise holds
    /// even if the peer's buffer is made smaller. It keeps that room from the network's other
    /// sockets until the write, or until the next call replaces the promise.
    pub fn capacity(&self) -> Result<usize, WriteEnd> {
        self.pipe().offer()
    }

    /// Like [`Self::capacity`], but waits until it is not 0. Shares its waker with
    /// [`Self::poll_ready`].
    pub fn poll_capacity(&self, cx: &mut Context<'_>) -> Poll<Result<usize, WriteEnd>> {
        self.pipe().poll_offer(cx)
    }

    /// Copies as much of `data` as the peer's receive buffer has room for, or waits for room or an
    /// end. Shares its waker with [`Self::poll_ready`].
    pub fn poll_copy(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, WriteEnd>> {
        self.pipe().poll_write(cx, data)
    }

    /// Returns why nothing more can be written, if the direction has ended.
    pub fn end(&self) -> Option<WriteEnd> {
        self.pipe().write_end()
    }

    /// Waits until there is room to write, or an end. Only the task that polled last is woken.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.pipe().poll_writable(cx)
    }

    /// Waits until nothing more can be written, and returns why. Shares its waker with
    /// [`Self::poll_ready`]: whichever of the two was polled last is woken.
    pub fn poll_end(&self, cx: &mut Context<'_>) -> Poll<WriteEnd> {
        self.pipe().poll_write_end(cx)
    }

    /// Implements `shutdown(send)`: the peer reads what is buffered, then end of stream. The other
    /// direction stays open.
    pub fn shutdown(&self) {
        self.pipe().finish(Sent::Fin);
    }

    fn pipe(&self) -> &Pipe {
        self.0.conn.outgoing(self.0.side)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // If the dropped reader left bytes unread, closing the socket sends a reset instead.
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
        // With a fast peer on another thread this may never be pending; tokio's budget makes it
        // yield.
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
                    // If the reader makes room now, the rest of this part comes first.
                    if n < part.len() {
                        break;
                    }
                }
                // The next call returns the same result.
                Poll::Pending | Poll::Ready(Err(_)) if written > 0 => break,
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(end)) => return Poll::Ready(Err(end.into())),
            }
        }
        budget.made_progress();
        Poll::Ready(Ok(written))
    }

    /// Lets writers such as hyper pass several slices instead of joining them first.
    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: written bytes are in the peer's buffer already.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
