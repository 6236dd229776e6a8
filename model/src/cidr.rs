//! Networks by address and prefix length.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

/// A network such as `10.0.0.0/8`; a single address is one of full length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr(IpNet);

/// The text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    #[error("write an IP address or a network, such as 10.0.0.7, 10.0.0.0/8 or 2001:db8::/32")]
    Syntax,
    #[error("`{0}` sets address bits beyond the prefix: write {1} for the whole network")]
    HostBits(String, IpNet),
    #[error("`{0}` maps IPv4 into IPv6: write the IPv4 network itself")]
    Mapped(String),
}

// === impl Cidr ===

impl Cidr {
    /// Whether the network has the address. One that is IPv4-mapped is the IPv4 address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let net = match text.parse::<IpAddr>() {
            Ok(ip) => IpNet::from(ip),
            Err(_) => text.parse().map_err(|_| CidrError::Syntax)?,
        };
        if net.trunc() != net {
            return Err(CidrError::HostBits(text.to_owned(), net.trunc()));
        }
        match net {
            IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => {
                Err(CidrError::Mapped(text.to_owned()))
            }
            _ => Ok(Self(net)),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_addresses_however_they_are_written() {
        for (net, ip, expected) in [
            ("10.0.0.0/8", "10.9.8.7", true),
            ("10.0.0.0/8", "::ffff:10.9.8.7", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.8", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "127.0.0.1", false),
        ] {
            let net: Cidr = net.parse().unwrap();
            assert_eq!(net.contains(ip.parse().unwrap()), expected, "{net} {ip}");
        }
    }

    #[test]
    fn a_text_that_is_not_a_network_is_refused_with_what_to_write() {
        for (text, part) in [
            ("", "write an IP address or a network"),
            ("proxy.internal", "write an IP address or a network"),
            ("10.0.0.0/33", "write an IP address or a network"),
            ("10.0.0.1/8", "write 10.0.0.0/8"),
            ("::ffff:10.0.0.1", "write the IPv4 network itself"),
        ] {
            let error = text.parse::<Cidr>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
