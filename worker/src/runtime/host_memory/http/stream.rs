//! The part of a 0.2 body that a guest has written and that has not been taken yet.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime_wasi::{
    async_trait,
    p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult, pipe},
};

use crate::runtime::host_memory::{Held, HostBudget};

/// A stream into a body. Its pieces are charged until they have been sent.
pub(super) struct MeteredStream {
    stream: DynOutputStream,
    budget: Arc<HostBudget>,
}

// === impl MeteredStream ===

impl MeteredStream {
    pub fn wrap(stream: &mut DynOutputStream, budget: &Arc<HostBudget>) {
        let inner = std::mem::replace(stream, Box::new(pipe::ClosedOutputStream));
        *stream = Box::new(Self {
            stream: inner,
            budget: Arc::clone(budget),
        });
    }
}

#[async_trait]
impl Pollable for MeteredStream {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}

#[async_trait]
impl OutputStream for MeteredStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let held = self.budget.hold(Held::Bodies, bytes);
        let held = held.map_err(|error| StreamError::LastOperationFailed(error.into()))?;
        self.stream.write(held)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.stream.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let permit = self.stream.check_write()?;
        Ok(self.budget.piece(permit))
    }

    async fn cancel(&mut self) {
        self.stream.cancel().await;
    }
}
