//! What a guest may do with the network, and which names it may resolve.
//!
//! Every socket operation and every lookup of a guest is checked by one [`Policy`]. The decision
//! itself is a pure function ([`decide`]); the policy adds the resolver and the grants that lookups
//! give.

mod address;
mod decide;
mod grants;
mod listeners;
mod machine;
mod reason;
mod refusals;
mod resolver;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use parking_lot::Mutex;
use warren_model::egress::{EgressHost, EgressRule};

use decide::Facts;
use grants::Grants;

pub use listeners::{Listeners, Whose};
pub use machine::{Kernel, Machine};
pub use reason::DenyReason;
pub use refusals::{Attempt, Refusal, Refusals, refusals};
pub use resolver::{ResolveError, Resolver, is_own};

/// The name of the worker's own 127.0.0.1.
pub const HOST_NAME: &str = "host.warren.internal";
/// The address that [`HOST_NAME`] resolves to. IANA reserves it (RFC 7600, "dummy address"), so no
/// host has it.
pub const HOST_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// The role of a guest in its workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Service,
    Component,
}

/// The worker's own restrictions on its guests, which apply whatever a manifest says.
#[derive(Clone, Debug)]
pub struct HostAccess {
    /// `--allow-host-loopback`: guests whose egress names [`HOST_NAME`] can reach the worker's
    /// 127.0.0.1.
    pub allow_host_loopback: bool,
    /// Knows the machine's own addresses. A guest can reach one only if its egress lists exactly
    /// that address.
    pub machine: Arc<dyn Machine>,
    /// The addresses on which Warren listens. No guest can reach them.
    pub listeners: Arc<Listeners>,
}

/// A socket operation with its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    TcpBind(SocketAddr),
    TcpListen(SocketAddr),
    TcpConnect(SocketAddr),
    UdpBind(SocketAddr),
    /// Connecting a UDP socket, or sending a datagram.
    UdpSend(SocketAddr),
}

/// Whether an operation is permitted, and where it takes place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In the workload's own network.
    Workload,
    /// On the machine's network, with this address: [`HOST_ADDRESS`] is replaced by 127.0.0.1.
    Machine(SocketAddr),
    Deny(DenyReason),
}

/// The policy of a workload's service or of one of its components, shared by all their instances.
pub struct Policy {
    role: Role,
    egress: Vec<EgressRule>,
    host: HostAccess,
    resolver: Resolver,
    grants: Mutex<Grants>,
    refusals: Option<Refusals>,
}

// === impl HostAccess ===

impl Default for HostAccess {
    /// Uses the machine's own network, with no known listener of Warren.
    fn default() -> Self {
        Self {
            allow_host_loopback: false,
            machine: Arc::new(Kernel::default()),
            listeners: Arc::default(),
        }
    }
}

// === impl Policy ===

impl Policy {
    /// Creates a policy with the system's resolver, whose configuration is read at the first
    /// lookup.
    pub fn new(role: Role, egress: Vec<EgressRule>, host: HostAccess) -> Self {
        Self {
            role,
            egress,
            host,
            resolver: Resolver::system(),
            grants: Mutex::default(),
            refusals: None,
        }
    }

    /// Returns the role of the guests to which the policy applies.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Replaces the resolver.
    pub fn with_resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = resolver;
        self
    }

    /// Reports each refusal to `refusals`.
    pub fn with_refusals(mut self, refusals: Refusals) -> Self {
        self.refusals = Some(refusals);
        self
    }

    /// Permits or refuses a guest's socket operation. This is the only place where that is decided.
    pub fn decide(&self, op: Op) -> Verdict {
        let verdict = self.decide_at(op, Instant::now());
        if let (Verdict::Deny(reason), Some(refusals)) = (&verdict, &self.refusals) {
            refusals.report(Attempt::Socket(op), reason);
        }
        verdict
    }

    fn decide_at(&self, op: Op, now: Instant) -> Verdict {
        let facts = Facts {
            role: self.role,
            egress: &self.egress,
            host: &self.host,
            grants: &self.grants,
            now,
        };
        decide::decide(&facts, op)
    }

    /// Returns the IPv4 and IPv6 addresses of a name, in the resolver's order.
    ///
    /// `localhost`, names below it and IP literals need neither permission nor DNS. Any other name
    /// is looked up only if an egress rule names it. The guest may then connect to its addresses,
    /// on that rule's ports, for the TTL of the answer and at least 60 s. Dropping the future
    /// abandons the lookup.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Some(ip) = resolver::literal(name) {
            return Ok(vec![ip]);
        }
        let name = resolver::normalise(name)?;
        if name.is_localhost() {
            return Ok(vec![
                Ipv4Addr::LOCALHOST.into(),
                std::net::Ipv6Addr::LOCALHOST.into(),
            ]);
        }
        let rules = self.rules_for(name.as_str());
        if rules.is_empty() {
            let name = name.as_str().to_owned();
            let reason = DenyReason::NameNotInEgress { name: name.clone() };
            if let Some(refusals) = &self.refusals {
                refusals.report(Attempt::Lookup(name), &reason);
            }
            return Err(ResolveError::Denied(reason));
        }
        if name.as_str() == HOST_NAME {
            return Ok(vec![HOST_ADDRESS.into()]);
        }
        let answer = self.resolver.lookup(&name).await?;
        let now = Instant::now();
        // This resolver may differ from the one that Warren itself uses to dial.
        self.host
            .listeners
            .resolved(name.as_str(), &answer.addresses);
        self.grants
            .lock()
            .add(&answer.addresses, &rules, answer.valid_until, now);
        Ok(answer.addresses)
    }

    /// Returns the indices of the rules that name a host.
    fn rules_for(&self, name: &str) -> Vec<usize> {
        let names = |rule: &EgressRule| match &rule.host {
            // The name is internal to Warren, so a wildcard that happens to cover it does not
            // apply.
            EgressHost::Wildcard(_) => name != HOST_NAME && rule.matches_name(name),
            EgressHost::Name(_) | EgressHost::Net(_) => rule.matches_name(name),
        };
        (0..self.egress.len())
            .filter(|&rule| names(&self.egress[rule]))
            .collect()
    }
}
