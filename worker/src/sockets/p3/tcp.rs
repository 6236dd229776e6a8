//! TCP sockets of `wasi:sockets/types` 0.3.

use std::{
    future::poll_fn,
    iter, mem,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use wasmtime::component::{Access, Accessor, FutureReader, Resource, StreamReader};
use wasmtime_wasi::p3::bindings::sockets::types::{
    Duration, ErrorCode, HostTcpSocket, HostTcpSocketWithStore, IpAddressFamily, IpSocketAddress,
    TcpSocket as RealSocket,
};

use crate::sockets::{
    Family, HasSockets, SocketError, Sockets, SocketsView, TcpSocket,
    options::{self, Options},
};

use super::{
    SocketResult, Trappable,
    machine::Machine,
    streams::{Accepted, From, Received, Sent, To},
};

/// The socket behind a guest's handle.
pub(super) struct Socket {
    family: Family,
    kind: Kind,
    /// Keeps the place in the workload's network of a socket that is connected to the outside.
    place: Option<warren_net::Socket>,
    /// Whether each direction has been taken, which is possible once.
    sent: bool,
    received: bool,
}

enum Kind {
    /// Shared with the stream of the connections that it accepts.
    Workload(Arc<Mutex<TcpSocket>>),
    Machine(Machine),
}

/// A connection attempt, which ends with the call: if the guest cancels the call, the socket is
/// closed.
struct Attempt(Option<Arc<Mutex<TcpSocket>>>);

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            socket.lock().stop_connecting();
        }
    }
}

/// Converts between handle types. The guest's resource type is only a typed number.
fn own(socket: &Resource<RealSocket>) -> Resource<Socket> {
    Resource::new_borrow(socket.rep())
}

// === impl Socket ===

impl Socket {
    pub fn new(socket: TcpSocket) -> Self {
        Self {
            family: socket.family(),
            kind: Kind::Workload(Arc::new(Mutex::new(socket))),
            place: None,
            sent: false,
            received: false,
        }
    }

    fn workload(&self) -> Result<&Arc<Mutex<TcpSocket>>, SocketError> {
        match &self.kind {
            Kind::Workload(socket) => Ok(socket),
            Kind::Machine(_) => Err(SocketError::InvalidState),
        }
    }

    /// Begins to connect; [`Self::poll_connected`] completes it.
    fn connect(&mut self, remote: SocketAddr) -> Result<(), SocketError> {
        let mut socket = self.workload()?.lock();
        let Some(address) = socket.connect(remote)? else {
            return Ok(());
        };
        let options = socket.options;
        drop(socket);
        let machine = Machine::connect(self.family, options, remote, address)?;
        let kind = mem::replace(&mut self.kind, Kind::Machine(machine));
        if let Kind::Workload(left) = kind
            && let Some(left) = Arc::into_inner(left)
        {
            self.place = left.into_inner().into_place();
        }
        Ok(())
    }

    fn attempt(&self) -> Attempt {
        Attempt(self.workload().ok().cloned())
    }

    fn poll_connected(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        match &mut self.kind {
            Kind::Workload(socket) => socket.lock().poll_connected(cx).map_ok(drop),
            Kind::Machine(machine) => machine.poll_connected(cx),
        }
    }

    fn take_receiving(&mut self) -> Result<From, SocketError> {
        let from = match &self.kind {
            Kind::Workload(socket) => From::Workload(socket.lock().connection()?.reader),
            Kind::Machine(machine) => From::Machine(Arc::clone(machine.stream()?)),
        };
        match mem::replace(&mut self.received, true) {
            true => Err(SocketError::InvalidState),
            false => Ok(from),
        }
    }

    fn take_sending(&mut self) -> Result<To, SocketError> {
        let to = match &self.kind {
            Kind::Workload(socket) => To::Workload(socket.lock().connection()?.writer),
            Kind::Machine(machine) => To::Machine(Arc::clone(machine.stream()?)),
        };
        match mem::replace(&mut self.sent, true) {
            true => Err(SocketError::InvalidState),
            false => Ok(to),
        }
    }

    fn options(&self) -> Options {
        match &self.kind {
            Kind::Workload(socket) => socket.lock().options,
            Kind::Machine(machine) => machine.options,
        }
    }

    fn change(
        &mut self,
        change: impl FnOnce(&mut Options) -> Result<(), SocketError>,
    ) -> Result<(), SocketError> {
        match &mut self.kind {
            Kind::Workload(socket) => {
                let mut socket = socket.lock();
                change(&mut socket.options)?;
                socket.apply_options();
                Ok(())
            }
            Kind::Machine(machine) => {
                change(&mut machine.options)?;
                machine.apply_options()
            }
        }
    }
}

impl SocketsView<'_> {
    fn tcp(&mut self, this: &Resource<RealSocket>) -> SocketResult<&mut Socket> {
        self.table.get_mut(&own(this)).map_err(Trappable::trap)
    }
}

/// Defines the getter and the setter of one option. The getter returns the value as `parse` clamped
/// it.
macro_rules! option {
    ($get:ident, $set:ident: $type:ty, $field:ident, $parse:expr) => {
        fn $get(&mut self, this: Resource<RealSocket>) -> SocketResult<$type> {
            Ok(self.tcp(&this)?.options().$field)
        }

        fn $set(&mut self, this: Resource<RealSocket>, value: $type) -> SocketResult<()> {
            Ok(self.tcp(&this)?.change(|options| {
                options.$field = $parse(value)?;
                Ok(())
            })?)
        }
    };
}

