//! The rule for cluster listeners: off loopback only by choice.

use std::net::SocketAddr;

/// The listener would offer the cluster's API to the network without protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "refusing to listen on {0}: it can be reached from other machines, and this version has neither TLS nor \
     credentials for it; listen on a loopback address such as 127.0.0.1:{port}, or pass --insecure if you trust \
     everyone who can reach it",
    port = .0.port()
)]
pub struct InsecureListen(pub SocketAddr);

/// Whether a cluster listener (`--listen` of `warren control` and `warren worker`) may open at this address.
///
/// Only loopback addresses are closed to other machines; anything else must be asked for by `--insecure`.
pub fn check(addr: SocketAddr, insecure: bool) -> Result<(), InsecureListen> {
    // An IPv4-mapped loopback address is loopback to the kernel, and `Ipv6Addr::is_loopback` does not know.
    if insecure || addr.ip().to_canonical().is_loopback() {
        Ok(())
    } else {
        Err(InsecureListen(addr))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_open_to_all_and_the_rest_by_choice() {
        for (addr, allowed) in [
            ("127.0.0.1:7700", true),
            ("127.9.9.9:7700", true),
            ("[::1]:7700", true),
            ("[::ffff:127.0.0.1]:7700", true),
            ("0.0.0.0:7700", false),
            ("[::]:7700", false),
            ("192.168.1.2:7700", false),
        ] {
            let addr: SocketAddr = addr.parse().unwrap();
            assert_eq!(check(addr, false).is_ok(), allowed, "{addr}");
            assert!(check(addr, true).is_ok(), "{addr}");
        }
    }

    #[test]
    fn the_refusal_names_both_ways_out() {
        let refusal = check("0.0.0.0:7700".parse().unwrap(), false).unwrap_err();
        let text = refusal.to_string();
        assert!(
            text.contains("127.0.0.1:7700") && text.contains("--insecure"),
            "{text}"
        );
    }
}
