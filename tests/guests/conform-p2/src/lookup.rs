//! `wasi:sockets/ip-name-lookup`.

use std::net::IpAddr;

use wasip2::sockets::{
    instance_network::instance_network, ip_name_lookup::resolve_addresses, network::ErrorCode,
};

use crate::{
    address::ip,
    check::{equal, fails, holds},
};

pub fn run() {
    for (name, address) in [
        ("0.0.0.0", "0.0.0.0"),
        ("127.0.0.1", "127.0.0.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("::", "::"),
        ("::1", "::1"),
        ("[::]", "::"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:0db8:0:0:0:0:0:1", "2001:db8::1"),
        ("dead:beef::0", "dead:beef::"),
        ("DEAD:BEEF::", "dead:beef::"),
    ] {
        let expected: IpAddr = address.parse().expect("an address");
        equal(
            "an IP address string is parsed and returned as-is",
            resolve(name),
            Ok(vec![expected]),
        );
    }
    let mapped = resolve("::ffff:192.0.2.1");
    holds(
        "never an IPv4-mapped IPv6 address",
        mapped.is_ok_and(|all| all.iter().all(|ip| *ip == ip.to_canonical())),
    );
    for name in ["localhost", "LOCALHOST", "localhost.", "service.localhost"] {
        let expected: Vec<IpAddr> = ["127.0.0.1", "::1"]
            .map(|ip| ip.parse().expect("an address"))
            .to_vec();
        equal("localhost needs no DNS", resolve(name), Ok(expected));
    }
    for name in [
        "",
        " ",
        "a b",
        "a.b<&>",
        "127.0.0.1:80",
        "[::]:80",
        "[::",
        "[127.0.0.1]",
        "http://example.com/",
        "a..b",
        ".",
        &"a".repeat(64),
        &"a.".repeat(200),
    ] {
        fails(
            "invalid-argument: a syntactically invalid domain name or IP address",
            resolve(name),
            ErrorCode::InvalidArgument,
        );
    }
    fails(
        "permanent-resolver-failure: a name that no rule has",
        resolve("example.com"),
        ErrorCode::PermanentResolverFailure,
    );
    fails(
        "permanent-resolver-failure: an IDNA name likewise",
        resolve("münchen.example"),
        ErrorCode::PermanentResolverFailure,
    );
}

/// A name that egress allows and no server knows.
pub fn allowed(name: &str) {
    let outcome = resolve(name);
    holds(
        "name-unresolvable or temporary-resolver-failure",
        matches!(
            outcome,
            Err(ErrorCode::NameUnresolvable | ErrorCode::TemporaryResolverFailure)
        ),
    );
}

fn resolve(name: &str) -> Result<Vec<IpAddr>, ErrorCode> {
    let stream = resolve_addresses(&instance_network(), name)?;
    let mut addresses = Vec::new();
    loop {
        match stream.resolve_next_address() {
            Ok(Some(address)) => addresses.push(ip(address)),
            Ok(None) => {
                // Exhausted stays exhausted.
                assert!(matches!(stream.resolve_next_address(), Ok(None)));
                return Ok(addresses);
            }
            Err(ErrorCode::WouldBlock) => stream.subscribe().block(),
            Err(error) => return Err(error),
        }
    }
}
