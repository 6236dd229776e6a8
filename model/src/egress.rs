//! Destinations outside the workload that a guest may reach.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    str::FromStr,
};

use ipnet::IpNet;

use crate::hostname;

/// One allowed destination: `HOST:PORT`, `*.HOST:PORT`, `IP:PORT`, `CIDR:PORT`, with IPv6 in
/// brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EgressRule {
    pub host: EgressHost,
    /// `None` is every port, written `*`.
    pub port: Option<NonZeroU16>,
}

/// The host part of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EgressHost {
    /// One host name, lower-case, without a trailing dot.
    Name(String),
    /// The suffix after `*.`: every name below it at any depth, not the suffix itself.
    Wildcard(String),
    /// Addresses; a single one is a network of full length.
    Net(IpNet),
}

/// The text is not a rule, or one that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    #[error("`{0}` has no port: write HOST:PORT, or HOST:* for every port")]
    NoPort(String),
    #[error("`{rule}` has a bad port `{port}`: write 1 to 65535, or * for every port")]
    Port { rule: String, port: String },
    #[error("`{0}` is ambiguous: write an IPv6 address in brackets, such as [2001:db8::1]:443")]
    Brackets(String),
    #[error("`{rule}` has a bad host: {reason}")]
    Host { rule: String, reason: String },
    #[error(
        "`{0}` is not an IP address or CIDR: write 10.0.0.1:443, 10.0.0.0/8:443 or [2001:db8::/32]:443"
    )]
    Address(String),
    #[error("`{rule}` sets address bits beyond the prefix: write {network} for the whole network")]
    HostBits { rule: String, network: IpNet },
    #[error("`{0}` maps IPv4 into IPv6: write the IPv4 address itself")]
    Mapped(String),
    #[error("`{0}` names the unspecified address: write 0.0.0.0/0 or [::/0] for every address")]
    Unspecified(String),
    #[error(
        "`{0}` would allow every host: name the hosts, or write 0.0.0.0/0 for every IPv4 address"
    )]
    EveryHost(String),
    #[error(
        "`{0}` is the workload itself, which its guests always reach: leave it out. The machine's own loopback is host.warren.internal:PORT"
    )]
    Loopback(String),
}

// === impl EgressRule ===

impl EgressRule {
    pub fn parse(text: &str) -> Result<Self, EgressError> {
        text.parse()
    }

    /// Whether the rule names this address and port. Rules with names grant none: see
    /// [`Self::matches_name`].
    pub fn matches_addr(&self, addr: SocketAddr) -> bool {
        match &self.host {
            // An IPv4-mapped address reaches the IPv4 host, so the rules for IPv4 decide.
            EgressHost::Net(net) => {
                net.contains(&addr.ip().to_canonical()) && self.matches_port(addr.port())
            }
            EgressHost::Name(_) | EgressHost::Wildcard(_) => false,
        }
    }

    /// Whether the rule names this host, in whatever case and with or without a trailing dot.
    pub fn matches_name(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        match &self.host {
            EgressHost::Name(allowed) => name.eq_ignore_ascii_case(allowed),
            EgressHost::Wildcard(suffix) => {
                let (name, suffix) = (name.as_bytes(), suffix.as_bytes());
                name.len().checked_sub(suffix.len()).is_some_and(|at| {
                    at > 1 && name[at - 1] == b'.' && name[at..].eq_ignore_ascii_case(suffix)
                })
            }
            EgressHost::Net(_) => false,
        }
    }

    /// Whether the rule covers this port.
    pub fn matches_port(&self, port: u16) -> bool {
        self.port.is_none_or(|allowed| allowed.get() == port)
    }
}

impl FromStr for EgressRule {
    type Err = EgressError;

