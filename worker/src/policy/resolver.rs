//! Resolves names to addresses: by the hosts file, then by DNS, with the answer's TTL.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use hickory_resolver::{
    Hosts, Name, TokioResolver,
    config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig},
    name_server::TokioConnectionProvider,
    proto::{
        ProtoErrorKind,
        op::{Query, ResponseCode},
        rr::RecordType,
        xfer::Protocol,
    },
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::DenyReason;

/// How many lookups of one policy run at once; further ones wait.
const CONCURRENCY: usize = 16;
/// How many answers are cached for one policy.
const CACHE: usize = 256;
/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How many addresses of one name are used, however many an answer has.
const MAX_ADDRESSES: usize = 64;

/// Why a name could not be resolved. `Denied` and `InvalidName` are permanent; the others may
/// change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error(transparent)]
    Denied(#[from] DenyReason),
    #[error("not a host name")]
    InvalidName,
    #[error("the name does not exist or has no address")]
    NotFound,
    #[error("no name server answered in time")]
    TimedOut,
    #[error("temporary failure in name resolution: {0}")]
    Temporary(String),
}

/// A resolver with a cache. Clones share the configuration and the cache.
#[derive(Clone)]
pub struct Resolver(Arc<Shared>);

struct Shared {
    /// `None` means the system's configuration.
    config: Option<ResolverConfig>,
    /// How long one server may take to answer; there are two attempts.
    patience: Duration,
    hosts: OnceLock<Hosts>,
    /// Created at the first lookup, and retried at the next one if that failed.
    dns: Mutex<Option<TokioResolver>>,
    lookups: Semaphore,
}

/// A host name in the form in which it is compared with rules.
pub(super) struct HostName {
    /// Lower-case ASCII, without a trailing dot.
    name: String,
    /// Whether the name had a trailing dot, so that search domains do not apply.
    absolute: bool,
}

pub(super) struct Answer {
    pub addresses: Vec<IpAddr>,
    pub valid_until: Instant,
}

// === impl Resolver ===

impl Resolver {
    /// Uses `/etc/resolv.conf` and `/etc/hosts`, as they are at the first lookup.
    pub fn system() -> Self {
        Self::with(None, TIMEOUT)
    }

    /// Queries only these servers, over UDP and, for long answers, TCP. The hosts file and search
    /// domains are not used.
    pub fn servers(servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self::patient_servers(servers, TIMEOUT)
    }

    pub(super) fn patient_servers(
        servers: impl IntoIterator<Item = SocketAddr>,
        patience: Duration,
    ) -> Self {
        let mut config = ResolverConfig::new();
        for server in servers {
            config.add_name_server(NameServerConfig::new(server, Protocol::Udp));
            config.add_name_server(NameServerConfig::new(server, Protocol::Tcp));
        }
        Self::with(Some(config), patience)
    }

    fn with(config: Option<ResolverConfig>, patience: Duration) -> Self {
        Self(Arc::new(Shared {
            config,
            patience,
            hosts: OnceLock::new(),
            dns: Mutex::default(),
            lookups: Semaphore::new(CONCURRENCY),
        }))
    }

    pub(super) async fn lookup(&self, name: &HostName) -> Result<Answer, ResolveError> {
        let temporary = |error: &dyn std::error::Error| ResolveError::Temporary(error.to_string());
        let query = name.query();
        // A name in the hosts file is not looked up elsewhere, not even for the other family.
        let listed = listed(self.hosts(), &query);
        if !listed.is_empty() {
            return Ok(Answer {
                addresses: listed,
                valid_until: Instant::now(),
            });
        }
        let _place = self.0.lookups.acquire().await.map_err(|e| temporary(&e))?;
        let dns = self.dns().map_err(|e| temporary(&e))?;
        let found = match dns.lookup_ip(query).await {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Err(ResolveError::NotFound),
            Err(error) if is_late(&error) => return Err(ResolveError::TimedOut),
            Err(error) => return Err(temporary(&error)),
        };
        let usable = found.iter().filter(|ip| is_usable(*ip));
        let addresses: Vec<_> = usable.take(MAX_ADDRESSES).collect();
        if addresses.is_empty() {
            return Err(ResolveError::NotFound);
        }
        Ok(Answer {
            addresses,
            valid_until: found.valid_until(),
        })
    }

