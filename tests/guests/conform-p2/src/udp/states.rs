//! What each call says in each state of a socket.

use wasip2::sockets::{
    instance_network::instance_network,
    network::{ErrorCode, IpAddressFamily},
    udp::UdpSocket,
};

use super::{bound, socket};
use crate::{
    address::loopback,
    check::{equal, fails, works},
};

pub fn run(family: IpAddressFamily) {
    let network = instance_network();
    let remote = loopback(family, 54_321);

    let unbound = socket(family);
    fails(
        "unbound: finish-bind: not-in-progress",
        unbound.finish_bind(),
        ErrorCode::NotInProgress,
    );
    fails(
        "unbound: stream: the socket must be explicitly bound",
        unbound.stream(None),
        ErrorCode::InvalidState,
    );
    fails(
        "unbound: stream to a peer: likewise",
        unbound.stream(Some(remote)),
        ErrorCode::InvalidState,
    );
    fails(
        "unbound: local-address: invalid-state",
        unbound.local_address(),
        ErrorCode::InvalidState,
    );
    fails(
        "unbound: remote-address: invalid-state",
        unbound.remote_address(),
        ErrorCode::InvalidState,
    );
    every_option("unbound", family, &unbound);

    let binding = socket(family);
    works(
        "start-bind begins a bind",
        binding.start_bind(&network, loopback(family, 0)),
    );
    fails(
        "bind-in-progress: start-bind: concurrency-conflict",
        binding.start_bind(&network, loopback(family, 0)),
        ErrorCode::ConcurrencyConflict,
    );
    fails(
        "bind-in-progress: stream: not bound yet",
        binding.stream(None),
        ErrorCode::InvalidState,
    );
    fails(
        "bind-in-progress: local-address: not bound yet",
        binding.local_address(),
        ErrorCode::InvalidState,
    );
    fails(
        "bind-in-progress: remote-address: invalid-state",
        binding.remote_address(),
        ErrorCode::InvalidState,
    );
    every_option("bind-in-progress", family, &binding);
    works("finish-bind ends it", binding.finish_bind());
    fails(
        "finish-bind: already finished",
        binding.finish_bind(),
        ErrorCode::NotInProgress,
    );

    let bound = bound(family);
    fails(
        "bound: start-bind: invalid-state: already bound",
        bound.start_bind(&network, loopback(family, 0)),
        ErrorCode::InvalidState,
    );
    fails(
        "bound: finish-bind: not-in-progress",
        bound.finish_bind(),
        ErrorCode::NotInProgress,
    );
    works("bound: local-address", bound.local_address());
    fails(
        "bound: remote-address: invalid-state",
        bound.remote_address(),
        ErrorCode::InvalidState,
    );
    every_option("bound", family, &bound);

    let _streams = works("stream to a peer", bound.stream(Some(remote)));
    fails(
        "connected: start-bind: invalid-state",
        bound.start_bind(&network, loopback(family, 0)),
        ErrorCode::InvalidState,
    );
    fails(
        "connected: finish-bind: not-in-progress",
        bound.finish_bind(),
        ErrorCode::NotInProgress,
    );
    works("connected: local-address", bound.local_address());
    works("connected: remote-address", bound.remote_address());
    every_option("connected", family, &bound);
}

fn every_option(state: &str, family: IpAddressFamily, socket: &UdpSocket) {
    let named = |what: &str| format!("{state}: {what}");
    equal(&named("address-family"), socket.address_family(), family);
    works(&named("unicast-hop-limit"), socket.unicast_hop_limit());
    works(
        &named("set-unicast-hop-limit"),
        socket.set_unicast_hop_limit(255),
    );
    works(&named("receive-buffer-size"), socket.receive_buffer_size());
    works(
        &named("set-receive-buffer-size"),
        socket.set_receive_buffer_size(16_000),
    );
    works(&named("send-buffer-size"), socket.send_buffer_size());
    works(
        &named("set-send-buffer-size"),
        socket.set_send_buffer_size(16_000),
    );
}
