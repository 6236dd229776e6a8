//! The addresses and ports that a worker lets workloads publish on.

use std::{fmt, net::IpAddr, ops::RangeInclusive, str::FromStr};

use crate::host_port::HostPort;

/// Ports of one of the worker's addresses, written `ADDR`, `ADDR:PORT` or `ADDR:PORT-PORT`, with
/// IPv6 in brackets if a port follows. An unspecified address stands for every address of its
/// family, and `::` for those of IPv4 as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishRule {
    address: IpAddr,
    ports: RangeInclusive<u16>,
}

/// The text is not a rule for publishing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishRuleError {
    #[error(
        "write an IP address and, if not every port is meant, ports: 127.0.0.1, 127.0.0.1:6379, 0.0.0.0:30000-30999 or \
         [::1]:6379"
    )]
    Syntax,
    #[error(
        "`{0}` is not a port range: write 1 to 65535, the lower one first, such as 30000-30999"
    )]
    Ports(String),
}

/// Every valid port; 0 is not one.
const ALL: RangeInclusive<u16> = 1..=u16::MAX;

// === impl PublishRule ===

impl PublishRule {
    /// Whether a workload may listen there, whatever the port.
    pub fn covers_address(&self, listen: &HostPort) -> bool {
        let ip = listen.address.ip();
        let is_every = self.address.is_unspecified() && (self.address.is_ipv6() || ip.is_ipv4());
        self.address == ip || is_every
    }

    /// Whether a workload may listen there. Port 0 is none of the ports.
    pub fn allows(&self, listen: &HostPort) -> bool {
        self.covers_address(listen) && self.ports.contains(&listen.address.port())
    }

    /// Whether a workload may ask for this: with port 0 the worker chooses one of the rule's.
    pub fn admits(&self, listen: &HostPort) -> bool {
        match listen.address.port() {
            0 => self.covers_address(listen),
            _ => self.allows(listen),
        }
    }

    pub fn ports(&self) -> RangeInclusive<u16> {
        self.ports.clone()
    }

    pub fn has_every_port(&self) -> bool {
        self.ports == ALL
    }
}

impl FromStr for PublishRule {
    type Err = PublishRuleError;

    fn from_str(text: &str) -> Result<Self, PublishRuleError> {
        let whole = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = whole.parse() {
            let ports = ALL;
            return Ok(Self { address, ports });
        }
        let (host, ports) = text.rsplit_once(':').ok_or(PublishRuleError::Syntax)?;
        let address = match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(host) => host.parse().map(IpAddr::V6).ok(),
            None => host.parse().map(IpAddr::V4).ok(),
        };
        let address = address.ok_or(PublishRuleError::Syntax)?;
        let bad = || PublishRuleError::Ports(ports.to_owned());
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last) = (port(first).ok_or_else(bad)?, port(last).ok_or_else(bad)?);
        if first > last {
            return Err(bad());
        }
        let ports = first..=last;
        Ok(Self { address, ports })
    }
}

impl fmt::Display for PublishRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.ports.start(), self.ports.end());
        if self.has_every_port() {
            return write!(f, "{}", self.address);
        }
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}:{first}")?,
            IpAddr::V6(address) => write!(f, "[{address}]:{first}")?,
        }
        match first == last {
            true => Ok(()),
            false => write!(f, "-{last}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn allow_their_ports_of_their_addresses() {
        for (rule, listen, expected) in [
            ("127.0.0.1", "127.0.0.1:6379", true),
            ("127.0.0.1", "127.0.0.1:53/udp", true),
            ("127.0.0.1", "127.0.0.2:6379", false),
            ("127.0.0.1", "0.0.0.0:6379", false),
            ("127.0.0.1:6379", "127.0.0.1:6379", true),
            ("127.0.0.1:6379", "127.0.0.1:6380", false),
            ("127.0.0.1:6379", "127.0.0.1:0", false),
            ("127.0.0.1", "127.0.0.1:0", false),
            ("0.0.0.0:30000-30999", "10.0.0.1:30000", true),
            ("0.0.0.0:30000-30999", "0.0.0.0:30999", true),
            ("0.0.0.0:30000-30999", "0.0.0.0:31000", false),
            ("0.0.0.0:30000-30999", "[::1]:30000", false),
            ("0.0.0.0", "[::]:80", false),
            ("[::]", "[::]:80", true),
            ("::", "10.0.0.1:80", true),
            ("::1", "[::1]:80", true),
            ("[::1]:80", "[::1]:80", true),
            ("[::1]:80", "127.0.0.1:80", false),
        ] {
            let rule: PublishRule = rule.parse().unwrap();
            let listen: HostPort = listen.parse().unwrap();
            assert_eq!(rule.allows(&listen), expected, "{rule} {listen}");
            let chosen = HostPort {
                address: SocketAddr::new(listen.address.ip(), 0),
                ..listen
            };
            assert!(rule.admits(&chosen) || !expected, "{rule} {chosen}");
        }
    }

    #[test]
    fn are_read_as_they_are_written_and_nothing_else_is() {
        for text in [
            "127.0.0.1",
            "::1",
            "127.0.0.1:80",
            "[::1]:80-81",
            "0.0.0.0:1-65534",
        ] {
            assert_eq!(text.parse::<PublishRule>().unwrap().to_string(), text);
        }
        for (text, part) in [
            ("", "write an IP address"),
            ("80", "write an IP address"),
            ("localhost:80", "write an IP address"),
            ("10.0.0.0/8", "write an IP address"),
            ("[127.0.0.1]:80", "write an IP address"),
            ("127.0.0.1:", "1 to 65535"),
            ("127.0.0.1:0", "1 to 65535"),
            ("127.0.0.1:0-80", "1 to 65535"),
            ("127.0.0.1:90-80", "the lower one first"),
            ("127.0.0.1:80-65536", "1 to 65535"),
            ("127.0.0.1:80-81-82", "1 to 65535"),
        ] {
            let error = text.parse::<PublishRule>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
