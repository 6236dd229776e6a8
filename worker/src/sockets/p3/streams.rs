//! The streams of a 0.3 socket: accepted connections, incoming bytes and outgoing bytes.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::{net::TcpStream, sync::oneshot};
use warren_net::{ReadEnd, Reader, WriteEnd, Writer};
use wasmtime::{
    AsContextMut as _, StoreContextMut,
    component::{Destination, Resource, Source, StreamConsumer, StreamProducer, StreamResult},
};
use wasmtime_wasi::p3::bindings::sockets::types::{ErrorCode, TcpSocket as RealSocket};

use crate::sockets::{HasSockets, SocketError, TcpSocket};

use super::tcp::Socket;

/// The most bytes that one read or write moves if the guest does not give a number.
const CHUNK: usize = 64 << 10;

/// Resolves the future that accompanies a stream with how that direction of the connection ended.
type Ending = oneshot::Sender<Result<(), ErrorCode>>;

/// The connections of a listening socket, which listens as long as its handle or this stream lives.
pub(super) struct Accepted(pub Arc<Mutex<TcpSocket>>);

/// Bytes from the peer.
pub(super) struct Received {
    from: Option<From>,
    ending: Option<Ending>,
}

/// Bytes for the peer.
pub(super) struct Sent {
    to: Option<To>,
    ending: Option<Ending>,
}

/// The source of received bytes.
pub(super) enum From {
    Workload(Arc<Reader>),
    Machine(Arc<TcpStream>),
}

/// The destination of sent bytes.
pub(super) enum To {
    Workload(Arc<Writer>),
    Machine(Arc<TcpStream>),
}

// === impl Accepted ===

impl<T: HasSockets> StreamProducer<T> for Accepted {
    type Item = Resource<RealSocket>;
    type Buffer = Option<Self::Item>;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, T>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        // A read of no items asks whether one is available.
        if destination.remaining(&mut store) == Some(0) {
            let ready = self.0.lock().poll_ready(cx);
            return ready.or_cancelled(finish);
        }
        let accepted = self.0.lock().poll_accept(cx);
        match accepted {
            Poll::Pending => Poll::<()>::Pending.or_cancelled(finish),
            // The scope has ended, and so has the guest.
            Poll::Ready(Err(_)) => Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Ready(Ok((socket, _))) => {
                let socket = store.data_mut().sockets().table.push(Socket::new(socket))?;
                destination.set_buffer(Some(Resource::new_own(socket.rep())));
                Poll::Ready(Ok(StreamResult::Completed))
            }
        }
    }
}

// === impl Received ===

impl Received {
    pub fn new(from: From, ending: Ending) -> Self {
        Self {
            from: Some(from),
            ending: Some(ending),
        }
    }

    fn end(&mut self, how: Result<(), ErrorCode>) -> StreamResult {
        self.from = None;
        if let Some(ending) = self.ending.take() {
            // The guest may have dropped the future.
            let _ = ending.send(how);
        }
        StreamResult::Dropped
    }
}

impl Drop for Received {
    /// Shuts down receiving, as the guest has dropped its stream.
    fn drop(&mut self) {
        if let Some(From::Workload(reader)) = &self.from {
            reader.stop();
        }
        self.end(Ok(()));
    }
}

impl<T: 'static> StreamProducer<T> for Received {
    type Item = u8;
    type Buffer = BytesMut;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, T>,
        destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let Some(from) = &self.from else {
            return Poll::Ready(Ok(StreamResult::Dropped));
        };
        if destination.remaining(store.as_context_mut()) == Some(0) {
            return from.poll_ready(cx).or_cancelled(finish);
        }
        let mut destination = destination.as_direct(store, CHUNK);
        match from.poll_read(cx, destination.remaining()) {
            Poll::Pending => Poll::<()>::Pending.or_cancelled(finish),
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(self.end(Ok(())))),
            Poll::Ready(Ok(read)) => {
                destination.mark_written(read);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Ok(self.end(Err(error.into())))),
        }
    }
}

