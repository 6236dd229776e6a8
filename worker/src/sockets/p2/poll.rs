//! `wasi:io/poll` 0.2, with pollables of our own that are polled in place.
//!
//! wasmtime's implementation creates a boxed future for every pollable of a list, each time that a
//! guest passes the list. A server with many connections passes all of them whenever one of them
//! becomes ready. A pollable of ours stays registered with its source between two calls, so that a
//! later call only looks at a counter. Other pollables (clocks, HTTP, standard streams) are left to
//! wasmtime.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::task::AtomicWaker;
use warren_net::{Reader, Writer};
use wasmtime::component::{Resource, ResourceTable, ResourceTableError};
use wasmtime_wasi::p2::{
    DynPollable,
    bindings::io::poll::{Host, HostPollable},
};

use crate::sockets::{SocketsView, udp::BoundUdp};

/// The wake-ups of the pollables of one store. At most one call of a store waits at a time, so one
/// task is enough.
#[derive(Clone, Default)]
pub struct Wakeups(Option<Arc<Shared>>);

#[derive(Default)]
struct Shared {
    task: AtomicWaker,
    /// Is true if a pollable was woken since the last scan began.
    woken: AtomicBool,
}

/// The event that a pollable of ours waits for.
pub(super) enum Source {
    /// Bytes to read, or an end.
    Read(Arc<Reader>),
    /// Room to write, or an end.
    Write(Arc<Writer>),
    /// A datagram.
    Receive(Arc<BoundUdp>),
    /// Room for a datagram.
    Send(Arc<BoundUdp>),
}

/// The object behind a guest's pollable, if it is one of ours.
struct SocketPollable {
    source: Source,
    /// The waker that the source holds while the pollable is registered with it. A connection holds
    /// at most one, and drops it when it wakes it or when another takes its place. As long as there
    /// is a second reference, the source has therefore not become ready since it was last polled.
    registration: Arc<Registration>,
}

struct Registration(Arc<Shared>);

// === impl Shared ===

impl Shared {
    /// Registers the task, before a scan: whatever becomes ready after it was scanned wakes the
    /// task.
    fn begin(&self, cx: &Context<'_>) {
        self.woken.swap(false, Ordering::AcqRel);
        self.task.register(cx.waker());
    }

    /// Waits until a pollable is woken.
    fn poll_woken(&self, cx: &Context<'_>) -> Poll<()> {
        self.task.register(cx.waker());
        match self.woken.swap(false, Ordering::AcqRel) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Wake for Registration {
    fn wake(self: Arc<Self>) {
        let shared = Arc::clone(&self.0);
        // The reference must be gone before the task looks at the counter.
        drop(self);
        shared.woken.store(true, Ordering::Release);
        shared.task.wake();
    }
}

// === impl SocketPollable ===

impl Source {
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Read(reader) => reader.poll_ready(cx),
            Self::Write(writer) => writer.poll_ready(cx),
            Self::Receive(socket) => socket.poll_receivable(cx),
            Self::Send(socket) => socket.poll_sendable(cx),
        }
    }
}

impl SocketPollable {
    /// Returns whether the source is ready, and registers with it if it is not.
    fn is_ready(&self) -> bool {
        match &self.source {
            // A UDP socket may hold a second waker, with the machine's socket.
            Source::Read(_) | Source::Write(_) if Arc::strong_count(&self.registration) > 1 => {
                return false;
            }
            Source::Read(reader) if reader.is_ready() => return true,
            _ => {}
        }
        let waker = Waker::from(Arc::clone(&self.registration));
        let mut cx = Context::from_waker(&waker);
        self.source.poll_ready(&mut cx).is_ready()
    }
}

/// Converts between handle types. The guest's resource type is only a typed number.
fn own(pollable: &Resource<DynPollable>) -> Resource<SocketPollable> {
    Resource::new_borrow(pollable.rep())
}