    fn from_str(text: &str) -> Result<Self, EgressError> {
        let (host, port) = split_port(text)?;
        let host = match host {
            HostText::Bracketed(inner) => net(text, inner)?,
            HostText::Bare(host) => bare_host(text, host)?,
        };
        let port = match port {
            "*" => None,
            port => Some(parse_port(port).ok_or_else(|| EgressError::Port {
                rule: text.to_owned(),
                port: port.to_owned(),
            })?),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            EgressHost::Name(name) => f.write_str(name),
            EgressHost::Wildcard(suffix) => write!(f, "*.{suffix}"),
            EgressHost::Net(net) => match (net.addr(), net.prefix_len() == net.max_prefix_len()) {
                (IpAddr::V4(ip), true) => write!(f, "{ip}"),
                (IpAddr::V4(_), false) => write!(f, "{net}"),
                (IpAddr::V6(ip), true) => write!(f, "[{ip}]"),
                (IpAddr::V6(_), false) => write!(f, "[{net}]"),
            },
        }?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
    }
}

enum HostText<'a> {
    /// What stood between `[` and `]`.
    Bracketed(&'a str),
    Bare(&'a str),
}

fn split_port(text: &str) -> Result<(HostText<'_>, &str), EgressError> {
    let no_port = || EgressError::NoPort(text.to_owned());
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, after) = rest
            .split_once(']')
            .ok_or_else(|| EgressError::Address(text.to_owned()))?;
        let port = after.strip_prefix(':').ok_or_else(no_port)?;
        return Ok((HostText::Bracketed(inner), port));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(no_port)?;
    if host.contains(':') {
        return Err(EgressError::Brackets(text.to_owned()));
    }
    Ok((HostText::Bare(host), port))
}

fn bare_host(rule: &str, host: &str) -> Result<EgressHost, EgressError> {
    if host == "*" {
        return Err(EgressError::EveryHost(rule.to_owned()));
    }
    let (wildcard, name) = match host.strip_prefix("*.") {
        Some(suffix) => (true, suffix),
        None => (false, host),
    };
    // A name never ends in a number (RFC 3696, 2), so this is meant as an address.
    let last_label = name.rsplit('.').next().unwrap_or(name);
    let numeric = !last_label.is_empty() && last_label.bytes().all(|b| b.is_ascii_digit());
    if !wildcard && (host.contains('/') || numeric) {
        return net(rule, host);
    }
    let name = hostname::normalise(name).map_err(|reason| EgressError::Host {
        rule: rule.to_owned(),
        reason,
    })?;
    if hostname::is_localhost(&name) {
        return Err(EgressError::Loopback(rule.to_owned()));
    }
    Ok(if wildcard {
        EgressHost::Wildcard(name)
    } else {
        EgressHost::Name(name)
    })
}

fn net(rule: &str, text: &str) -> Result<EgressHost, EgressError> {
    let net = match text.parse::<IpAddr>() {
        Ok(ip) => IpNet::from(ip),
        Err(_) => text
            .parse::<IpNet>()
            .map_err(|_| EgressError::Address(rule.to_owned()))?,
    };
    if net.addr().is_unspecified() && net.prefix_len() == net.max_prefix_len() {
        return Err(EgressError::Unspecified(rule.to_owned()));
    }
    // A bracket around IPv4 or none around IPv6 would not be written back as it was read.
    if rule.starts_with('[') != net.addr().is_ipv6() {
        return Err(EgressError::Address(rule.to_owned()));
    }
    if net.trunc() != net {
        return Err(EgressError::HostBits {
            rule: rule.to_owned(),
            network: net.trunc(),
        });
    }
    if net.addr().to_canonical() != net.addr() {
        return Err(EgressError::Mapped(rule.to_owned()));
    }
    let loopback = match net {
        IpNet::V4(net) => net.network().is_loopback() && net.prefix_len() >= 8,
        IpNet::V6(net) => net.network().is_loopback(),
    };
    if loopback {
        return Err(EgressError::Loopback(rule.to_owned()));
    }
    Ok(EgressHost::Net(net))
}

/// Digits only: `u16::from_str` takes a sign as well.
fn parse_port(text: &str) -> Option<NonZeroU16> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests;