impl<T: HasSockets> HostTcpSocketWithStore<T> for Sockets {
    async fn connect(
        store: &Accessor<T, Self>,
        this: Resource<RealSocket>,
        remote_address: IpSocketAddress,
    ) -> SocketResult<()> {
        let _attempt = store.with(|mut store| -> SocketResult<Attempt> {
            let mut view = store.get();
            let socket = view.tcp(&this)?;
            socket.connect(remote_address.into())?;
            Ok(socket.attempt())
        })?;
        poll_fn(|cx| {
            store.with(|mut store| match store.get().tcp(&this) {
                Ok(socket) => socket.poll_connected(cx).map_err(Trappable::from),
                Err(error) => Poll::Ready(Err(error)),
            })
        })
        .await
    }

    async fn listen(
        mut store: Access<'_, T, Self>,
        this: Resource<RealSocket>,
    ) -> SocketResult<StreamReader<Resource<RealSocket>>> {
        let socket = Arc::clone(store.get().tcp(&this)?.workload()?);
        socket.lock().listen_anywhere()?;
        StreamReader::new(&mut store, Accepted(socket)).map_err(Trappable::trap)
    }

    fn send(
        mut store: Access<'_, T, Self>,
        this: Resource<RealSocket>,
        mut data: StreamReader<u8>,
    ) -> wasmtime::Result<FutureReader<Result<(), ErrorCode>>> {
        let socket = store.get().table.get_mut(&own(&this))?;
        match socket.take_sending() {
            Ok(to) => {
                let (ending, ended) = oneshot::channel();
                data.pipe(&mut store, Sent::new(to, ending))?;
                FutureReader::new(&mut store, ended)
            }
            Err(error) => {
                data.close(&mut store)?;
                failed(store, error)
            }
        }
    }

    fn receive(
        mut store: Access<'_, T, Self>,
        this: Resource<RealSocket>,
    ) -> wasmtime::Result<(StreamReader<u8>, FutureReader<Result<(), ErrorCode>>)> {
        let socket = store.get().table.get_mut(&own(&this))?;
        match socket.take_receiving() {
            Ok(from) => {
                let (ending, ended) = oneshot::channel();
                let stream = StreamReader::new(&mut store, Received::new(from, ending))?;
                Ok((stream, FutureReader::new(&mut store, ended)?))
            }
            Err(error) => {
                let stream = StreamReader::new(&mut store, iter::empty())?;
                Ok((stream, failed(store, error)?))
            }
        }
    }
}

/// Returns a future that is already resolved with this result.
fn failed<T: HasSockets>(
    mut store: Access<'_, T, Sockets>,
    error: SocketError,
) -> wasmtime::Result<FutureReader<Result<(), ErrorCode>>> {
    let answer = async move { wasmtime::error::Ok(Err(error.into())) };
    FutureReader::new(&mut store, answer)
}

impl HostTcpSocket for SocketsView<'_> {
    fn create(&mut self, family: IpAddressFamily) -> SocketResult<Resource<RealSocket>> {
        let socket = Socket::new(TcpSocket::new(self.network.clone(), family.into())?);
        let socket = self.table.push(socket).map_err(Trappable::trap)?;
        Ok(Resource::new_own(socket.rep()))
    }

    async fn bind(
        &mut self,
        this: Resource<RealSocket>,
        local_address: IpSocketAddress,
    ) -> SocketResult<()> {
        let socket = self.tcp(&this)?.workload()?;
        Ok(socket.lock().bind(local_address.into())?)
    }

    fn get_local_address(&mut self, this: Resource<RealSocket>) -> SocketResult<IpSocketAddress> {
        Ok(match &self.tcp(&this)?.kind {
            Kind::Workload(socket) => socket.lock().local_addr()?.into(),
            Kind::Machine(machine) => machine.local_addr()?.into(),
        })
    }

    fn get_remote_address(&mut self, this: Resource<RealSocket>) -> SocketResult<IpSocketAddress> {
        Ok(match &self.tcp(&this)?.kind {
            Kind::Workload(socket) => socket.lock().remote_addr()?.into(),
            Kind::Machine(machine) => machine.remote_addr()?.into(),
        })
    }

    fn get_is_listening(&mut self, this: Resource<RealSocket>) -> wasmtime::Result<bool> {
        Ok(match &self.table.get(&own(&this))?.kind {
            Kind::Workload(socket) => socket.lock().is_listening(),
            Kind::Machine(_) => false,
        })
    }

    fn get_address_family(
        &mut self,
        this: Resource<RealSocket>,
    ) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&own(&this))?.family.into())
    }

    fn set_listen_backlog_size(
        &mut self,
        this: Resource<RealSocket>,
        value: u64,
    ) -> SocketResult<()> {
        let socket = self.tcp(&this)?.workload()?;
        Ok(socket.lock().set_backlog(value)?)
    }

    option!(get_keep_alive_enabled, set_keep_alive_enabled: bool, keep_alive, Ok::<bool, SocketError>);
    option!(
        get_keep_alive_idle_time,
        set_keep_alive_idle_time: Duration,
        keep_alive_idle,
        options::keep_alive_time
    );
    option!(
        get_keep_alive_interval,
        set_keep_alive_interval: Duration,
        keep_alive_interval,
        options::keep_alive_time
    );
    option!(
        get_keep_alive_count,
        set_keep_alive_count: u32,
        keep_alive_count,
        options::keep_alive_count
    );
    option!(get_hop_limit, set_hop_limit: u8, hop_limit, options::hop_limit);
    option!(
        get_receive_buffer_size,
        set_receive_buffer_size: u64,
        receive_buffer,
        options::buffer_size
    );
    option!(
        get_send_buffer_size,
        set_send_buffer_size: u64,
        send_buffer,
        options::buffer_size
    );

    fn drop(&mut self, this: Resource<RealSocket>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Socket>::new_own(this.rep()))?;
        Ok(())
    }
}
