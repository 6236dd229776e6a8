//! Addresses between the standard library's form and WASI's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wasip2::sockets::network::{
    IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};

/// An address and port that a test writes down.
pub fn at(text: &str) -> IpSocketAddress {
    to_wasi(text.parse().expect("an address and port"))
}

pub fn to_wasi(address: SocketAddr) -> IpSocketAddress {
    match address {
        SocketAddr::V4(v4) => IpSocketAddress::Ipv4(Ipv4SocketAddress {
            port: v4.port(),
            address: v4.ip().octets().into(),
        }),
        SocketAddr::V6(v6) => IpSocketAddress::Ipv6(Ipv6SocketAddress {
            port: v6.port(),
            flow_info: v6.flowinfo(),
            address: v6.ip().segments().into(),
            scope_id: v6.scope_id(),
        }),
    }
}

pub fn from_wasi(address: IpSocketAddress) -> SocketAddr {
    match address {
        IpSocketAddress::Ipv4(v4) => {
            let (a, b, c, d) = v4.address;
            ([a, b, c, d], v4.port).into()
        }
        IpSocketAddress::Ipv6(v6) => {
            let (a, b, c, d, e, f, g, h) = v6.address;
            ([a, b, c, d, e, f, g, h], v6.port).into()
        }
    }
}

pub fn ip(address: IpAddress) -> IpAddr {
    match address {
        IpAddress::Ipv4((a, b, c, d)) => Ipv4Addr::new(a, b, c, d).into(),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => Ipv6Addr::new(a, b, c, d, e, f, g, h).into(),
    }
}

/// 127.0.0.1 or `::1`.
pub fn loopback(family: IpAddressFamily, port: u16) -> IpSocketAddress {
    match family {
        IpAddressFamily::Ipv4 => to_wasi((Ipv4Addr::LOCALHOST, port).into()),
        IpAddressFamily::Ipv6 => to_wasi((Ipv6Addr::LOCALHOST, port).into()),
    }
}

/// 0.0.0.0 or `::`.
pub fn unspecified(family: IpAddressFamily, port: u16) -> IpSocketAddress {
    match family {
        IpAddressFamily::Ipv4 => to_wasi((Ipv4Addr::UNSPECIFIED, port).into()),
        IpAddressFamily::Ipv6 => to_wasi((Ipv6Addr::UNSPECIFIED, port).into()),
    }
}

pub fn other(family: IpAddressFamily) -> IpAddressFamily {
    match family {
        IpAddressFamily::Ipv4 => IpAddressFamily::Ipv6,
        IpAddressFamily::Ipv6 => IpAddressFamily::Ipv4,
    }
}

/// Addresses of the family that no single host has, on this port.
pub fn not_unicast(family: IpAddressFamily, port: u16) -> Vec<IpSocketAddress> {
    let texts: &[&str] = match family {
        IpAddressFamily::Ipv4 => &["224.0.0.1", "239.255.255.255", "255.255.255.255"],
        IpAddressFamily::Ipv6 => &["ff00::", "ff02::1"],
    };
    let parse = |text: &&str| text.parse::<IpAddr>().expect("an address");
    texts
        .iter()
        .map(parse)
        .map(|ip| to_wasi((ip, port).into()))
        .collect()
}

/// An address of the family that is nobody's in a workload: of those kept for documents.
pub fn foreign(family: IpAddressFamily, port: u16) -> IpSocketAddress {
    match family {
        IpAddressFamily::Ipv4 => to_wasi((Ipv4Addr::new(192, 0, 2, 1), port).into()),
        IpAddressFamily::Ipv6 => {
            let ip = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
            to_wasi((ip, port).into())
        }
    }
}
