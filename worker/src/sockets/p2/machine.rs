//! Sockets of the machine's network: wasmtime's sockets behind ours.
//!
//! The guest holds our socket. The real socket is stored inside ours until it is connected, so that
//! the guest can wait for it, and in the resource table from then on, because its streams are its
//! children there.

use std::mem;

use wasmtime::component::Resource;
use wasmtime_wasi::{
    p2::{
        DynInputStream, DynOutputStream, Pollable, SocketResult, TcpSocket as RealSocket,
        bindings::sockets::{
            network::{ErrorCode, IpAddressFamily},
            tcp::HostTcpSocket,
            tcp_create_socket::Host as _,
        },
    },
    sockets::WasiSocketsCtxView,
};

use crate::sockets::{Family, options::Options};

use super::{SocketError, SocketsView, tcp::Kind};

/// The state of the real socket.
pub(super) enum Machine {
    Connecting(Box<RealSocket>),
    Connected(u32),
    /// A call is using the socket, or its connect has failed.
    Gone,
}

impl Machine {
    pub(super) async fn ready(&mut self) {
        if let Self::Connecting(real) = self {
            real.ready().await;
        }
    }
}

impl SocketsView<'_> {
    fn real(&mut self) -> WasiSocketsCtxView<'_> {
        WasiSocketsCtxView {
            ctx: self.wasi,
            table: self.table,
        }
    }

    /// Creates a real socket with the options that the guest has set, and begins to connect it to
    /// `address`.
    pub(super) fn connect_machine(
        &mut self,
        family: Family,
        options: Options,
        address: std::net::SocketAddr,
        network: Resource<wasmtime_wasi::p2::Network>,
    ) -> SocketResult<Machine> {
        let family = match family {
            Family::Ipv4 => IpAddressFamily::Ipv4,
            Family::Ipv6 => IpAddressFamily::Ipv6,
        };
        let mut view = self.real();
        let socket = view.create_tcp_socket(family)?;
        let rep = socket.rep();
        let begun = apply(&mut view, rep, options)
            .and_then(|()| view.start_connect(borrow(rep), network, address.into()));
        let real = self.table.delete(socket)?;
        begun?;
        Ok(Machine::Connecting(Box::new(real)))
    }

    /// Returns the streams once the connection is established.
    pub(super) fn finish_connect_machine(
        &mut self,
        this: &Resource<RealSocket>,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let Machine::Connecting(real) = self.take_machine(this)? else {
            return Err(SocketError::InvalidState.into());
        };
        let socket = self.table.push(*real)?;
        match self.real().finish_connect(borrow(socket.rep())) {
            Ok(streams) => {
                self.put_machine(this, Machine::Connected(socket.rep()))?;
                Ok(streams)
            }
            Err(error) => {
                let real = self.table.delete(socket)?;
                if matches!(error.downcast_ref(), Some(ErrorCode::WouldBlock)) {
                    self.put_machine(this, Machine::Connecting(Box::new(real)))?;
                }
                Err(error)
            }
        }
    }

    /// Runs `call` on the real socket behind `this`, if there is one.
    pub(super) fn delegate<R>(
        &mut self,
        this: &Resource<RealSocket>,
        call: impl FnOnce(&mut WasiSocketsCtxView<'_>, Resource<RealSocket>) -> SocketResult<R>,
    ) -> SocketResult<Option<R>> {
        if !matches!(self.socket(this)?.kind, Kind::Machine(_)) {
            return Ok(None);
        }
        match self.take_machine(this)? {
            Machine::Connecting(real) => {
                let socket = self.table.push(*real)?;
                let result = call(&mut self.real(), borrow(socket.rep()));
                let real = self.table.delete(socket)?;
                self.put_machine(this, Machine::Connecting(Box::new(real)))?;
                result.map(Some)
            }
            Machine::Connected(rep) => {
                let result = call(&mut self.real(), borrow(rep));
                self.put_machine(this, Machine::Connected(rep))?;
                result.map(Some)
            }
            Machine::Gone => Err(SocketError::InvalidState.into()),
        }
    }

    /// Closes the real socket behind one that the guest dropped.
    pub(super) fn drop_machine(&mut self, machine: Machine) -> wasmtime::Result<()> {
        if let Machine::Connected(rep) = machine {
            self.table.delete(Resource::<RealSocket>::new_own(rep))?;
        }
        Ok(())
    }

    fn take_machine(&mut self, this: &Resource<RealSocket>) -> SocketResult<Machine> {
        match &mut self.socket(this)?.kind {
            Kind::Machine(machine) => Ok(mem::replace(machine, Machine::Gone)),
            Kind::Workload(_) => Err(SocketError::InvalidState.into()),
        }
    }

    fn put_machine(&mut self, this: &Resource<RealSocket>, machine: Machine) -> SocketResult<()> {
        self.socket(this)?.kind = Kind::Machine(machine);
        Ok(())
    }
}

fn borrow(rep: u32) -> Resource<RealSocket> {
    Resource::new_borrow(rep)
}

/// Applies the options that differ from a new socket's.
fn apply(view: &mut WasiSocketsCtxView<'_>, rep: u32, options: Options) -> SocketResult<()> {
    let fresh = Options::default();
    if options.keep_alive != fresh.keep_alive {
        view.set_keep_alive_enabled(borrow(rep), options.keep_alive)?;
    }
    if options.keep_alive_idle != fresh.keep_alive_idle {
        view.set_keep_alive_idle_time(borrow(rep), options.keep_alive_idle)?;
    }
    if options.keep_alive_interval != fresh.keep_alive_interval {
        view.set_keep_alive_interval(borrow(rep), options.keep_alive_interval)?;
    }
    if options.keep_alive_count != fresh.keep_alive_count {
        view.set_keep_alive_count(borrow(rep), options.keep_alive_count)?;
    }
    if options.hop_limit != fresh.hop_limit {
        view.set_hop_limit(borrow(rep), options.hop_limit)?;
    }
    if options.receive_buffer != fresh.receive_buffer {
        view.set_receive_buffer_size(borrow(rep), options.receive_buffer)?;
    }
    if options.send_buffer != fresh.send_buffer {
        view.set_send_buffer_size(borrow(rep), options.send_buffer)?;
    }
    Ok(())
}
