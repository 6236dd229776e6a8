//! The two streams of a connection, as `wasi:io` sees them.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime_wasi::{
    async_trait,
    p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult},
};

use crate::net::{ReadEnd, Reader, WriteEnd, Writer};

pub(super) struct TcpInput(pub Arc<Mutex<Reader>>);

impl TcpInput {
    fn poll_read(&self, cx: &mut Context<'_>, size: usize) -> Poll<StreamResult<Bytes>> {
        let mut reader = self.0.lock();
        if reader.poll_ready(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(reader.try_read(size).map_err(read_error))
    }
}

#[async_trait]
impl InputStream for TcpInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.0.lock().try_read(size).map_err(read_error)
    }

    // The provided one gives up, with a trap, after ten wake-ups without data.
    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        poll_fn(|cx| self.poll_read(cx, size)).await
    }
}

#[async_trait]
impl Pollable for TcpInput {
    async fn ready(&mut self) {
        poll_fn(|cx| self.0.lock().poll_ready(cx)).await;
    }
}

fn read_error(end: ReadEnd) -> StreamError {
    match end {
        ReadEnd::Eof => StreamError::Closed,
        ReadEnd::Reset => StreamError::LastOperationFailed(reset()),
    }
}

/// The last thing that went wrong, as an error that `network-error-code` understands.
fn reset() -> wasmtime::Error {
    std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()
}

/// What one write may carry: what the host allocates for it.
const CHUNK: usize = 64 << 10;

pub(super) struct TcpOutput(pub Arc<Mutex<Writer>>);

#[async_trait]
impl OutputStream for TcpOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let length = bytes.len();
        match self.0.lock().try_write(bytes) {
            Ok(written) if written == length => Ok(()),
            Ok(_) => Err(StreamError::trap("wrote more than check-write permitted")),
            Err(end) => Err(write_error(end)),
        }
    }

    fn flush(&mut self) -> StreamResult<()> {
        // What was written is with the receiver already.
        self.0.lock().capacity().map(drop).map_err(write_error)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match self.0.lock().capacity() {
            Ok(free) => Ok(free.min(CHUNK)),
            Err(end) => Err(write_error(end)),
        }
    }

    // The provided one waits for room after the last byte too: a full buffer would hold its writer
    // until the peer reads, which no system does.
    async fn blocking_write_and_flush(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        while !bytes.is_empty() {
            let permit = self.write_ready().await?;
            let chunk = bytes.split_to(permit.min(bytes.len()));
            self.write(chunk)?;
        }
        Ok(())
    }

    async fn write_ready(&mut self) -> StreamResult<usize> {
        poll_fn(|cx| {
            let mut writer = self.0.lock();
            match writer.poll_ready(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => Poll::Ready(match writer.capacity() {
                    Ok(free) => Ok(free.min(CHUNK)),
                    Err(end) => Err(write_error(end)),
                }),
            }
        })
        .await
    }
}

#[async_trait]
impl Pollable for TcpOutput {
    async fn ready(&mut self) {
        poll_fn(|cx| self.0.lock().poll_ready(cx)).await;
    }
}

fn write_error(end: WriteEnd) -> StreamError {
    match end {
        WriteEnd::Closed | WriteEnd::Shutdown => StreamError::Closed,
        WriteEnd::Reset => StreamError::LastOperationFailed(reset()),
    }
}

/// Asks once whether something is ready, for calls that must not wait.
pub(super) fn once() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
