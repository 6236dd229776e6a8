//! `wasi:io/streams` 0.2: the streams of our connections, beside those of wasmtime.
//!
//! A handle refers to a [`TcpInput`] or [`TcpOutput`], which is called directly, or to a stream of
//! wasmtime (standard streams, files, HTTP bodies, sockets of the machine), which wasmtime calls.

use std::future::poll_fn;

use bytes::Bytes;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult,
    bindings::io::streams::{self, Host, HostInputStream, HostOutputStream},
};

use crate::sockets::SocketsView;

use super::streams::{TcpInput, TcpOutput};

/// The most bytes of a call that writes and waits.
const BLOCKING_WRITE: u64 = 4096;

/// Converts between handle types. The guest's resource type is only a typed number.
fn input(stream: &Resource<DynInputStream>) -> Resource<TcpInput> {
    Resource::new_borrow(stream.rep())
}

fn output(stream: &Resource<DynOutputStream>) -> Resource<TcpOutput> {
    Resource::new_borrow(stream.rep())
}

fn size(bytes: u64) -> usize {
    bytes.try_into().unwrap_or(usize::MAX)
}

impl SocketsView<'_> {
    fn tcp_input(&self, stream: &Resource<DynInputStream>) -> Option<&TcpInput> {
        self.table.get(&input(stream)).ok()
    }

    fn tcp_output(&self, stream: &Resource<DynOutputStream>) -> Option<&TcpOutput> {
        self.table.get(&output(stream)).ok()
    }

    fn read_bytes(
        &mut self,
        stream: &Resource<DynInputStream>,
        length: usize,
    ) -> StreamResult<Bytes> {
        match self.tcp_input(stream) {
            Some(input) => input.read(length),
            None => self.table.get_mut(stream)?.read(length),
        }
    }

    async fn blocking_read_bytes(
        &mut self,
        stream: &Resource<DynInputStream>,
        length: usize,
    ) -> StreamResult<Bytes> {
        match self.tcp_input(stream) {
            Some(input) => poll_fn(|cx| input.poll_read(cx, length)).await,
            None => self.table.get_mut(stream)?.blocking_read(length).await,
        }
    }

    async fn blocking_write(
        &mut self,
        stream: &Resource<DynOutputStream>,
        bytes: Bytes,
    ) -> StreamResult<()> {
        match self.tcp_output(stream) {
            Some(output) => output.write_all(&bytes).await,
            None => {
                let output = self.table.get_mut(stream)?;
                output.blocking_write_and_flush(bytes).await
            }
        }
    }
}

impl Host for SocketsView<'_> {
    fn convert_stream_error(
        &mut self,
        error: StreamError,
    ) -> wasmtime::Result<streams::StreamError> {
        self.table.convert_stream_error(error)
    }
}

impl HostInputStream for SocketsView<'_> {
    fn read(&mut self, stream: Resource<DynInputStream>, length: u64) -> StreamResult<Vec<u8>> {
        Ok(self.read_bytes(&stream, size(length))?.into())
    }

    async fn blocking_read(
        &mut self,
        stream: Resource<DynInputStream>,
        length: u64,
    ) -> StreamResult<Vec<u8>> {
        let bytes = self.blocking_read_bytes(&stream, size(length)).await?;
        Ok(bytes.into())
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, length: u64) -> StreamResult<u64> {
        match self.tcp_input(&stream) {
            Some(input) => Ok(input.read(size(length))?.len() as u64),
            None => HostInputStream::skip(self.table, stream, length),
        }
    }

    async fn blocking_skip(
        &mut self,
        stream: Resource<DynInputStream>,
        length: u64,
    ) -> StreamResult<u64> {
        match self.tcp_input(&stream) {
            Some(input) => {
                let skipped = poll_fn(|cx| input.poll_read(cx, size(length))).await?;
                Ok(skipped.len() as u64)
            }
            None => HostInputStream::blocking_skip(self.table, stream, length).await,
        }
    }

    fn subscribe(
        &mut self,
        stream: Resource<DynInputStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        match self.tcp_input(&stream).map(TcpInput::source) {
            Some(source) => self.subscribe_to(source, &stream),
            None => HostInputStream::subscribe(self.table, stream),
        }
    }

    async fn drop(&mut self, stream: Resource<DynInputStream>) -> wasmtime::Result<()> {
        if self.tcp_input(&stream).is_none() {
            return HostInputStream::drop(self.table, stream).await;
        }
        self.table
            .delete(Resource::<TcpInput>::new_own(stream.rep()))?;
        Ok(())
    }
}

