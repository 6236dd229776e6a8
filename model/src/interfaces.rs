//! The addresses of the machine's interfaces.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Returns the current addresses of all interfaces, including loopback.
pub fn addresses() -> Vec<IpAddr> {
    let v4 = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let v4 = parse_fib_trie(&v4).into_iter().map(IpAddr::V4);
    v4.chain(parse_if_inet6(&v6).map(IpAddr::V6)).collect()
}

/// An address is on a line of its own, followed by the lines that describe it: `/32 host LOCAL` for
/// the machine's own.
fn parse_fib_trie(text: &str) -> BTreeSet<Ipv4Addr> {
    let mut own = BTreeSet::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            own.extend(last);
        }
    }
    own
}

/// The first column, 32 hexadecimal digits.
fn parse_if_inet6(text: &str) -> impl Iterator<Item = Ipv6Addr> {
    let columns = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    columns
        .filter(|digits| digits.len() == 32)
        .filter_map(|digits| u128::from_str_radix(digits, 16).ok())
        .map(Ipv6Addr::from_bits)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_writes() {
        let text = "Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        +-- 192.0.2.0/30 2 0 2
           |-- 192.0.2.0
              /24 link UNICAST
           |-- 192.0.2.2
              /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
";
        let own: Vec<_> = parse_fib_trie(text)
            .into_iter()
            .map(|a| a.to_string())
            .collect();
        assert_eq!(own, ["127.0.0.1", "192.0.2.2"]);

        let text = "fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n\
                    00000000000000000000000000000001 01 80 10 80       lo\nodd\n";
        let own: Vec<_> = parse_if_inet6(text).map(|a| a.to_string()).collect();
        assert_eq!(own, ["fe80::fc:ff:fe00:1", "::1"]);
    }

    #[test]
    fn loopback_is_our_own() {
        assert!(addresses().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
