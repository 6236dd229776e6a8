//! UDP sockets of `wasi:sockets/types` 0.3.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{Accessor, Resource};
use wasmtime_wasi::p3::bindings::sockets::types::{
    HostUdpSocket, HostUdpSocketWithStore, IpAddressFamily, IpSocketAddress,
    UdpSocket as RealSocket,
};

use crate::sockets::{HasSockets, SocketError, Sockets, SocketsView, UdpSocket};

use super::{SocketResult, Trappable};

/// Converts between handle types. The guest's resource type is only a typed number.
fn own(socket: &Resource<RealSocket>) -> Resource<UdpSocket> {
    Resource::new_borrow(socket.rep())
}

impl SocketsView<'_> {
    fn udp3(&mut self, this: &Resource<RealSocket>) -> SocketResult<&mut UdpSocket> {
        self.table.get_mut(&own(this)).map_err(Trappable::trap)
    }
}

impl<T: HasSockets> HostUdpSocketWithStore<T> for Sockets {
    async fn send(
        store: &Accessor<T, Self>,
        this: Resource<RealSocket>,
        data: Vec<u8>,
        remote_address: Option<IpSocketAddress>,
    ) -> SocketResult<()> {
        let to = remote_address.map(Into::into);
        // Any number of calls may wait here, so the memory of each datagram is counted.
        let (bound, _held) = store.with(|mut store| -> SocketResult<_> {
            let mut view = store.get();
            let socket = view.udp3(&this)?;
            let bound = Arc::clone(socket.to_send(data.len(), to)?);
            let held = store.data_mut().hold_datagram(data.len());
            Ok((bound, held.ok_or(SocketError::OutOfMemory)?))
        })?;
        Ok(bound.send(Bytes::from(data), to).await?)
    }

    async fn receive(
        store: &Accessor<T, Self>,
        this: Resource<RealSocket>,
    ) -> SocketResult<(Vec<u8>, IpSocketAddress)> {
        let bound = store.with(|mut store| -> SocketResult<_> {
            Ok(Arc::clone(store.get().udp3(&this)?.bound()?))
        })?;
        let datagram = bound.receive().await?;
        Ok((datagram.data.into(), datagram.address.into()))
    }
}

impl HostUdpSocket for SocketsView<'_> {
    async fn create(&mut self, family: IpAddressFamily) -> SocketResult<Resource<RealSocket>> {
        let socket = UdpSocket::new(self.network.clone(), family.into())?;
        let socket = self.table.push(socket).map_err(Trappable::trap)?;
        Ok(Resource::new_own(socket.rep()))
    }

    async fn bind(
        &mut self,
        this: Resource<RealSocket>,
        local_address: IpSocketAddress,
    ) -> SocketResult<()> {
        Ok(self.udp3(&this)?.bind(local_address.into())?)
    }

    async fn connect(
        &mut self,
        this: Resource<RealSocket>,
        remote_address: IpSocketAddress,
    ) -> SocketResult<()> {
        Ok(self.udp3(&this)?.connect(remote_address.into())?)
    }

    fn disconnect(&mut self, this: Resource<RealSocket>) -> SocketResult<()> {
        Ok(self.udp3(&this)?.bound()?.disconnect()?)
    }

    fn get_local_address(&mut self, this: Resource<RealSocket>) -> SocketResult<IpSocketAddress> {
        Ok(self.udp3(&this)?.bound()?.local_addr().into())
    }

    fn get_remote_address(&mut self, this: Resource<RealSocket>) -> SocketResult<IpSocketAddress> {
        Ok(self.udp3(&this)?.bound()?.peer_addr()?.into())
    }

    fn get_address_family(
        &mut self,
        this: Resource<RealSocket>,
    ) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&own(&this))?.family().into())
    }

    fn get_unicast_hop_limit(&mut self, this: Resource<RealSocket>) -> SocketResult<u8> {
        Ok(self.udp3(&this)?.options().hop_limit)
    }

    fn set_unicast_hop_limit(&mut self, this: Resource<RealSocket>, value: u8) -> SocketResult<()> {
        Ok(self.udp3(&this)?.set_hop_limit(value)?)
    }

    fn get_receive_buffer_size(&mut self, this: Resource<RealSocket>) -> SocketResult<u64> {
        Ok(self.udp3(&this)?.options().receive_buffer)
    }

    fn set_receive_buffer_size(
        &mut self,
        this: Resource<RealSocket>,
        value: u64,
    ) -> SocketResult<()> {
        Ok(self.udp3(&this)?.set_receive_buffer(value)?)
    }

    fn get_send_buffer_size(&mut self, this: Resource<RealSocket>) -> SocketResult<u64> {
        Ok(self.udp3(&this)?.options().send_buffer)
    }

    fn set_send_buffer_size(&mut self, this: Resource<RealSocket>, value: u64) -> SocketResult<()> {
        Ok(self.udp3(&this)?.set_send_buffer(value)?)
    }

    fn drop(&mut self, this: Resource<RealSocket>) -> wasmtime::Result<()> {
        self.table
            .delete(Resource::<UdpSocket>::new_own(this.rep()))?;
        Ok(())
    }
}
