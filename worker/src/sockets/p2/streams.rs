//! The two streams of a connection, as `wasi:io` streams.

use std::{
    future::poll_fn,
    mem,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use warren_net::{ReadEnd, Reader, WriteEnd, Writer};
use wasmtime_wasi::{
    async_trait,
    p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult},
};

pub(super) struct TcpInput(pub Arc<Reader>);

impl TcpInput {
    fn poll_read(&self, cx: &mut Context<'_>, size: usize) -> Poll<StreamResult<Bytes>> {
        let mut read = self.0.try_read(size);
        if read.as_ref().is_ok_and(Bytes::is_empty) {
            ready!(self.0.poll_ready(cx));
            read = self.0.try_read(size);
        }
        Poll::Ready(read.map_err(read_error))
    }
}

#[async_trait]
impl InputStream for TcpInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.0.try_read(size).map_err(read_error)
    }

    // The default implementation traps after ten wake-ups without data.
    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        poll_fn(|cx| self.poll_read(cx, size)).await
    }
}

#[async_trait]
impl Pollable for TcpInput {
    async fn ready(&mut self) {
        poll_fn(|cx| self.0.poll_ready(cx)).await;
    }
}

fn read_error(end: ReadEnd) -> StreamError {
    match end {
        ReadEnd::Eof => StreamError::Closed,
        ReadEnd::Reset => StreamError::LastOperationFailed(reset()),
    }
}

/// Returns a connection reset as an error that `network-error-code` understands.
fn reset() -> wasmtime::Error {
    std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()
}

/// The most bytes that one write may carry, which the host allocates for it.
const CHUNK: usize = 64 << 10;

pub(super) struct TcpOutput {
    writer: Arc<Writer>,
    /// Whether `flush` was the guest's last call on this stream.
    flushed: bool,
}

impl TcpOutput {
    pub fn new(writer: Arc<Writer>) -> Self {
        Self {
            writer,
            flushed: false,
        }
    }
}

#[async_trait]
impl OutputStream for TcpOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.flushed = false;
        let length = bytes.len();
        match self.writer.try_write(bytes) {
            Ok(written) if written == length => Ok(()),
            Ok(_) => Err(StreamError::trap("wrote more than check-write permitted")),
            Err(end) => Err(write_error(end)),
        }
    }

    fn flush(&mut self) -> StreamResult<()> {
        // This side has shut down the direction, which closes the stream.
        if self.writer.end() == Some(WriteEnd::Shutdown) {
            return Err(StreamError::Closed);
        }
        // Written bytes are in the receiver's buffer already. If the receiver has closed since, the
        // next write reports it: the previous one has succeeded, and C libraries flush as part of
        // it.
        self.flushed = true;
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.flushed = false;
        match self.writer.capacity() {
            Ok(free) => Ok(free.min(CHUNK)),
            Err(end) => Err(write_error(end)),
        }
    }

    // The default implementation also waits for room after the last byte: with a full buffer it
    // would block the writer until the peer reads, which no operating system does.
    async fn blocking_write_and_flush(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        self.flushed = false;
        while !bytes.is_empty() {
            let permit = self.write_ready().await?;
            let chunk = bytes.split_to(permit.min(bytes.len()));
            self.write(chunk)?;
        }
        Ok(())
    }

    async fn write_ready(&mut self) -> StreamResult<usize> {
        // This is the second half of `blocking-flush`, which waits for the bytes to leave, not for
        // room.
        if mem::take(&mut self.flushed) {
            return Ok(0);
        }
        let room = poll_fn(|cx| self.writer.poll_capacity(cx)).await;
        room.map(|free| free.min(CHUNK)).map_err(write_error)
    }
}

#[async_trait]
impl Pollable for TcpOutput {
    async fn ready(&mut self) {
        poll_fn(|cx| self.writer.poll_ready(cx)).await;
    }
}

fn write_error(end: WriteEnd) -> StreamError {
    match end {
        WriteEnd::Closed | WriteEnd::Shutdown => StreamError::Closed,
        WriteEnd::Reset => StreamError::LastOperationFailed(reset()),
    }
}

/// Returns a context for polling once, for calls that must not wait.
pub(super) fn once() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::SocketAddr;

    use warren_net::{NetLimits, Network, Stream};

    use super::*;

    async fn connection() -> (Stream, Stream) {
        let scope = Network::new(NetLimits::default()).scope();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut listener = scope.bind(any).unwrap().listen_default().unwrap();
        let client = scope.connect(None, listener.local_addr()).unwrap();
        let server = listener.accept().await.unwrap();
        (client.await.unwrap(), server)
    }

    fn output(stream: Stream) -> (TcpInput, TcpOutput) {
        let (reader, writer) = stream.split();
        let input = TcpInput(Arc::new(reader));
        (input, TcpOutput::new(Arc::new(writer)))
    }

    /// Runs `blocking-flush` as wasmtime does.
    async fn blocking_flush(output: &mut TcpOutput) -> StreamResult<()> {
        output.flush()?;
        output.write_ready().await.map(drop)
    }

    #[tokio::test]
    async fn a_flush_does_not_wait_for_room() {
        let (client, mut server) = connection().await;
        let (_input, mut output) = output(client);
        let mut written = 0;
        loop {
            let permit = output.check_write().unwrap();
            if permit == 0 {
                break;
            }
            output.write(vec![7; permit].into()).unwrap();
            written += permit;
            blocking_flush(&mut output).await.unwrap();
        }
        assert_eq!(written, NetLimits::default().buffer);
        // A call that asks for room does wait for it.
        let mut room = Box::pin(output.write_ready());
        assert!(room.as_mut().poll(&mut once()).is_pending());
        let mut byte = [0];
        tokio::io::AsyncReadExt::read_exact(&mut server, &mut byte)
            .await
            .unwrap();
        assert_eq!(room.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_write_that_succeeded_is_not_undone_by_its_flush() {
        let (client, mut server) = connection().await;
        let (_input, mut output) = output(client);
        output.check_write().unwrap();
        output.write(Bytes::from_static(b"last words")).unwrap();
        let mut read = [0; 10];
        tokio::io::AsyncReadExt::read_exact(&mut server, &mut read)
            .await
            .unwrap();
        drop(server);
        blocking_flush(&mut output).await.unwrap();
        assert!(matches!(output.check_write(), Err(StreamError::Closed)));
    }
}