// === impl Sent ===

impl Sent {
    pub fn new(to: To, ending: Ending) -> Self {
        Self {
            to: Some(to),
            ending: Some(ending),
        }
    }

    fn end(&mut self, how: Result<(), ErrorCode>) -> StreamResult {
        self.to = None;
        if let Some(ending) = self.ending.take() {
            let _ = ending.send(how);
        }
        StreamResult::Dropped
    }
}

impl Drop for Sent {
    /// Shuts down sending, as the guest has dropped its stream.
    fn drop(&mut self) {
        if let Some(to) = &self.to {
            to.shutdown();
        }
        self.end(Ok(()));
    }
}

impl<T: 'static> StreamConsumer<T> for Sent {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<T>,
        source: Source<Self::Item>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let Some(to) = &self.to else {
            return Poll::Ready(Ok(StreamResult::Dropped));
        };
        let mut source = source.as_direct(store);
        // A write of no bytes asks whether there is room.
        if source.remaining().is_empty() {
            return to.poll_ready(cx).or_cancelled(finish);
        }
        match to.poll_write(cx, source.remaining()) {
            Poll::Pending => Poll::<()>::Pending.or_cancelled(finish),
            Poll::Ready(Ok(written)) => {
                source.mark_read(written);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Ok(self.end(Err(error.into())))),
        }
    }
}

// === impl From ===

impl From {
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Workload(reader) => reader.poll_ready(cx),
            Self::Machine(stream) => stream.poll_read_ready(cx).map(drop),
        }
    }

    /// Reads into `into`; 0 bytes mean the end of the stream.
    fn poll_read(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<Result<usize, SocketError>> {
        match self {
            Self::Workload(reader) => {
                let read = ready!(reader.poll_copy(cx, &mut &mut *into));
                Poll::Ready(match read {
                    Ok(read) => Ok(read),
                    Err(ReadEnd::Eof) => Ok(0),
                    Err(ReadEnd::Reset) => Err(SocketError::ConnectionReset),
                })
            }
            Self::Machine(stream) => loop {
                ready!(stream.poll_read_ready(cx))?;
                match stream.try_read(into) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return Poll::Ready(read.map_err(SocketError::from)),
                }
            },
        }
    }
}

// === impl To ===

impl To {
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Workload(writer) => writer.poll_ready(cx),
            Self::Machine(stream) => stream.poll_write_ready(cx).map(drop),
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, SocketError>> {
        match self {
            Self::Workload(writer) => {
                let bytes = &bytes[..bytes.len().min(CHUNK)];
                let written = writer.poll_copy(cx, bytes);
                written.map_err(SocketError::from)
            }
            Self::Machine(stream) => loop {
                ready!(stream.poll_write_ready(cx))?;
                match stream.try_write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    written => return Poll::Ready(written.map_err(SocketError::from)),
                }
            },
        }
    }

    fn shutdown(&self) {
        match self {
            Self::Workload(writer) => writer.shutdown(),
            // A failure means that the connection is already gone.
            Self::Machine(stream) => {
                let _ = rustix::net::shutdown(stream, rustix::net::Shutdown::Write);
            }
        }
    }
}

impl std::convert::From<WriteEnd> for SocketError {
    fn from(end: WriteEnd) -> Self {
        match end {
            WriteEnd::Reset => Self::ConnectionReset,
            WriteEnd::Closed | WriteEnd::Shutdown => Self::ConnectionBroken,
        }
    }
}

trait OrCancelled {
    /// Returns the result of a stream operation that moved nothing: cancelled if the guest no
    /// longer waits.
    fn or_cancelled(self, finish: bool) -> Poll<wasmtime::Result<StreamResult>>;
}

impl OrCancelled for Poll<()> {
    fn or_cancelled(self, finish: bool) -> Poll<wasmtime::Result<StreamResult>> {
        match self {
            Poll::Ready(()) => Poll::Ready(Ok(StreamResult::Completed)),
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }
}