impl HostOutputStream for SocketsView<'_> {
    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        match self.tcp_output(&stream) {
            Some(output) => Ok(output.permit()? as u64),
            None => self.table.check_write(stream),
        }
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        match self.tcp_output(&stream) {
            Some(output) => output.write(bytes.into()),
            None => self.table.write(stream, bytes),
        }
    }

    async fn blocking_write_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        bytes: Vec<u8>,
    ) -> StreamResult<()> {
        match self.tcp_output(&stream) {
            Some(output) => {
                check_blocking(bytes.len() as u64)?;
                output.write_all(&bytes).await
            }
            None => self.table.blocking_write_and_flush(stream, bytes).await,
        }
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        match self.tcp_output(&stream) {
            Some(output) => output.flush(),
            None => self.table.flush(stream),
        }
    }

    /// Does not wait for room, only for the bytes to leave, which they have done already: a full
    /// buffer would block the writer until the peer reads, which no operating system does.
    async fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        match self.tcp_output(&stream) {
            Some(output) => output.flush(),
            None => self.table.blocking_flush(stream).await,
        }
    }

    fn subscribe(
        &mut self,
        stream: Resource<DynOutputStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        match self.tcp_output(&stream).map(TcpOutput::source) {
            Some(source) => self.subscribe_to(source, &stream),
            None => HostOutputStream::subscribe(self.table, stream),
        }
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, length: u64) -> StreamResult<()> {
        match self.tcp_output(&stream) {
            Some(output) if size(length) > output.permit()? => Err(StreamError::trap(
                "wrote more zeroes than check-write permitted",
            )),
            Some(output) => output.write(vec![0; size(length)].into()),
            None => self.table.write_zeroes(stream, length),
        }
    }

    async fn blocking_write_zeroes_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        length: u64,
    ) -> StreamResult<()> {
        match self.tcp_output(&stream) {
            Some(output) => {
                check_blocking(length)?;
                output.write_all(&vec![0; size(length)]).await
            }
            None => {
                let table = &mut *self.table;
                table.blocking_write_zeroes_and_flush(stream, length).await
            }
        }
    }

    fn splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        length: u64,
    ) -> StreamResult<u64> {
        let permit = match self.tcp_output(&to) {
            Some(output) => output.permit()?,
            None => self.table.get_mut(&to)?.check_write()?,
        };
        let length = permit.min(size(length));
        if length == 0 {
            return Ok(0);
        }
        let bytes = self.read_bytes(&from, length)?;
        let moved = bytes.len() as u64;
        match self.tcp_output(&to) {
            _ if moved == 0 => {}
            Some(output) => output.write(bytes)?,
            None => self.table.get_mut(&to)?.write(bytes)?,
        }
        Ok(moved)
    }

    async fn blocking_splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        length: u64,
    ) -> StreamResult<u64> {
        let permit = match self.tcp_output(&to) {
            Some(output) => output.wait_for_permit().await?,
            None => self.table.get_mut(&to)?.write_ready().await?,
        };
        let length = permit.min(size(length));
        if length == 0 {
            return Ok(0);
        }
        let bytes = self.blocking_read_bytes(&from, length).await?;
        let moved = bytes.len() as u64;
        if moved > 0 {
            self.blocking_write(&to, bytes).await?;
        }
        Ok(moved)
    }

    async fn drop(&mut self, stream: Resource<DynOutputStream>) -> wasmtime::Result<()> {
        if self.tcp_output(&stream).is_none() {
            return HostOutputStream::drop(self.table, stream).await;
        }
        self.table
            .delete(Resource::<TcpOutput>::new_own(stream.rep()))?;
        Ok(())
    }
}

fn check_blocking(length: u64) -> StreamResult<()> {
    match length > BLOCKING_WRITE {
        true => Err(StreamError::trap(
            "a write that waits may carry at most 4096 bytes",
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
