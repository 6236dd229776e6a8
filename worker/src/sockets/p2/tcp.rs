//! `wasi:sockets/tcp` and `tcp-create-socket` 0.2.

use std::{future::poll_fn, mem, net::SocketAddr, task::Poll};

use wasmtime::component::Resource;
use wasmtime_wasi::{
    async_trait,
    p2::{
        DynInputStream, DynOutputStream, DynPollable, Pollable, SocketResult,
        TcpSocket as RealSocket,
        bindings::sockets::{
            network::{ErrorCode, IpAddressFamily, IpSocketAddress, Network},
            tcp::{self, ShutdownType},
            tcp_create_socket,
        },
        subscribe,
    },
};

use crate::sockets::{Family, TcpSocket, options, tcp::Connection};

use super::{
    SocketError, SocketsView,
    machine::Machine,
    streams::{TcpInput, TcpOutput, once},
};

/// An operation that was started and not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Bind,
    Connect,
    Listen,
}

/// The socket behind a guest's handle.
pub(super) struct Socket {
    pub(super) kind: Kind,
    in_progress: Option<Operation>,
    family: Family,
    /// Keeps the place in the workload's network of a socket that is connected to the outside.
    place: Option<warren_net::Socket>,
}

pub(super) enum Kind {
    Workload(TcpSocket),
    Machine(Machine),
}

impl Socket {
    fn new(socket: TcpSocket) -> Self {
        Self {
            family: socket.family(),
            kind: Kind::Workload(socket),
            in_progress: None,
            place: None,
        }
    }

    fn workload(&mut self) -> Result<&mut TcpSocket, SocketError> {
        match &mut self.kind {
            Kind::Workload(socket) => Ok(socket),
            Kind::Machine(_) => Err(SocketError::InvalidState),
        }
    }

    fn idle(&self) -> SocketResult<()> {
        match self.in_progress {
            None => Ok(()),
            Some(_) => Err(ErrorCode::ConcurrencyConflict.into()),
        }
    }

    /// Fails with `invalid-state` while `operation` is in progress.
    fn not_during(&self, operation: Operation) -> SocketResult<()> {
        match self.in_progress == Some(operation) {
            true => Err(ErrorCode::InvalidState.into()),
            false => Ok(()),
        }
    }

    fn finish(&mut self, operation: Operation) -> SocketResult<()> {
        if self.in_progress != Some(operation) {
            return Err(ErrorCode::NotInProgress.into());
        }
        self.in_progress = None;
        Ok(())
    }
}

#[async_trait]
impl Pollable for Socket {
    async fn ready(&mut self) {
        match &mut self.kind {
            // Bind and listen can be finished at once.
            _ if matches!(self.in_progress, Some(Operation::Bind | Operation::Listen)) => {}
            Kind::Workload(socket) => poll_fn(|cx| socket.poll_ready(cx)).await,
            Kind::Machine(machine) => machine.ready().await,
        }
    }
}

/// Converts between handle types. The guest's resource type is only a typed number.
fn own(socket: &Resource<RealSocket>) -> Resource<Socket> {
    Resource::new_borrow(socket.rep())
}

impl SocketsView<'_> {
    pub(super) fn socket(&mut self, this: &Resource<RealSocket>) -> SocketResult<&mut Socket> {
        Ok(self.table.get_mut(&own(this))?)
    }

    fn push_streams(
        &mut self,
        connection: Connection,
        socket: &Resource<Socket>,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let input = TcpInput::new(connection.reader);
        let output = TcpOutput::new(connection.writer);
        let input = self.table.push_child(input, socket)?;
        let output = self.table.push_child(output, socket)?;
        Ok((
            Resource::new_own(input.rep()),
            Resource::new_own(output.rep()),
        ))
    }

    /// Reads or writes an option of the real socket if there is one, otherwise of ours.
    fn option<R>(
        &mut self,
        this: Resource<RealSocket>,
        real: impl FnOnce(
            &mut wasmtime_wasi::sockets::WasiSocketsCtxView<'_>,
            Resource<RealSocket>,
        ) -> SocketResult<R>,
        workload: impl FnOnce(&mut TcpSocket) -> Result<R, SocketError>,
    ) -> SocketResult<R> {
        match self.delegate(&this, real)? {
            Some(value) => Ok(value),
            None => Ok(workload(self.socket(&this)?.workload()?)?),
        }
    }
}

