//! UDP is closed: no socket, so none that could reach the machine.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::{
    SocketResult, UdpSocket,
    bindings::sockets::{network::IpAddressFamily, udp_create_socket},
};

use super::{SocketError, SocketsView};

impl udp_create_socket::Host for SocketsView<'_> {
    async fn create_udp_socket(
        &mut self,
        _family: IpAddressFamily,
    ) -> SocketResult<Resource<UdpSocket>> {
        Err(SocketError::AccessDenied.into())
    }
}
