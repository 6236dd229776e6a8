//! What a guest may do with the network, and which names it may resolve.
//!
//! Every socket operation and every lookup of a guest passes one [`Policy`]. The decision itself is pure
//! ([`decide`]); around it stand the resolver and what it granted.

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

/// The name that stands for the worker's own 127.0.0.1.
pub const HOST_NAME: &str = "host.warren.internal";
/// What [`HOST_NAME`] resolves to: reserved by IANA (RFC 7600, "dummy address"), so nobody else has it.
pub const HOST_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// What a guest is in its workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Service,
    Component,
}

/// What the worker allows of itself, whatever a manifest says.
#[derive(Clone, Debug)]
pub struct HostAccess {
    /// `--allow-host-loopback`: guests whose egress names [`HOST_NAME`] reach the worker's 127.0.0.1.
    pub allow_host_loopback: bool,
    /// Knows the worker's own addresses: a guest reaches one only if its egress lists it by itself.
    pub machine: Arc<dyn Machine>,
    /// Where Warren listens: no guest reaches it.
    pub listeners: Arc<Listeners>,
}

/// A socket operation, with the address it names. UDP is decided here already, for faces that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    TcpBind(SocketAddr),
    TcpListen(SocketAddr),
    TcpConnect(SocketAddr),
    UdpBind(SocketAddr),
    /// To connect a UDP socket, or to send a datagram.
    UdpSend(SocketAddr),
}

/// Where an operation takes place, if it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In the workload's own network.
    Workload,
    /// On the machine's network, at this address: [`HOST_ADDRESS`] has become 127.0.0.1.
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
    /// The machine's own network, where no listener of Warren is known yet.
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
    /// With the system's resolver, which is not asked for its configuration before the first lookup.
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

    /// Whose policy it is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// With another resolver.
    pub fn with_resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = resolver;
        self
    }

    /// Tells what is refused.
    pub fn with_refusals(mut self, refusals: Refusals) -> Self {
        self.refusals = Some(refusals);
        self
    }

    /// The one place where a guest's socket operation is allowed or refused.
    pub fn decide(&self, op: Op) -> Verdict {
        let verdict = self.decide_at(op, Instant::now());
        if let (Verdict::Deny(reason), Some(refusals)) = (&verdict, &self.refusals) {
            refusals.tell(Attempt::Socket(op), reason);
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

    /// The addresses of a name, IPv4 and IPv6, in the resolver's order.
    ///
    /// `localhost` and below, and IP literals, need no permission and no DNS. Any other name is looked up only when
    /// a rule of the egress names it; its addresses may then be connected to, on that rule's ports, for the answer's
    /// TTL and 60 s at least. Dropping the future abandons the lookup.
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
                refusals.tell(Attempt::Lookup(name), &reason);
            }
            return Err(ResolveError::Denied(reason));
        }
        if name.as_str() == HOST_NAME {
            return Ok(vec![HOST_ADDRESS.into()]);
        }
        let answer = self.resolver.lookup(&name).await?;
        let now = Instant::now();
        // Another resolver than the one that Warren dials by may have given it.
        self.host
            .listeners
            .resolved(name.as_str(), &answer.addresses);
        self.grants
            .lock()
            .add(&answer.addresses, &rules, answer.valid_until, now);
        Ok(answer.addresses)
    }

    /// The places of the rules that name a host.
    fn rules_for(&self, name: &str) -> Vec<usize> {
        let names = |rule: &EgressRule| match &rule.host {
            // The name is the worker's own, so a wildcard that happens to cover it does not mean it.
            EgressHost::Wildcard(_) => name != HOST_NAME && rule.matches_name(name),
            EgressHost::Name(_) | EgressHost::Net(_) => rule.matches_name(name),
        };
        (0..self.egress.len())
            .filter(|&rule| names(&self.egress[rule]))
            .collect()
    }
}
