//! `start-bind` and `finish-bind`.

use wasip2::sockets::network::{ErrorCode, IpAddressFamily};

use super::{connect_to, listener, socket, try_accept, try_bind, try_connect, try_listen};
use crate::{
    address::{at, foreign, from_wasi, loopback, not_unicast, other, to_wasi, unspecified},
    check::{equal, fails, holds, works},
};

pub fn run(family: IpAddressFamily) {
    for local in [loopback(family, 0), unspecified(family, 0)] {
        let socket = socket(family);
        works("bind to port 0", try_bind(&socket, local));
        let chosen = from_wasi(socket.local_address().expect("bound"));
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
    free_at_once(family);
    if family == IpAddressFamily::Ipv4 {
        side_by_side();
    }
}

fn specific(family: IpAddressFamily) {
    for local in [loopback(family, 4_711), unspecified(family, 4_711)] {
        let holder = socket(family);
        works("bind to a port of its own choice", try_bind(&holder, local));
        let bound = holder.local_address().expect("bound");
        equal("and has it", from_wasi(bound), from_wasi(local));
        fails(
            "address-in-use: while it is bound",
            try_bind(&socket(family), local),
            ErrorCode::AddressInUse,
        );
        try_listen(&holder).expect("to listen");
        fails(
            "address-in-use: while it listens",
            try_bind(&socket(family), local),
            ErrorCode::AddressInUse,
        );
        let wide = unspecified(family, 4_711);
        fails(
            "address-in-use: all addresses, while one is",
            try_bind(&socket(family), wide),
            ErrorCode::AddressInUse,
        );
        let narrow = loopback(family, 4_711);
        fails(
            "address-in-use: one address, while all are",
            try_bind(&socket(family), narrow),
            ErrorCode::AddressInUse,
        );
    }
}

fn refused(family: IpAddressFamily) {
    let invalid = ErrorCode::InvalidArgument;
    let wrong = loopback(other(family), 0);
    fails(
        "invalid-argument: the wrong address family",
        try_bind(&socket(family), wrong),
        invalid,
    );
    for local in not_unicast(family, 0) {
        fails(
            "invalid-argument: not a unicast address",
            try_bind(&socket(family), local),
            invalid,
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
                try_bind(&socket(family), at(mapped)),
                invalid,
            );
        }
    }
    fails(
        "address-not-bindable: not an address of this network",
        try_bind(&socket(family), foreign(family, 0)),
        ErrorCode::AddressNotBindable,
    );
}

fn again_after_a_failure(family: IpAddressFamily) {
    let holder = listener(family);
    let taken = holder.local_address().expect("bound");
    let socket = socket(family);
    fails(
        "a first bind fails",
        try_bind(&socket, taken),
        ErrorCode::AddressInUse,
    );
    fails(
        "a second one too",
        try_bind(&socket, foreign(family, 0)),
        ErrorCode::AddressNotBindable,
    );
    works(
        "bind can be attempted as long as the previous one failed",
        try_bind(&socket, loopback(family, 0)),
    );
    fails(
        "once it succeeds the binding can't be changed",
        try_bind(&socket, loopback(family, 0)),
        ErrorCode::InvalidState,
    );
}

/// "This bind operation shouldn't be affected by the TIME_WAIT state of a recently closed socket."
fn free_at_once(family: IpAddressFamily) {
    let first = listener(family);
    let local = first.local_address().expect("bound");
    let client = connect_to(&first);
    let server = try_accept(&first).expect("the client");
    server
        .output
        .blocking_write_and_flush(b"0123456789")
        .expect("room");
    drop(server);
    drop(first);
    let second = socket(family);
    works("a port is free again at once", try_bind(&second, local));
    works("and can be listened on", try_listen(&second));
    drop(client);

    let third = socket(family);
    drop(second);
    try_bind(&third, local).expect("free");
    let source = socket(family);
    let connected = listener(family);
    try_bind(&source, loopback(family, 0)).expect("a free port");
    let held = source.local_address().expect("bound");
    let remote = connected.local_address().expect("bound");
    let streams = try_connect(&source, remote).expect("a listener");
    fails(
        "address-in-use: by a connection",
        try_bind(&socket(family), held),
        ErrorCode::AddressInUse,
    );
    drop(streams);
    drop(source);
    works(
        "free when the connection is closed",
        try_bind(&socket(family), held),
    );
}

/// "On IPv6 sockets, IPV6_V6ONLY is enabled by default and can't be configured otherwise."
fn side_by_side() {
    let port = 4_712;
    let v4 = socket(IpAddressFamily::Ipv4);
    works(
        "0.0.0.0 on a port",
        try_bind(&v4, unspecified(IpAddressFamily::Ipv4, port)),
    );
    let v6 = socket(IpAddressFamily::Ipv6);
    works(
        ":: beside it on the same port",
        try_bind(&v6, unspecified(IpAddressFamily::Ipv6, port)),
    );
    try_listen(&v4).expect("to listen");
    try_listen(&v6).expect("to listen");
    for (listener, to) in [(&v4, "127.8.9.10:4712"), (&v6, "[::1]:4712")] {
        let client = socket(listener.address_family());
        let _streams = try_connect(&client, at(to)).expect("a listener");
        let server = works("each has its own connections", try_accept(listener));
        let local = server.socket.local_address().expect("bound");
        equal(
            "by the address that was asked for",
            from_wasi(local),
            from_wasi(at(to)),
        );
    }
    let one = socket(IpAddressFamily::Ipv4);
    try_bind(&one, at("127.0.0.1:4713")).expect("free");
    let two = socket(IpAddressFamily::Ipv4);
    works(
        "another address of 127/8 on the same port",
        try_bind(&two, at("127.0.0.2:4713")),
    );
    try_listen(&one).expect("to listen");
    fails(
        "which does not listen there",
        try_connect(&socket(IpAddressFamily::Ipv4), at("127.0.0.2:4713")),
        ErrorCode::ConnectionRefused,
    );
    fails(
        "nor does ::1",
        try_connect(&socket(IpAddressFamily::Ipv6), at("[::1]:4713")),
        ErrorCode::ConnectionRefused,
    );
    let scoped = socket(IpAddressFamily::Ipv6);
    let local = to_wasi("[::1%7]:4714".parse().expect("an address"));
    works(
        "a scope means nothing on loopback",
        try_bind(&scoped, local),
    );
}
