//! Ports of a worker's machine, as workloads publish on them.

use std::{fmt, net::SocketAddr, str::FromStr};

/// A transport: TCP and UDP have ports of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    #[default]
    Tcp,
    Udp,
}

/// A listener of a machine, written `127.0.0.1:6379`, `[::]:53/udp`. Port 0 is any that is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    pub transport: Transport,
    pub address: SocketAddr,
}

/// The text is not an address with a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not IP:PORT or IP:PORT/udp")]
pub struct HostPortError(String);

// === impl HostPort ===

impl HostPort {
    pub fn tcp(address: SocketAddr) -> Self {
        Self {
            transport: Transport::Tcp,
            address,
        }
    }

    pub fn udp(address: SocketAddr) -> Self {
        Self {
            transport: Transport::Udp,
            address,
        }
    }

    /// Whether two listeners cannot both have their port on one machine. An unspecified address is
    /// every address of its family; the IPv6 one takes IPv4 as well, as sockets do on Linux unless
    /// told otherwise.
    pub fn conflicts(&self, other: &Self) -> bool {
        let covers = |a: &SocketAddr, b: &SocketAddr| {
            a.ip().is_unspecified() && (a.is_ipv6() || b.is_ipv4())
        };
        let (a, b) = (&self.address, &other.address);
        self.transport == other.transport
            && a.port() == b.port()
            && a.port() != 0
            && (a.ip() == b.ip() || covers(a, b) || covers(b, a))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            Transport::Tcp => write!(f, "{}", self.address),
            Transport::Udp => write!(f, "{}/udp", self.address),
        }
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let (address, transport) = match text.strip_suffix("/udp") {
            Some(address) => (address, Transport::Udp),
            None => (text, Transport::Tcp),
        };
        match address.parse() {
            Ok(address) => Ok(Self { transport, address }),
            Err(_) => Err(HostPortError(text.to_owned())),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn conflict_as_sockets_do() {
        for (one, other, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "0.0.0.0:81", false),
            ("0.0.0.0:80", "[::1]:80", false),
            ("[::]:80", "[::1]:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::1]:80", "127.0.0.1:80", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("127.0.0.1:80", "127.0.0.1:80/udp", false),
            ("0.0.0.0:80", "127.0.0.1:80/udp", false),
            ("127.0.0.1:80/udp", "127.0.0.1:80/udp", true),
            ("[::]:80/udp", "127.0.0.1:80/udp", true),
        ] {
            let (one, other): (HostPort, HostPort) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(one.conflicts(&other), expected, "{one} {other}");
            assert_eq!(other.conflicts(&one), expected, "{other} {one}");
        }
    }

    #[test]
    fn are_read_as_they_are_written() {
        for text in ["127.0.0.1:80", "[::1]:53/udp", "0.0.0.0:0", "[::]:1"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "80",
            "127.0.0.1",
            "127.0.0.1:80/tcp",
            "127.0.0.1/udp",
            "a:80",
        ] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }
}