/// Returns the pollable if it is one of ours, and `None` if it is one of wasmtime's.
fn find<'a>(
    table: &'a ResourceTable,
    pollable: &Resource<DynPollable>,
) -> Result<Option<&'a SocketPollable>, ResourceTableError> {
    match table.get(&own(pollable)) {
        Ok(found) => Ok(Some(found)),
        Err(ResourceTableError::WrongType) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Appends the positions of our pollables that are ready to `ready`, and those of wasmtime's to
/// `others`.
fn scan(
    table: &ResourceTable,
    pollables: &[Resource<DynPollable>],
    ready: &mut Vec<u32>,
    others: &mut Vec<u32>,
) -> wasmtime::Result<()> {
    for (position, pollable) in pollables.iter().enumerate() {
        let position = u32::try_from(position)?;
        match find(table, pollable)? {
            Some(pollable) if pollable.is_ready() => ready.push(position),
            Some(_) => {}
            None => others.push(position),
        }
    }
    Ok(())
}

impl SocketsView<'_> {
    /// Creates a pollable. As a child of `parent` it keeps its parent from being dropped.
    pub(super) fn subscribe_to<T: 'static>(
        &mut self,
        source: Source,
        parent: &Resource<T>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        let pollable = SocketPollable {
            source,
            registration: Arc::new(Registration(self.shared())),
        };
        let pollable = self.table.push_child(pollable, parent)?;
        Ok(Resource::new_own(pollable.rep()))
    }

    fn shared(&mut self) -> Arc<Shared> {
        Arc::clone(self.wakeups.0.get_or_insert_default())
    }
}

impl Host for SocketsView<'_> {
    /// Returns the positions of all pollables that are ready, in ascending order, once there is
    /// one. A pollable that is listed twice is returned twice.
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        if pollables.is_empty() {
            wasmtime::bail!("`poll` was called with an empty list, which would never return");
        }
        let shared = self.shared();
        let mut others = Vec::new();
        let mut ready = Vec::new();
        loop {
            others.clear();
            poll_fn(|cx| {
                shared.begin(cx);
                Poll::Ready(())
            })
            .await;
            scan(self.table, &pollables, &mut ready, &mut others)?;
            if others.is_empty() {
                if !ready.is_empty() {
                    return Ok(ready);
                }
                poll_fn(|cx| shared.poll_woken(cx)).await;
                continue;
            }
            let handles = others.iter().map(|&at| &pollables[at as usize]);
            let handles = handles.map(|of| Resource::new_borrow(of.rep())).collect();
            let mut polling = pin!(Host::poll(&mut *self.table, handles));
            // Pollables of wasmtime are polled even if one of ours is ready, so that busy
            // connections do not hide a timer.
            let found = poll_fn(|cx| {
                if ready.is_empty() && shared.poll_woken(cx).is_ready() {
                    return Poll::Ready(None);
                }
                match polling.as_mut().poll(cx) {
                    Poll::Ready(found) => Poll::Ready(Some(found)),
                    Poll::Pending if !ready.is_empty() => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await;
            if let Some(found) = found {
                ready.extend(found?.into_iter().map(|at| others[at as usize]));
            }
            if !ready.is_empty() {
                ready.sort_unstable();
                return Ok(ready);
            }
        }
    }
}

impl HostPollable for SocketsView<'_> {
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        match find(self.table, &pollable)? {
            Some(pollable) => Ok(pollable.is_ready()),
            None => self.table.ready(pollable).await,
        }
    }

    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        let shared = self.shared();
        let Some(own) = find(self.table, &pollable)? else {
            return self.table.block(pollable).await;
        };
        poll_fn(|cx| {
            shared.begin(cx);
            match own.is_ready() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        Ok(())
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        if find(self.table, &pollable)?.is_none() {
            return HostPollable::drop(self.table, pollable);
        }
        self.table
            .delete(Resource::<SocketPollable>::new_own(pollable.rep()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
