//! What each call says in each state of a socket.

use wasip3::sockets::types::{ErrorCode, IpAddressFamily, UdpSocket};

use super::{bound, socket};
use crate::{
    address::{loopback, other},
    check::{equal, fails, works},
};

pub async fn run(family: IpAddressFamily) {
    let unbound = socket(family);
    let (peer, wrong) = (loopback(family, 54_321), loopback(other(family), 54_321));
    fails(
        "unbound: receive: not bound yet",
        unbound.receive().await,
        ErrorCode::InvalidState,
    );
    fails(
        "unbound: disconnect: not connected",
        unbound.disconnect(),
        ErrorCode::InvalidState,
    );
    fails(
        "unbound: send: no address",
        unbound.send(b"x".to_vec(), None).await,
        ErrorCode::InvalidArgument,
    );
    fails(
        "unbound: send: a wrong address",
        unbound.send(b"x".to_vec(), Some(wrong)).await,
        ErrorCode::InvalidArgument,
    );
    fails(
        "unbound: send: too large",
        unbound.send(vec![0; 65_528], Some(peer)).await,
        ErrorCode::DatagramTooLarge,
    );
    fails(
        "unbound: connect: a wrong address",
        unbound.connect(wrong),
        ErrorCode::InvalidArgument,
    );
    fails(
        "unbound: what cannot be sent binds nothing",
        unbound.get_local_address(),
        ErrorCode::InvalidState,
    );
    fails(
        "unbound: get-remote-address: invalid-state",
        unbound.get_remote_address(),
        ErrorCode::InvalidState,
    );
    every_option("unbound", family, &unbound);

    let bound = bound(family);
    fails(
        "bound: bind: already bound",
        bound.bind(loopback(family, 0)),
        ErrorCode::InvalidState,
    );
    fails(
        "bound: disconnect: not connected",
        bound.disconnect(),
        ErrorCode::InvalidState,
    );
    works("bound: get-local-address", bound.get_local_address());
    fails(
        "bound: get-remote-address: invalid-state",
        bound.get_remote_address(),
        ErrorCode::InvalidState,
    );
    every_option("bound", family, &bound);

    let connected = socket(family);
    works("connect", connected.connect(peer));
    fails(
        "connected: bind: implicitly bound",
        connected.bind(loopback(family, 0)),
        ErrorCode::InvalidState,
    );
    works(
        "connected: get-local-address",
        connected.get_local_address(),
    );
    works(
        "connected: get-remote-address",
        connected.get_remote_address(),
    );
    every_option("connected", family, &connected);
    works("connected: disconnect", connected.disconnect());
    works(
        "disconnected: it stays bound",
        connected.get_local_address(),
    );
    fails(
        "disconnected: get-remote-address",
        connected.get_remote_address(),
        ErrorCode::InvalidState,
    );

    let sent = socket(family);
    works(
        "send: implicitly bound to a random free port",
        sent.send(b"x".to_vec(), Some(peer)).await,
    );
    works("sent: get-local-address", sent.get_local_address());
    fails(
        "sent: get-remote-address",
        sent.get_remote_address(),
        ErrorCode::InvalidState,
    );
}

fn every_option(state: &str, family: IpAddressFamily, socket: &UdpSocket) {
    let named = |what: &str| format!("{state}: {what}");
    equal(
        &named("get-address-family"),
        socket.get_address_family(),
        family,
    );
    works(
        &named("get-unicast-hop-limit"),
        socket.get_unicast_hop_limit(),
    );
    works(
        &named("set-unicast-hop-limit"),
        socket.set_unicast_hop_limit(255),
    );
    works(
        &named("get-receive-buffer-size"),
        socket.get_receive_buffer_size(),
    );
    works(
        &named("set-receive-buffer-size"),
        socket.set_receive_buffer_size(16_000),
    );
    works(
        &named("get-send-buffer-size"),
        socket.get_send_buffer_size(),
    );
    works(
        &named("set-send-buffer-size"),
        socket.set_send_buffer_size(16_000),
    );
}
