//! The two streams of a connection, with the errors of `wasi:io` streams.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use warren_net::{ReadEnd, Reader, WriteEnd, Writer};
use wasmtime_wasi::p2::{StreamError, StreamResult};

use super::poll::Source;

/// The most bytes that one write may carry, which the host allocates for it.
const CHUNK: usize = 64 << 10;

/// The receiving direction of a connection.
pub(super) struct TcpInput(Arc<Reader>);

/// The sending direction of a connection.
pub(super) struct TcpOutput(Arc<Writer>);

// === impl TcpInput ===

impl TcpInput {
    pub fn new(reader: Arc<Reader>) -> Self {
        Self(reader)
    }

    pub fn source(&self) -> Source {
        Source::Read(Arc::clone(&self.0))
    }

    /// Takes up to `size` bytes, none if there are none at present.
    pub fn read(&self, size: usize) -> StreamResult<Bytes> {
        self.0.try_read(size).map_err(read_error)
    }

    /// Like [`Self::read`], but waits for bytes or an end.
    pub fn poll_read(&self, cx: &mut Context<'_>, size: usize) -> Poll<StreamResult<Bytes>> {
        self.0.poll_take(cx, size).map_err(read_error)
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

// === impl TcpOutput ===

impl TcpOutput {
    pub fn new(writer: Arc<Writer>) -> Self {
        Self(writer)
    }

    pub fn source(&self) -> Source {
        Source::Write(Arc::clone(&self.0))
    }

    /// Returns how many bytes the next write may carry.
    pub fn permit(&self) -> StreamResult<usize> {
        let room = self.0.capacity().map_err(write_error)?;
        Ok(room.min(CHUNK))
    }

    /// Like [`Self::permit`], but waits until it is not 0.
    pub async fn wait_for_permit(&self) -> StreamResult<usize> {
        let room = poll_fn(|cx| self.0.poll_capacity(cx)).await;
        Ok(room.map_err(write_error)?.min(CHUNK))
    }

    /// Writes what was permitted. More is a trap.
    pub fn write(&self, bytes: Bytes) -> StreamResult<()> {
        let length = bytes.len();
        match self.0.try_write(bytes) {
            Ok(written) if written == length => Ok(()),
            Ok(_) => Err(StreamError::trap("wrote more than check-write permitted")),
            Err(end) => Err(write_error(end)),
        }
    }

    /// Writes all bytes, and waits for the room that they need but not for more.
    pub async fn write_all(&self, mut bytes: &[u8]) -> StreamResult<()> {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| self.0.poll_copy(cx, bytes)).await;
            bytes = &bytes[written.map_err(write_error)?..];
        }
        Ok(())
    }

    pub fn flush(&self) -> StreamResult<()> {
        // This side has shut down the direction, which closes the stream.
        if self.0.end() == Some(WriteEnd::Shutdown) {
            return Err(StreamError::Closed);
        }
        // Written bytes are in the receiver's buffer already. If the receiver has closed since, the
        // next write reports it: the previous one has succeeded, and C libraries flush as part of
        // it.
        Ok(())
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
        (TcpInput(Arc::new(reader)), TcpOutput(Arc::new(writer)))
    }

    #[tokio::test]
    async fn a_flush_does_not_wait_for_room() {
        let (client, mut server) = connection().await;
        let (_input, output) = output(client);
        let mut written = 0;
        loop {
            let permit = output.permit().unwrap();
            if permit == 0 {
                break;
            }
            output.write(vec![7; permit].into()).unwrap();
            written += permit;
            output.flush().unwrap();
        }
        assert_eq!(written, NetLimits::default().buffer);
        // A call that asks for room does wait for it.
        let mut room = Box::pin(output.wait_for_permit());
        assert!(room.as_mut().poll(&mut once()).is_pending());
        let mut byte = [0];
        tokio::io::AsyncReadExt::read_exact(&mut server, &mut byte)
            .await
            .unwrap();
        assert_eq!(room.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_write_that_waits_ends_with_its_last_byte() {
        let (client, mut server) = connection().await;
        let (_input, output) = output(client);
        let room = NetLimits::default().buffer;
        // The buffer is full afterwards.
        output.write_all(&vec![7; room]).await.unwrap();
        let mut more = Box::pin(output.write_all(&[8, 9]));
        assert!(more.as_mut().poll(&mut once()).is_pending());
        let mut read = vec![0; room];
        tokio::io::AsyncReadExt::read_exact(&mut server, &mut read)
            .await
            .unwrap();
        more.await.unwrap();
        tokio::io::AsyncReadExt::read_exact(&mut server, &mut read[..2])
            .await
            .unwrap();
        assert_eq!(read[..3], [8, 9, 7]);
    }

    #[tokio::test]
    async fn a_write_that_succeeded_is_not_undone_by_its_flush() {
        let (client, mut server) = connection().await;
        let (_input, output) = output(client);
        output.permit().unwrap();
        output.write(Bytes::from_static(b"last words")).unwrap();
        let mut read = [0; 10];
        tokio::io::AsyncReadExt::read_exact(&mut server, &mut read)
            .await
            .unwrap();
        drop(server);
        output.flush().unwrap();
        assert!(matches!(output.permit(), Err(StreamError::Closed)));
    }
}
