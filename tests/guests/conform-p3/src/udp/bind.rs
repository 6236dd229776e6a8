//! `bind`.

use wasip3::sockets::types::{ErrorCode, IpAddressFamily};

use super::socket;
use crate::{
    address::{at, foreign, from_wasi, loopback, not_unicast, other, unspecified},
    check::{equal, fails, holds, works},
};

pub fn run(family: IpAddressFamily) {
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
    for local in [loopback(family, 4_711), unspecified(family, 4_711)] {
        let holder = socket(family);
        works("bind to a port of its own choice", holder.bind(local));
        let bound = from_wasi(holder.get_local_address().expect("bound"));
        equal("and has it", bound, from_wasi(local));
        fails(
            "address-in-use: while it is bound",
            socket(family).bind(local),
            ErrorCode::AddressInUse,
        );
        drop(holder);
        works("free at once when it is closed", socket(family).bind(local));
    }
    let wrong = loopback(other(family), 0);
    fails(
        "invalid-argument: the wrong address family",
        socket(family).bind(wrong),
        ErrorCode::InvalidArgument,
    );
    if family == IpAddressFamily::Ipv6 {
        let mapped = at("[::ffff:127.0.0.1]:0");
        fails(
            "an IPv4-mapped IPv6 address is not of the family",
            socket(family).bind(mapped),
            ErrorCode::InvalidArgument,
        );
    }
    for local in not_unicast(family, 0) {
        holds(
            "no address of this network: multicast and broadcast",
            socket(family).bind(local).is_err(),
        );
    }
    let nobodys = foreign(family, 0);
    let socket = socket(family);
    fails(
        "address-not-bindable",
        socket.bind(nobodys),
        ErrorCode::AddressNotBindable,
    );
    works(
        "a bind that failed can be tried again",
        socket.bind(loopback(family, 0)),
    );
}
