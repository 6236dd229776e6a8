//! `bind`.

use wasip3::sockets::types::{ErrorCode, IpAddressFamily, IpSocketAddress};

use super::{Connection, connect_to, listener, socket};
use crate::{
    address::{at, foreign, from_wasi, loopback, not_unicast, other, unspecified},
    check::{equal, fails, holds, works},
};

pub async fn run(family: IpAddressFamily) {
    for local in [loopback(family, 0), unspecified(family, 0)] {
        let socket = socket(family);
        works("bind to port 0", socket.bind(local));
        let chosen = from_wasi(socket.get_local_address().expect("bound"));
        equal(
            "the address is what was asked for",
            chosen.ip(),
            from_wasi(local).ip(),
        );
        holds("port zero: a random free port", chosen.port() >= 1_024);
    }
    specific(family);
    refused(family);
    again_after_a_failure(family);
    free_at_once(family).await;
    if family == IpAddressFamily::Ipv4 {
        side_by_side().await;
    }
}

fn bind(family: IpAddressFamily, local: IpSocketAddress) -> Result<(), ErrorCode> {
    socket(family).bind(local)
}

fn specific(family: IpAddressFamily) {
    for local in [loopback(family, 4_711), unspecified(family, 4_711)] {
        let holder = socket(family);
        works("bind to a port of its own choice", holder.bind(local));
        let bound = holder.get_local_address().expect("bound");
        equal("and has it", from_wasi(bound), from_wasi(local));
        fails(
            "address-in-use: while it is bound",
            bind(family, local),
            ErrorCode::AddressInUse,
        );
        let _accept = holder.listen().expect("to listen");
        fails(
            "address-in-use: while it listens",
            bind(family, local),
            ErrorCode::AddressInUse,
        );
        fails(
            "address-in-use: all addresses, while one is",
            bind(family, unspecified(family, 4_711)),
            ErrorCode::AddressInUse,
        );
        fails(
            "address-in-use: one address, while all are",
            bind(family, loopback(family, 4_711)),
            ErrorCode::AddressInUse,
        );
    }
}

fn refused(family: IpAddressFamily) {
    let invalid = ErrorCode::InvalidArgument;
    fails(
        "invalid-argument: the wrong address family",
        bind(family, loopback(other(family), 0)),
        invalid.clone(),
    );
    for local in not_unicast(family, 0) {
        fails(
            "invalid-argument: not a unicast address",
            bind(family, local),
            invalid.clone(),
        );
    }
    if family == IpAddressFamily::Ipv6 {
        for mapped in [
            "[::ffff:127.0.0.1]:0",
            "[::ffff:0.0.0.0]:0",
            "[::ffff:10.0.0.1]:80",
        ] {
            fails(
                "invalid-argument: an IPv4-mapped IPv6 address",
                bind(family, at(mapped)),
                invalid.clone(),
            );
        }
    }
    let nobodys = foreign(family, 0);
    fails(
        "address-not-bindable: not an address of this network",
        bind(family, nobodys),
        ErrorCode::AddressNotBindable,
    );
}

fn again_after_a_failure(family: IpAddressFamily) {
    let holder = listener(family);
    let socket = socket(family);
    fails(
        "a first bind fails",
        socket.bind(holder.address()),
        ErrorCode::AddressInUse,
    );
    fails(
        "a second one too",
        socket.bind(foreign(family, 0)),
        ErrorCode::AddressNotBindable,
    );
    works(
        "bind can be attempted as long as the previous one failed",
        socket.bind(loopback(family, 0)),
    );
    fails(
        "once it succeeds the binding can't be changed",
        socket.bind(loopback(family, 0)),
        ErrorCode::InvalidState,
    );
}

/// "The OS socket is closed only after the last handle is dropped."
async fn free_at_once(family: IpAddressFamily) {
    let mut first = listener(family);
    let local = first.address();
    let client = connect_to(local).await;
    let mut server = Connection::new(first.next().await);
    server.write(b"0123456789").await;
    drop(server);
    drop(first.socket);
    fails(
        "the stream of connections keeps the port",
        bind(family, local),
        ErrorCode::AddressInUse,
    );
    drop(first.accept);
    let second = socket(family);
    works(
        "free at once when the last handle is dropped",
        second.bind(local),
    );
    let accept = works("and can be listened on", second.listen());
    drop(accept);
    fails(
        "the socket keeps the port, too",
        bind(family, local),
        ErrorCode::AddressInUse,
    );
    drop(second);
    works("free again", bind(family, local));
    drop(client);

    let open = listener(family);
    let source = super::bound(family);
    let held = source.get_local_address().expect("bound");
    source.connect(open.address()).await.expect("a listener");
    fails(
        "address-in-use: by a connection",
        bind(family, held),
        ErrorCode::AddressInUse,
    );
    let (stream, _) = source.receive();
    drop(source);
    fails(
        "which its stream keeps",
        bind(family, held),
        ErrorCode::AddressInUse,
    );
    drop(stream);
    works("free when the connection is closed", bind(family, held));
}

/// "On IPv6 sockets, IPV6_V6ONLY is enabled by default and can't be configured otherwise."
async fn side_by_side() {
    let (one, other) = (IpAddressFamily::Ipv4, IpAddressFamily::Ipv6);
    let v4 = socket(one);
    works("0.0.0.0 on a port", v4.bind(unspecified(one, 4_712)));
    let v6 = socket(other);
    works(
        ":: beside it on the same port",
        v6.bind(unspecified(other, 4_712)),
    );
    let mut accept4 = v4.listen().expect("to listen");
    let mut accept6 = v6.listen().expect("to listen");
    for (accept, to) in [
        (&mut accept4, "127.8.9.10:4712"),
        (&mut accept6, "[::1]:4712"),
    ] {
        let _client = connect_to(at(to)).await;
        let server = accept.next().await.expect("a connection");
        let local = works("each has its own connections", server.get_local_address());
        equal(
            "by the address that was asked for",
            from_wasi(local),
            from_wasi(at(to)),
        );
    }
    let narrow = socket(one);
    narrow.bind(at("127.0.0.1:4713")).expect("free");
    works(
        "another address of 127/8 on the same port",
        bind(one, at("127.0.0.2:4713")),
    );
    let _accept = narrow.listen().expect("to listen");
    for (family, to) in [(one, "127.0.0.2:4713"), (other, "[::1]:4713")] {
        let refused = socket(family).connect(at(to)).await;
        fails(
            "where it does not listen",
            refused,
            ErrorCode::ConnectionRefused,
        );
    }
}
