//! The addresses that the interfaces accept at all, before any policy: others are
//! `invalid-argument`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::SocketError;

/// The address family that a socket was created for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    /// Checks that an address can be bound: it must be of this family, unicast and not IPv4-mapped.
    pub(super) fn check_local(self, address: SocketAddr) -> Result<(), SocketError> {
        if self.takes(address.ip()) && is_unicast(address.ip()) {
            Ok(())
        } else {
            Err(SocketError::InvalidArgument)
        }
    }

    /// Checks that an address can be connected to: in addition to [`Self::check_local`], neither
    /// the address nor the port may be unspecified.
    pub(super) fn check_remote(self, address: SocketAddr) -> Result<(), SocketError> {
        self.check_local(address)?;
        if address.ip().is_unspecified() || address.port() == 0 {
            return Err(SocketError::InvalidArgument);
        }
        Ok(())
    }

    /// Returns the address that stands for every address of the family.
    pub(super) fn unspecified(self) -> IpAddr {
        match self {
            Self::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    fn takes(self, ip: IpAddr) -> bool {
        match (self, ip) {
            (Self::Ipv4, IpAddr::V4(_)) => true,
            (Self::Ipv6, IpAddr::V6(ip)) => {
                ip.to_ipv4_mapped().is_none() && !is_ipv4_compatible(ip)
            }
            _ => false,
        }
    }
}

fn is_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_multicast(),
    }
}

/// Returns whether an address has the form `::a.b.c.d`, which was deprecated in 2006 and which
/// every system treats differently.
fn is_ipv4_compatible(ip: Ipv6Addr) -> bool {
    matches!(ip.segments(), [0, 0, 0, 0, 0, 0, _, _]) && !ip.is_unspecified() && !ip.is_loopback()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sockets_refuse_invalid_addresses() {
        let cases = [
            (Family::Ipv4, "127.0.0.1:80", true, true),
            (Family::Ipv4, "127.0.0.1:0", true, false),
            (Family::Ipv4, "0.0.0.0:80", true, false),
            (Family::Ipv4, "224.0.0.1:80", false, false),
            (Family::Ipv4, "255.255.255.255:80", false, false),
            (Family::Ipv4, "[::1]:80", false, false),
            (Family::Ipv6, "[::1]:80", true, true),
            (Family::Ipv6, "[::]:80", true, false),
            (Family::Ipv6, "[::ffff:127.0.0.1]:80", false, false),
            (Family::Ipv6, "[::127.0.0.1]:80", false, false),
            (Family::Ipv6, "[ff02::1]:80", false, false),
            (Family::Ipv6, "127.0.0.1:80", false, false),
        ];
        for (family, address, local, remote) in cases {
            let parsed = address.parse().unwrap();
            assert_eq!(family.check_local(parsed).is_ok(), local, "bind {address}");
            assert_eq!(
                family.check_remote(parsed).is_ok(),
                remote,
                "connect {address}"
            );
        }
    }
}
