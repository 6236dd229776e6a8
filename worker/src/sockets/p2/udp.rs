//! `wasi:sockets/udp` and `udp-create-socket` 0.2.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::Resource;
use wasmtime_wasi::{
    async_trait,
    p2::{
        DynPollable, Pollable, SocketResult, UdpSocket as RealSocket,
        bindings::sockets::{
            network::{ErrorCode, IpAddressFamily, IpSocketAddress, Network},
            udp::{
                self, IncomingDatagram, IncomingDatagramStream, OutgoingDatagram,
                OutgoingDatagramStream,
            },
            udp_create_socket,
        },
        subscribe,
    },
};

use crate::sockets::{
    Family, UdpSocket,
    udp::{BoundUdp, UdpOptions},
};

use super::{SocketError, SocketsView, poll::Source, streams::once};

/// The most datagrams in one call.
const BATCH: u64 = 16;
/// The bytes after which a call of `receive` returns no further datagram; the last one may exceed
/// it.
const BATCH_BYTES: usize = 64 << 10;

/// The socket behind a guest's handle.
struct Socket {
    socket: UdpSocket,
    binding: bool,
    /// The number of calls of `stream`: only the streams of the last call work.
    streams: u64,
}

impl Socket {
    /// Returns the bound socket, once binding is finished.
    fn bound(&self) -> Result<&Arc<BoundUdp>, SocketError> {
        match self.binding {
            true => Err(SocketError::InvalidState),
            false => self.socket.bound(),
        }
    }
}

/// One of the two streams of a socket.
struct Stream {
    socket: Arc<BoundUdp>,
    parent: u32,
    generation: u64,
    /// How many datagrams `check-send` permitted.
    permit: u64,
}

struct Incoming(Stream);
struct Outgoing(Stream);

// Conversions between handle types: the guest's resource types are only typed numbers.

fn own(socket: &Resource<RealSocket>) -> Resource<Socket> {
    Resource::new_borrow(socket.rep())
}

fn incoming(stream: &Resource<IncomingDatagramStream>) -> Resource<Incoming> {
    Resource::new_borrow(stream.rep())
}

fn outgoing(stream: &Resource<OutgoingDatagramStream>) -> Resource<Outgoing> {
    Resource::new_borrow(stream.rep())
}

#[async_trait]
impl Pollable for Socket {
    async fn ready(&mut self) {}
}

impl SocketsView<'_> {
    fn udp(&mut self, this: &Resource<RealSocket>) -> SocketResult<&mut Socket> {
        Ok(self.table.get_mut(&own(this))?)
    }

    fn udp_option<R>(
        &mut self,
        this: &Resource<RealSocket>,
        read: impl FnOnce(UdpOptions) -> R,
    ) -> SocketResult<R> {
        Ok(read(self.udp(this)?.socket.options()))
    }

    /// Fails unless a stream belongs to the last call of `stream`.
    fn check_current(&self, parent: u32, generation: u64) -> SocketResult<()> {
        let socket = self.table.get(&Resource::<Socket>::new_borrow(parent))?;
        if socket.streams != generation {
            return Err(ErrorCode::InvalidState.into());
        }
        Ok(())
    }
}

impl udp_create_socket::Host for SocketsView<'_> {
    async fn create_udp_socket(
        &mut self,
        family: IpAddressFamily,
    ) -> SocketResult<Resource<RealSocket>> {
        let family = match family {
            IpAddressFamily::Ipv4 => Family::Ipv4,
            IpAddressFamily::Ipv6 => Family::Ipv6,
        };
        let socket = Socket {
            socket: UdpSocket::new(self.network.clone(), family)?,
            binding: false,
            streams: 0,
        };
        let socket = self.table.push(socket)?;
        Ok(Resource::new_own(socket.rep()))
    }
}

impl udp::Host for SocketsView<'_> {}

