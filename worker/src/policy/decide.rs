//! The decision: a function of the role, the rules, the grants, the machine, the time and the
//! operation, without side effects.

use std::{
    iter,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

use parking_lot::Mutex;
use warren_model::{
    egress::{EgressHost, EgressRule},
    host_port::Transport,
};

use super::{
    DenyReason, HOST_ADDRESS, HOST_NAME, HostAccess, Op, Role, Verdict, address, grants::Grants,
};

/// Everything that a decision depends on, apart from the operation.
pub(super) struct Facts<'a> {
    pub role: Role,
    pub egress: &'a [EgressRule],
    pub host: &'a HostAccess,
    pub grants: &'a Mutex<Grants>,
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
        Op::TcpConnect(remote) => connect(facts, remote, Transport::Tcp),
        Op::UdpSend(remote) => connect(facts, remote, Transport::Udp),
    };
    result.unwrap_or_else(Verdict::Deny)
}

fn bind(local: SocketAddr) -> Result<Verdict, DenyReason> {
    match local.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => Ok(Verdict::Workload),
        _ => Err(DenyReason::NotLoopbackBind),
    }
}

fn connect(
    facts: &Facts<'_>,
    remote: SocketAddr,
    transport: Transport,
) -> Result<Verdict, DenyReason> {
    let ip = remote.ip();
    if ip.is_loopback() {
        return Ok(Verdict::Workload);
    }
    if !address::is_host(ip) || remote.port() == 0 {
        return Err(DenyReason::NotAHost { addr: remote });
    }
    let is_machine = ip == IpAddr::V4(HOST_ADDRESS);
    let named = if is_machine {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), remote.port())
    } else {
        remote
    };
    // A translator or a tunnel passes the packet on to the embedded IPv4 host.
    let inside = address::embedded(ip).map(|inside| SocketAddr::new(inside.into(), remote.port()));
    let targets = iter::once(named).chain(inside);
    // Warren listens on TCP only.
    if transport == Transport::Tcp {
        for target in targets.clone() {
            if is_warrens(facts, target, remote)? {
                return Err(DenyReason::WarrenListener { addr: remote });
            }
        }
    }
    if is_machine {
        return host_loopback(facts, remote.port());
    }
    if !is_listed(facts, remote) {
        for target in targets {
            if address::is_link_local(target.ip()) {
                return Err(DenyReason::LinkLocal { addr: remote });
            }
            if address::is_metadata(target.ip()) {
                return Err(DenyReason::Metadata { addr: remote });
            }
            if owns(facts, target, transport, remote)? {
                return Err(DenyReason::WorkerAddress { addr: remote });
            }
        }
    }
    let allows = |(place, rule): (usize, &EgressRule)| {
        rule.matches_addr(remote)
            || rule.matches_port(remote.port()) && facts.grants.lock().covers(ip, place, facts.now)
    };
    match facts.egress.iter().enumerate().any(allows) {
        true => Ok(Verdict::Machine(remote)),
        false => Err(DenyReason::NoEgressRule { addr: remote }),
    }
}

/// Returns whether Warren itself listens on `target`. A port on which it listens at one address of
/// this machine is refused at all of them, including those added later, as the listener may accept
/// on every address.
fn is_warrens(
    facts: &Facts<'_>,
    target: SocketAddr,
    remote: SocketAddr,
) -> Result<bool, DenyReason> {
    let Some(known) = facts.host.listeners.on(target.port()) else {
        return Ok(false);
    };
    if known.contains(&target.ip()) {
        return Ok(true);
    }
    if !owns(facts, target, Transport::Tcp, remote)? {
        return Ok(false);
    }
    for &ip in known.iter() {
        let known = SocketAddr::new(ip, target.port());
        if ip.is_unspecified() || owns(facts, known, Transport::Tcp, remote)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns whether an address is the machine's own. If that cannot be determined, the operation is
/// refused.
fn owns(
    facts: &Facts<'_>,
    target: SocketAddr,
    transport: Transport,
    remote: SocketAddr,
) -> Result<bool, DenyReason> {
    if target.ip().is_loopback() {
        return Ok(true);
    }
    let owns = facts.host.machine.owns(target, transport);
    owns.map_err(|cause| DenyReason::Unknown {
        addr: remote,
        cause: cause.to_string(),
    })
}

/// Decides about the worker's own 127.0.0.1, which both the manifest and the worker must permit. An
/// address range that covers the reserved address does not count as the manifest's permission.
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

/// Returns whether a rule lists exactly this address, rather than a wider range or a name.
fn is_listed(facts: &Facts<'_>, remote: SocketAddr) -> bool {
    facts.egress.iter().any(|rule| match &rule.host {
        EgressHost::Net(net) => {
            net.prefix_len() == net.max_prefix_len() && rule.matches_addr(remote)
        }
        EgressHost::Name(_) | EgressHost::Wildcard(_) => false,
    })
}
