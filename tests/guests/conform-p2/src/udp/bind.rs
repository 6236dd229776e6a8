//! `start-bind` and `finish-bind`.

use wasip2::sockets::network::{ErrorCode, IpAddressFamily};

use super::{bound, socket, try_bind};
use crate::{
    address::{at, foreign, from_wasi, loopback, not_unicast, other, unspecified},
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
    for local in [loopback(family, 4_711), unspecified(family, 4_711)] {
        let holder = socket(family);
        works("bind to a port of its own choice", try_bind(&holder, local));
        equal(
            "and has it",
            holder.local_address().map(from_wasi),
            Ok(from_wasi(local)),
        );
        fails(
            "address-in-use: while it is bound",
            try_bind(&socket(family), local),
            ErrorCode::AddressInUse,
        );
        drop(holder);
        works(
            "free at once when it is closed",
            try_bind(&socket(family), local),
        );
    }
    let invalid = ErrorCode::InvalidArgument;
    let wrong = loopback(other(family), 0);
    fails(
        "invalid-argument: the wrong address family",
        try_bind(&socket(family), wrong),
        invalid,
    );
    if family == IpAddressFamily::Ipv6 {
        let mapped = at("[::ffff:127.0.0.1]:0");
        fails(
            "an IPv4-mapped IPv6 address is not of the family",
            try_bind(&socket(family), mapped),
            invalid,
        );
    }
    for local in not_unicast(family, 0) {
        holds(
            "no address of this network: multicast and broadcast",
            try_bind(&socket(family), local).is_err(),
        );
    }
    let nobodys = foreign(family, 0);
    fails(
        "address-not-bindable",
        try_bind(&socket(family), nobodys),
        ErrorCode::AddressNotBindable,
    );
    let socket = socket(family);
    fails(
        "a bind that fails",
        try_bind(&socket, nobodys),
        ErrorCode::AddressNotBindable,
    );
    works("can be tried again", try_bind(&socket, loopback(family, 0)));
    let holder = bound(family);
    drop(holder);
}