impl udp::HostUdpSocket for SocketsView<'_> {
    async fn start_bind(
        &mut self,
        this: Resource<RealSocket>,
        network: Resource<Network>,
        local_address: IpSocketAddress,
    ) -> SocketResult<()> {
        self.check_token(&network)?;
        let socket = self.udp(&this)?;
        if socket.binding {
            return Err(ErrorCode::ConcurrencyConflict.into());
        }
        socket.socket.bind(local_address.into())?;
        socket.binding = true;
        Ok(())
    }

    fn finish_bind(&mut self, this: Resource<RealSocket>) -> SocketResult<()> {
        let socket = self.udp(&this)?;
        if !std::mem::take(&mut socket.binding) {
            return Err(ErrorCode::NotInProgress.into());
        }
        Ok(())
    }

    async fn stream(
        &mut self,
        this: Resource<RealSocket>,
        remote_address: Option<IpSocketAddress>,
    ) -> SocketResult<(
        Resource<IncomingDatagramStream>,
        Resource<OutgoingDatagramStream>,
    )> {
        let socket = self.udp(&this)?;
        let bound = Arc::clone(socket.bound()?);
        match remote_address {
            Some(remote) => bound.connect(remote.into())?,
            // If no peer was set, there is nothing to undo.
            None => bound.disconnect().or_else(|error| match error {
                SocketError::InvalidState => Ok(()),
                error => Err(error),
            })?,
        }
        socket.streams += 1;
        let stream = || Stream {
            socket: Arc::clone(&bound),
            parent: this.rep(),
            generation: socket.streams,
            permit: 0,
        };
        let (incoming, outgoing) = (Incoming(stream()), Outgoing(stream()));
        let incoming = self.table.push_child(incoming, &own(&this))?;
        let outgoing = self.table.push_child(outgoing, &own(&this))?;
        Ok((
            Resource::new_own(incoming.rep()),
            Resource::new_own(outgoing.rep()),
        ))
    }

    fn local_address(&mut self, this: Resource<RealSocket>) -> SocketResult<IpSocketAddress> {
        Ok(self.udp(&this)?.bound()?.local_addr().into())
    }

    fn remote_address(&mut self, this: Resource<RealSocket>) -> SocketResult<IpSocketAddress> {
        Ok(self.udp(&this)?.bound()?.peer_addr()?.into())
    }

    fn address_family(&mut self, this: Resource<RealSocket>) -> wasmtime::Result<IpAddressFamily> {
        Ok(match self.table.get(&own(&this))?.socket.family() {
            Family::Ipv4 => IpAddressFamily::Ipv4,
            Family::Ipv6 => IpAddressFamily::Ipv6,
        })
    }

    fn unicast_hop_limit(&mut self, this: Resource<RealSocket>) -> SocketResult<u8> {
        self.udp_option(&this, |options| options.hop_limit)
    }

    fn set_unicast_hop_limit(&mut self, this: Resource<RealSocket>, value: u8) -> SocketResult<()> {
        Ok(self.udp(&this)?.socket.set_hop_limit(value)?)
    }

    fn receive_buffer_size(&mut self, this: Resource<RealSocket>) -> SocketResult<u64> {
        self.udp_option(&this, |options| options.receive_buffer)
    }

    fn set_receive_buffer_size(
        &mut self,
        this: Resource<RealSocket>,
        value: u64,
    ) -> SocketResult<()> {
        Ok(self.udp(&this)?.socket.set_receive_buffer(value)?)
    }

    fn send_buffer_size(&mut self, this: Resource<RealSocket>) -> SocketResult<u64> {
        self.udp_option(&this, |options| options.send_buffer)
    }

    fn set_send_buffer_size(&mut self, this: Resource<RealSocket>, value: u64) -> SocketResult<()> {
        Ok(self.udp(&this)?.socket.set_send_buffer(value)?)
    }

    fn subscribe(&mut self, this: Resource<RealSocket>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, own(&this))
    }

    fn drop(&mut self, this: Resource<RealSocket>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Socket>::new_own(this.rep()))?;
        Ok(())
    }
}

impl udp::HostIncomingDatagramStream for SocketsView<'_> {
    fn receive(
        &mut self,
        this: Resource<IncomingDatagramStream>,
        max_results: u64,
    ) -> SocketResult<Vec<IncomingDatagram>> {
        let stream = &self.table.get(&incoming(&this))?.0;
        self.check_current(stream.parent, stream.generation)?;
        let (mut received, mut bytes) = (Vec::new(), 0);
        while (received.len() as u64) < max_results.min(BATCH) && bytes < BATCH_BYTES {
            match stream.socket.try_receive() {
                Ok(datagram) => {
                    bytes += datagram.data.len();
                    received.push(IncomingDatagram {
                        data: datagram.data.into(),
                        remote_address: datagram.address.into(),
                    });
                }
                Err(SocketError::WouldBlock) => break,
                // Return what was received. The error about a datagram that was sent may get lost,
                // as datagrams may.
                Err(_) if !received.is_empty() => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(received)
    }

    fn subscribe(
        &mut self,
        this: Resource<IncomingDatagramStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        let stream = self.table.get(&incoming(&this))?;
        let source = Source::Receive(Arc::clone(&stream.0.socket));
        self.subscribe_to(source, &this)
    }

    fn drop(&mut self, this: Resource<IncomingDatagramStream>) -> wasmtime::Result<()> {
        self.table
            .delete(Resource::<Incoming>::new_own(this.rep()))?;
        Ok(())
    }
}

impl udp::HostOutgoingDatagramStream for SocketsView<'_> {
    fn check_send(&mut self, this: Resource<OutgoingDatagramStream>) -> SocketResult<u64> {
        let stream = &self.table.get(&outgoing(&this))?.0;
        self.check_current(stream.parent, stream.generation)?;
        let stream = &mut self.table.get_mut(&outgoing(&this))?.0;
        stream.permit = match stream.socket.poll_sendable(&mut once()).is_ready() {
            true => BATCH,
            false => 0,
        };
        Ok(stream.permit)
    }

    fn send(
        &mut self,
        this: Resource<OutgoingDatagramStream>,
        datagrams: Vec<OutgoingDatagram>,
    ) -> SocketResult<u64> {
        let stream = &mut self.table.get_mut(&outgoing(&this))?.0;
        if datagrams.is_empty() {
            return Ok(0);
        }
        if datagrams.len() as u64 > std::mem::take(&mut stream.permit) {
            let trap = wasmtime::format_err!("sent more datagrams than check-send permitted");
            return Err(wasmtime_wasi::p2::SocketError::trap(trap));
        }
        let stream = &self.table.get(&outgoing(&this))?.0;
        self.check_current(stream.parent, stream.generation)?;
        let mut sent = 0;
        for datagram in datagrams {
            let to = datagram.remote_address.map(Into::into);
            match stream.socket.try_send(Bytes::from(datagram.data), to) {
                Ok(()) => sent += 1,
                Err(SocketError::WouldBlock) => break,
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sent)
    }

    fn subscribe(
        &mut self,
        this: Resource<OutgoingDatagramStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        let stream = self.table.get(&outgoing(&this))?;
        let source = Source::Send(Arc::clone(&stream.0.socket));
        self.subscribe_to(source, &this)
    }

    async fn drop(&mut self, this: Resource<OutgoingDatagramStream>) -> wasmtime::Result<()> {
        self.table
            .delete(Resource::<Outgoing>::new_own(this.rep()))?;
        Ok(())
    }
}