/// Defines the getter and the setter of one option. The getter returns the value as `parse` clamped
/// it.
macro_rules! option {
    ($get:ident, $set:ident: $type:ty, $field:ident, $parse:expr) => {
        fn $get(&mut self, this: Resource<RealSocket>) -> SocketResult<$type> {
            self.option(
                this,
                |real, socket| real.$get(socket),
                |socket| Ok(socket.options.$field),
            )
        }

        fn $set(&mut self, this: Resource<RealSocket>, value: $type) -> SocketResult<()> {
            self.option(
                this,
                |real, socket| real.$set(socket, value),
                |socket| {
                    socket.options.$field = $parse(value)?;
                    socket.apply_options();
                    Ok(())
                },
            )
        }
    };
}

impl tcp_create_socket::Host for SocketsView<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<RealSocket>> {
        let family = match family {
            IpAddressFamily::Ipv4 => Family::Ipv4,
            IpAddressFamily::Ipv6 => Family::Ipv6,
        };
        let socket = Socket::new(TcpSocket::new(self.network.clone(), family)?);
        let socket = self.table.push(socket)?;
        Ok(Resource::new_own(socket.rep()))
    }
}

impl tcp::Host for SocketsView<'_> {}

impl tcp::HostTcpSocket for SocketsView<'_> {
    async fn start_bind(
        &mut self,
        this: Resource<RealSocket>,
        network: Resource<Network>,
        local_address: IpSocketAddress,
    ) -> SocketResult<()> {
        self.check_token(&network)?;
        let socket = self.socket(&this)?;
        socket.idle()?;
        socket.workload()?.bind(local_address.into())?;
        socket.in_progress = Some(Operation::Bind);
        Ok(())
    }

    fn finish_bind(&mut self, this: Resource<RealSocket>) -> SocketResult<()> {
        self.socket(&this)?.finish(Operation::Bind)
    }

    fn start_connect(
        &mut self,
        this: Resource<RealSocket>,
        network: Resource<Network>,
        remote_address: IpSocketAddress,
    ) -> SocketResult<()> {
        self.check_token(&network)?;
        let socket = self.socket(&this)?;
        socket.idle()?;
        let family = socket.family;
        let workload = socket.workload()?;
        let options = workload.options;
        match workload.connect(SocketAddr::from(remote_address)) {
            Ok(None) => {}
            Ok(Some(address)) => {
                let machine = self.connect_machine(family, options, address, network)?;
                let socket = self.socket(&this)?;
                let kind = mem::replace(&mut socket.kind, Kind::Machine(machine));
                if let Kind::Workload(left) = kind {
                    socket.place = left.into_place();
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.socket(&this)?.in_progress = Some(Operation::Connect);
        Ok(())
    }

    fn finish_connect(
        &mut self,
        this: Resource<RealSocket>,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let socket = self.socket(&this)?;
        if socket.in_progress != Some(Operation::Connect) {
            return Err(ErrorCode::NotInProgress.into());
        }
        let result = match &mut socket.kind {
            Kind::Machine(_) => self.finish_connect_machine(&this),
            Kind::Workload(workload) => match workload.poll_connected(&mut once()) {
                Poll::Pending => Err(ErrorCode::WouldBlock.into()),
                Poll::Ready(Err(error)) => Err(error.into()),
                Poll::Ready(Ok(connection)) => self.push_streams(connection, &own(&this)),
            },
        };
        let pending =
            matches!(&result, Err(e) if matches!(e.downcast_ref(), Some(ErrorCode::WouldBlock)));
        if !pending {
            self.socket(&this)?.in_progress = None;
        }
        result
    }

    async fn start_listen(&mut self, this: Resource<RealSocket>) -> SocketResult<()> {
        let socket = self.socket(&this)?;
        socket.idle()?;
        socket.workload()?.listen()?;
        socket.in_progress = Some(Operation::Listen);
        Ok(())
    }

    fn finish_listen(&mut self, this: Resource<RealSocket>) -> SocketResult<()> {
        self.socket(&this)?.finish(Operation::Listen)
    }

    fn accept(
        &mut self,
        this: Resource<RealSocket>,
    ) -> SocketResult<(
        Resource<RealSocket>,
        Resource<DynInputStream>,
        Resource<DynOutputStream>,
    )> {
        let socket = self.socket(&this)?;
        socket.not_during(Operation::Listen)?;
        match socket.workload()?.poll_accept(&mut once()) {
            Poll::Pending => Err(ErrorCode::WouldBlock.into()),
            Poll::Ready(Err(error)) => Err(error.into()),
            Poll::Ready(Ok((socket, connection))) => {
                let socket = self.table.push(Socket::new(socket))?;
                let (input, output) = self.push_streams(connection, &socket)?;
                Ok((Resource::new_own(socket.rep()), input, output))
            }
        }
    }

    fn local_address(&mut self, this: Resource<RealSocket>) -> SocketResult<IpSocketAddress> {
        self.socket(&this)?.not_during(Operation::Bind)?;
        self.option(
            this,
            |real, socket| real.local_address(socket),
            |socket| Ok(socket.local_addr()?.into()),
        )
    }

    fn remote_address(&mut self, this: Resource<RealSocket>) -> SocketResult<IpSocketAddress> {
        self.socket(&this)?.not_during(Operation::Connect)?;
        self.option(
            this,
            |real, socket| real.remote_address(socket),
            |socket| Ok(socket.remote_addr()?.into()),
        )
    }

    fn is_listening(&mut self, this: Resource<RealSocket>) -> wasmtime::Result<bool> {
        let socket = self.table.get(&own(&this))?;
        Ok(match &socket.kind {
            Kind::Workload(tcp) => tcp.is_listening() && socket.in_progress.is_none(),
            Kind::Machine(_) => false,
        })
    }

    fn address_family(&mut self, this: Resource<RealSocket>) -> wasmtime::Result<IpAddressFamily> {
        Ok(match self.table.get(&own(&this))?.family {
            Family::Ipv4 => IpAddressFamily::Ipv4,
            Family::Ipv6 => IpAddressFamily::Ipv6,
        })
    }

    fn set_listen_backlog_size(
        &mut self,
        this: Resource<RealSocket>,
        value: u64,
    ) -> SocketResult<()> {
        Ok(self.socket(&this)?.workload()?.set_backlog(value)?)
    }

    option!(keep_alive_enabled, set_keep_alive_enabled: bool, keep_alive, Ok::<bool, SocketError>);
    option!(
        keep_alive_idle_time,
        set_keep_alive_idle_time: u64,
        keep_alive_idle,
        options::keep_alive_time
    );
    option!(
        keep_alive_interval,
        set_keep_alive_interval: u64,
        keep_alive_interval,
        options::keep_alive_time
    );
    option!(
        keep_alive_count,
        set_keep_alive_count: u32,
        keep_alive_count,
        options::keep_alive_count
    );
    option!(hop_limit, set_hop_limit: u8, hop_limit, options::hop_limit);
    option!(
        receive_buffer_size,
        set_receive_buffer_size: u64,
        receive_buffer,
        options::buffer_size
    );
    option!(
        send_buffer_size,
        set_send_buffer_size: u64,
        send_buffer,
        options::buffer_size
    );

    fn subscribe(&mut self, this: Resource<RealSocket>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, own(&this))
    }

    fn shutdown(
        &mut self,
        this: Resource<RealSocket>,
        shutdown_type: ShutdownType,
    ) -> SocketResult<()> {
        let (receive, send) = match shutdown_type {
            ShutdownType::Receive => (true, false),
            ShutdownType::Send => (false, true),
            ShutdownType::Both => (true, true),
        };
        self.socket(&this)?.not_during(Operation::Connect)?;
        self.option(
            this,
            |real, socket| real.shutdown(socket, shutdown_type),
            |socket| socket.shutdown(receive, send),
        )
    }

    fn drop(&mut self, this: Resource<RealSocket>) -> wasmtime::Result<()> {
        let socket = self.table.delete(Resource::<Socket>::new_own(this.rep()))?;
        match socket.kind {
            Kind::Machine(machine) => self.drop_machine(machine),
            Kind::Workload(_) => Ok(()),
        }
    }
}
