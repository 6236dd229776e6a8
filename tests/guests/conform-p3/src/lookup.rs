//! `wasi:sockets/ip-name-lookup`.

use std::net::IpAddr;

use wasip3::sockets::ip_name_lookup::{ErrorCode, resolve_addresses};

use crate::{
    address::ip,
    check::{equal, holds},
};

pub async fn run() {
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
        resolved(
            "an IP address string is parsed and returned as-is",
            resolve(name).await,
            vec![expected],
        );
    }
    let mapped = resolve("::ffff:192.0.2.1").await;
    holds(
        "never an IPv4-mapped IPv6 address",
        mapped.is_ok_and(|all| all.iter().all(|ip| *ip == ip.to_canonical())),
    );
    for name in ["localhost", "LOCALHOST", "localhost.", "service.localhost"] {
        let expected: Vec<IpAddr> = ["127.0.0.1", "::1"]
            .map(|ip| ip.parse().expect("an address"))
            .to_vec();
        resolved("localhost needs no DNS", resolve(name).await, expected);
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
        refused(
            "invalid-argument: a syntactically invalid domain name or IP address",
            resolve(name).await,
            ErrorCode::InvalidArgument,
        );
    }
    refused(
        "permanent-resolver-failure: a name that no rule has",
        resolve("example.com").await,
        ErrorCode::PermanentResolverFailure,
    );
    refused(
        "permanent-resolver-failure: an IDNA name likewise",
        resolve("münchen.example").await,
        ErrorCode::PermanentResolverFailure,
    );
}

async fn resolve(name: &str) -> Result<Vec<IpAddr>, ErrorCode> {
    let all = resolve_addresses(name.into()).await?;
    // "This function never succeeds with 0 results."
    assert!(!all.is_empty());
    Ok(all.into_iter().map(ip).collect())
}

fn refused(sentence: &str, result: Result<Vec<IpAddr>, ErrorCode>, code: ErrorCode) {
    let same = |error| std::mem::discriminant(error) == std::mem::discriminant(&code);
    holds(sentence, result.as_ref().is_err_and(same));
}

fn resolved(sentence: &str, result: Result<Vec<IpAddr>, ErrorCode>, expected: Vec<IpAddr>) {
    equal(sentence, result.ok(), Some(expected));
}
