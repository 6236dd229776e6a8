//! The decision: a pure function of the role, the rules, the grants, the time and the operation.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use warren_model::egress::{EgressHost, EgressRule};

use super::{DenyReason, HOST_ADDRESS, HOST_NAME, HostAccess, Op, Role, Verdict, grants::Grants};

/// All that a decision depends on, besides the operation.
pub(super) struct Facts<'a> {
    pub role: Role,
    pub egress: &'a [EgressRule],
    pub host: &'a HostAccess,
    pub grants: &'a Grants,
    pub now: Instant,
}

pub(super) fn decide(facts: &Facts<'_>, op: Op) -> Verdict {
    let result = match op {
        Op::TcpBind(_) | Op::TcpListen(_) if facts.role == Role::Component => {
            Err(DenyReason::ComponentMayNotListen)
        }
        Op::UdpBind(local) if facts.role == Role::Component && local.port() != 0 => {
            Err(DenyReason::ComponentMayNotListen)
        }
        Op::TcpBind(local) | Op::TcpListen(local) | Op::UdpBind(local) => bind(local),
        Op::TcpConnect(remote) | Op::UdpSend(remote) => connect(facts, remote),
    };
    result.unwrap_or_else(Verdict::Deny)
}

fn bind(local: SocketAddr) -> Result<Verdict, DenyReason> {
    match local.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => Ok(Verdict::Workload),
        _ => Err(DenyReason::NotLoopbackBind),
    }
}

fn connect(facts: &Facts<'_>, remote: SocketAddr) -> Result<Verdict, DenyReason> {
    let ip = remote.ip();
    if ip.is_loopback() {
        return Ok(Verdict::Workload);
    }
    if !is_host(ip) || remote.port() == 0 {
        return Err(DenyReason::NotAHost { addr: remote });
    }
    if ip == IpAddr::V4(HOST_ADDRESS) {
        return host_loopback(facts, remote.port());
    }
    // A network that translates (RFC 6052) would hand the packet to the IPv4 host inside.
    let target = translated(ip).map_or(ip, IpAddr::V4);
    if is_link_local(target) && !is_listed(facts, remote) {
        return Err(DenyReason::LinkLocal { addr: remote });
    }
    if facts.host.own_addresses.contains(&target) && !is_listed(facts, remote) {
        return Err(DenyReason::WorkerAddress { addr: remote });
    }
    let allows = |(place, rule): (usize, &EgressRule)| {
        rule.matches_addr(remote)
            || rule.matches_port(remote.port()) && facts.grants.covers(ip, place, facts.now)
    };
    match facts.egress.iter().enumerate().any(allows) {
        true => Ok(Verdict::Machine(remote)),
        false => Err(DenyReason::NoEgressRule { addr: remote }),
    }
}

/// The worker's own 127.0.0.1 needs both keys: the manifest's and the worker's. A CIDR that covers the reserved
/// address is not the first.
fn host_loopback(facts: &Facts<'_>, port: u16) -> Result<Verdict, DenyReason> {
    let named = |rule: &EgressRule| {
        matches!(&rule.host, EgressHost::Name(name) if name == HOST_NAME) && rule.matches_port(port)
    };
    if !facts.egress.iter().any(named) {
        return Err(DenyReason::NoHostRule { port });
    }
    if !facts.host.allow_host_loopback {
        return Err(DenyReason::HostLoopbackNotAllowed { port });
    }
    Ok(Verdict::Machine(SocketAddr::new(
        Ipv4Addr::LOCALHOST.into(),
        port,
    )))
}

/// Whether a rule lists this one address: not a wider network, not a name.
fn is_listed(facts: &Facts<'_>, remote: SocketAddr) -> bool {
    facts.egress.iter().any(|rule| match &rule.host {
        EgressHost::Net(net) => {
            net.prefix_len() == net.max_prefix_len() && rule.matches_addr(remote)
        }
        EgressHost::Name(_) | EgressHost::Wildcard(_) => false,
    })
}

/// Whether one host can have the address.
fn is_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast() || embeds_ipv4(ip)),
    }
}

/// IPv4-mapped `::ffff:a.b.c.d`, and IPv4-compatible `::a.b.c.d` (deprecated by RFC 4291).
fn embeds_ipv4(ip: Ipv6Addr) -> bool {
    matches!(ip.segments(), [0, 0, 0, 0, 0, 0 | 0xffff, _, _])
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// The IPv4 host behind an address of NAT64's well-known prefix, 64:ff9b::/96.
fn translated(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V6(ip) => match ip.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, _, _] => {
                let [.., a, b, c, d] = ip.octets();
                Some(Ipv4Addr::new(a, b, c, d))
            }
            _ => None,
        },
        IpAddr::V4(_) => None,
    }
}