    fn hosts(&self) -> &Hosts {
        self.0.hosts.get_or_init(|| match &self.0.config {
            None => Hosts::from_system().unwrap_or_default(),
            Some(_) => Hosts::default(),
        })
    }

    fn dns(&self) -> Result<TokioResolver, hickory_resolver::ResolveError> {
        let mut dns = self.0.dns.lock();
        if let Some(dns) = &*dns {
            return Ok(dns.clone());
        }
        let mut builder = match &self.0.config {
            None => TokioResolver::builder_tokio()?,
            Some(config) => {
                let provider = TokioConnectionProvider::default();
                TokioResolver::builder_with_config(config.clone(), provider)
            }
        };
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.cache_size = CACHE;
        options.timeout = options.timeout.min(self.0.patience);
        options.use_hosts_file = ResolveHosts::Never;
        Ok(dns.insert(builder.build()).clone())
    }
}

// === impl HostName ===

impl HostName {
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Returns whether the name is `localhost` or below it (RFC 6761).
    pub fn is_localhost(&self) -> bool {
        self.name == "localhost" || self.name.ends_with(".localhost")
    }

    fn query(&self) -> Name {
        let mut name = Name::from_ascii(&self.name).unwrap_or_default();
        name.set_fqdn(self.absolute);
        name
    }
}

/// Parses an IP literal. IPv6 may be in brackets, as in URLs.
pub(super) fn literal(text: &str) -> Option<IpAddr> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let ip = match bracketed {
        Some(inside) => inside.parse::<std::net::Ipv6Addr>().ok()?.into(),
        None => text.parse::<IpAddr>().ok()?,
    };
    Some(ip.to_canonical())
}

/// Checks and normalises a name that a guest has passed. Names in other scripts are converted to
/// ASCII (IDNA), as `ip-name-lookup` specifies.
pub(super) fn normalise(text: &str) -> Result<HostName, ResolveError> {
    let absolute = text.ends_with('.');
    let name = Name::from_utf8(text).map_err(|_| ResolveError::InvalidName)?;
    let name = name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 253 || !name.bytes().all(allowed) {
        return Err(ResolveError::InvalidName);
    }
    Ok(HostName { name, absolute })
}

/// Returns whether the host of a URL is the workload itself: `localhost`, or a loopback address.
pub fn is_own(host: &str) -> bool {
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => normalise(host).is_ok_and(|name| name.is_localhost()),
    }
}

fn listed(hosts: &Hosts, name: &Name) -> Vec<IpAddr> {
    [RecordType::A, RecordType::AAAA]
        .into_iter()
        .filter_map(|record| hosts.lookup_static_host(&Query::query(name.clone(), record)))
        .flat_map(|found| {
            found
                .iter()
                .filter_map(|data| data.ip_addr())
                .collect::<Vec<_>>()
        })
        .filter(|ip| is_usable(*ip))
        .collect()
}

/// Returns whether a server answered that the name or its records do not exist, rather than
/// failing.
fn is_absent(error: &hickory_resolver::ResolveError) -> bool {
    let kind = error.proto().map(|error| error.kind());
    matches!(
        kind,
        Some(ProtoErrorKind::NoRecordsFound {
            response_code: ResponseCode::NXDomain | ResponseCode::NoError,
            ..
        })
    )
}

/// Returns whether no server answered in time.
fn is_late(error: &hickory_resolver::ResolveError) -> bool {
    let kind = error.proto().map(|error| error.kind());
    matches!(kind, Some(ProtoErrorKind::Timeout))
}

/// Returns whether an address can be passed to a guest. WASI never returns IPv4-mapped addresses,
/// and rules do not cover them.
fn is_usable(ip: IpAddr) -> bool {
    ip == ip.to_canonical()
}
