//! The addresses on which Warren itself listens: those of this worker, of the control planes that
//! it dials and of the other workers of the fleet.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::RwLock;
use tokio::{
    net::lookup_host,
    sync::Notify,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// How often names are looked up again, as a control plane may move.
const REFRESH: Duration = Duration::from_secs(30);
/// How long one lookup may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an address counts after its name last resolved to it, as DNS answers may rotate.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// How many addresses of one name are remembered.
const MAX_RESOLVED: usize = 64;

/// The listeners that no guest can reach, by port. All policies of a worker share them and read
/// them for every connection.
#[derive(Debug, Default)]
pub struct Listeners {
    known: RwLock<Known>,
    /// Notified when there are names that have not been looked up yet.
    unresolved: Notify,
}

#[derive(Debug, Default)]
struct Known {
    places: HashMap<Whose, Vec<Place>>,
    resolved: HashMap<String, Vec<(IpAddr, Instant)>>,
    /// The addresses by port, derived from `places` and `resolved`.
    by_port: HashMap<u16, Arc<[IpAddr]>>,
}

/// The owner of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// This worker. An unspecified address means every address of the machine.
    Own,
    /// The control planes, by the addresses that this worker dials.
    Dialled,
    /// The control plane, by the addresses that it reports itself.
    Control,
    /// A worker of the fleet, by name.
    Worker(String),
}

/// A listener, by address or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    At(SocketAddr),
    Named(String, u16),
}

// === impl Listeners ===

impl Listeners {
    /// Replaces the known listeners of one owner. Each is given as "IP:PORT" or "http://HOST:PORT";
    /// anything else cannot be dialled and is ignored. An empty list removes the owner.
    pub fn set<T: AsRef<str>>(&self, whose: Whose, addresses: impl IntoIterator<Item = T>) {
        // An unspecified address refers to this machine, so only this worker may claim it.
        let claims =
            |place: &Place| matches!(whose, Whose::Own | Whose::Dialled) || !place.is_unspecified();
        let places: Vec<Place> = addresses
            .into_iter()
            .filter_map(|address| Place::parse(address.as_ref()))
            .filter(claims)
            .collect();
        let named = places.iter().any(|place| matches!(place, Place::Named(..)));
        let mut known = self.known.write();
        match places.is_empty() {
            true => known.places.remove(&whose),
            false => known.places.insert(whose, places),
        };
        known.index();
        if named {
            self.unresolved.notify_one();
        }
    }

    /// Removes the workers that are not in `names`.
    pub fn keep_workers(&self, names: &HashSet<&str>) {
        let mut known = self.known.write();
        known.places.retain(|whose, _| match whose {
            Whose::Worker(name) => names.contains(name.as_str()),
            Whose::Own | Whose::Dialled | Whose::Control => true,
        });
        known.index();
    }

    /// Records the addresses that a name resolves to, if a listener is known by that name.
    pub fn resolved(&self, name: &str, addresses: &[IpAddr]) {
        if !self.known.read().is_named(name) {
            return;
        }
        let now = Instant::now();
        let mut known = self.known.write();
        let before = known.resolved.entry(name.to_owned()).or_default();
        before.retain(|(ip, at)| now - *at < REMEMBERED && !addresses.contains(ip));
        before.extend(addresses.iter().map(|ip| (*ip, now)));
        let surplus = before.len().saturating_sub(MAX_RESOLVED);
        before.drain(..surplus);
        known.index();
    }

    /// Returns the addresses at which Warren listens on this port.
    pub(super) fn on(&self, port: u16) -> Option<Arc<[IpAddr]>> {
        self.known.read().by_port.get(&port).cloned()
    }

    /// Returns whether a listener on `listen` could be mistaken for one of Warren's on this
    /// machine. `owns` returns whether an address belongs to this machine. A control plane may
    /// listen on every address, whichever of them is dialled.
    pub fn are_at(&self, listen: SocketAddr, owns: impl Fn(IpAddr) -> bool) -> bool {
        let is_here = |ip: IpAddr| ip.is_unspecified() || ip.is_loopback() || owns(ip);
        let overlaps =
            |ip: IpAddr| ip == listen.ip() || ip.is_unspecified() || listen.ip().is_unspecified();
        let known = self.known.read();
        known.places.iter().any(|(whose, places)| {
            let places = places.iter().filter(|place| place.port() == listen.port());
            let mut ips = places.flat_map(|place| known.ips(place));
            ips.any(|ip| match whose {
                Whose::Own => overlaps(ip),
                Whose::Dialled | Whose::Control => is_here(ip),
                Whose::Worker(_) => is_here(ip) && overlaps(ip),
            })
        })
    }

    /// Looks up the names repeatedly until `closing` is cancelled.
    pub async fn resolve(self: Arc<Self>, closing: CancellationToken) {
        loop {
            let names = self.known.read().names();
            for name in names {
                // The port does not matter.
                let found = tokio::select! {
                    found = timeout(PATIENCE, lookup_host((name.as_str(), 0))) => found,
                    () = closing.cancelled() => return,
                };
                if let Ok(Ok(found)) = found {
                    let found: Vec<IpAddr> = found.map(|to| to.ip().to_canonical()).collect();
                    self.resolved(&name, &found);
                }
            }
            tokio::select! {
                () = self.unresolved.notified() => {}
                () = tokio::time::sleep(REFRESH) => {}
                () = closing.cancelled() => return,
            }
        }
    }
}

// === impl Known ===

impl Known {
    fn is_named(&self, name: &str) -> bool {
        let mut places = self.places.values().flatten();
        places.any(|place| matches!(place, Place::Named(host, _) if host == name))
    }

    fn names(&self) -> HashSet<String> {
        let places = self.places.values().flatten();
        let names = places.filter_map(|place| match place {
            Place::Named(host, _) => Some(host.clone()),
            Place::At(_) => None,
        });
        names.collect()
    }

    /// Returns the known addresses of a listener.
    fn ips(&self, place: &Place) -> Vec<IpAddr> {
        match place {
            Place::At(at) => vec![at.ip()],
            Place::Named(host, _) => {
                let found = self.resolved.get(host).into_iter().flatten();
                found.map(|(ip, _)| *ip).collect()
            }
        }
    }

    fn index(&mut self) {
        let names = self.names();
        self.resolved.retain(|name, _| names.contains(name));
        let mut by_port: HashMap<u16, HashSet<IpAddr>> = HashMap::new();
        for place in self.places.values().flatten() {
            let ips = by_port.entry(place.port()).or_default();
            ips.extend(self.ips(place));
        }
        let by_port = by_port.into_iter();
        self.by_port = by_port
            .map(|(port, ips)| (port, ips.into_iter().collect()))
            .collect();
    }
}

// === impl Place ===

impl Place {
    fn port(&self) -> u16 {
        match self {
            Self::At(at) => at.port(),
            Self::Named(_, port) => *port,
        }
    }

    fn is_unspecified(&self) -> bool {
        matches!(self, Self::At(at) if at.ip().is_unspecified())
    }

    fn parse(text: &str) -> Option<Self> {
        if let Ok(at) = text.parse::<SocketAddr>() {
            let at = SocketAddr::new(at.ip().to_canonical(), at.port());
            return Some(Self::At(at));
        }
        let uri: http::Uri = text.parse().ok()?;
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let host = uri.host()?.trim_matches(['[', ']']);
        match host.parse::<IpAddr>() {
            Ok(ip) => Some(Self::At(SocketAddr::new(ip.to_canonical(), port))),
            Err(_) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                Some(Self::Named(host, port))
            }
        }
    }
}
