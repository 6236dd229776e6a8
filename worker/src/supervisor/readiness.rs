//! When a service takes work: by its readiness probe, else once it listens where the world expects
//! it to.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::time::Instant;
use warren_model::{host_port::Transport, spec::Service};

use crate::{
    net::Network,
    probe::{Prober, Verdict},
};

use super::routes::expected_ports;

/// A service that listens nowhere is taken for ready after this time.
const NOT_A_SERVER: Duration = Duration::from_secs(1);
/// A listener that nobody expects counts after this time: programs open some for a moment, and for
/// themselves.
const SETTLED: Duration = Duration::from_millis(500);

/// Watches one life of a service.
pub(super) enum Readiness {
    Probed(Box<Prober>),
    Listening(Listening),
}

/// Whether a service listens.
pub(super) struct Listening {
    network: Network,
    /// The ports that must all be listened on, or bound by UDP; empty: any listener on a port of
    /// the service's own choice that is open for [`SETTLED`], or none after [`NOT_A_SERVER`]. Such
    /// a service then stays ready.
    ports: Vec<(Transport, u16)>,
    deadline: Instant,
    ready: bool,
}

// === impl Readiness ===

impl Readiness {
    /// The service's `run` is called now.
    pub(super) fn new(network: &Network, service: &Service) -> Self {
        match &service.readiness {
            Some(probe) => Self::Probed(Box::new(Prober::new(network, probe))),
            None => Self::Listening(Listening::new(network.clone(), expected_ports(service))),
        }
    }

    /// Returns each time readiness changes, or is denied for a reason that was not told before.
    /// Dropping the future loses nothing.
    pub(super) async fn changed(&mut self) -> Verdict {
        match self {
            Self::Probed(prober) => match prober.changed().await {
                Verdict::Healthy => Verdict::Healthy,
                Verdict::Unhealthy(why) => Verdict::Unhealthy(format!("its readiness probe {why}")),
            },
            Self::Listening(listening) => match listening.changed().await {
                true => Verdict::Healthy,
                false => Verdict::Unhealthy("it no longer listens on its ports".to_owned()),
            },
        }
    }
}

// === impl Listening ===

impl Listening {
    /// The service's `run` is called now.
    fn new(network: Network, ports: Vec<(Transport, u16)>) -> Self {
        Self {
            network,
            ports,
            deadline: Instant::now() + NOT_A_SERVER,
            ready: false,
        }
    }

    /// Returns each time readiness changes, with what it is now. Dropping the future loses nothing.
    async fn changed(&mut self) -> bool {
        let mut listening = self.network.listening();
        loop {
            // What is seen from here on wakes the wait below.
            listening.borrow_and_update();
            let is_ready = self.is_ready_at(Instant::now());
            if is_ready != self.ready {
                self.ready = is_ready;
                return is_ready;
            }
            let due = self.due();
            tokio::select! {
                // The network lives as long as `self`, so its word does not end.
                _ = listening.changed() => {}
                () = tokio::time::sleep_until(due.unwrap_or(self.deadline)), if due.is_some() => {}
            }
        }
    }

    /// Whether it is ready then, should nothing change before.
    fn is_ready_at(&self, now: Instant) -> bool {
        match self.ports.is_empty() {
            true => self.due().is_none_or(|due| due <= now),
            false => self.expected_are_open(),
        }
    }

    /// When a service of which no port is expected counts as ready, as things are now; `None` once
    /// it does.
    fn due(&self) -> Option<Instant> {
        if self.ready || !self.ports.is_empty() {
            return None;
        }
        let since = self.network.fixed_listener_since();
        let settled = since.map(|since| since + SETTLED);
        Some(settled.map_or(self.deadline, |settled| settled.min(self.deadline)))
    }

    fn expected_are_open(&self) -> bool {
        self.ports.iter().all(|(transport, port)| match transport {
            Transport::Tcp => self.network.is_listening(*port),
            Transport::Udp => is_bound(&self.network, *port),
        })
    }
}

/// Whether what a client of the published port sends finds somebody, by whatever family.
fn is_bound(network: &Network, port: u16) -> bool {
    let hosts: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let mut places = hosts.map(|host| SocketAddr::new(host, port)).into_iter();
    places.any(|place| network.is_receiving(place))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::net::{Listener, NetLimits, Scope};

    fn listen(scope: &Scope, port: u16) -> Listener {
        let bound = scope.bind(([127, 0, 0, 1], port).into()).unwrap();
        bound.listen(1).unwrap()
    }

    #[tokio::test]
    async fn every_port_is_listened_on_or_it_is_not_ready() {
        let network = Network::new(NetLimits::default());
        let scope = network.scope();
        let ports = vec![(Transport::Tcp, 80), (Transport::Tcp, 81)];
        let mut readiness = Listening::new(network, ports);
        let _other = listen(&scope, 9000);
        let _first = listen(&scope, 80);
        assert_eq!(readiness.changed().now_or_never(), None);
        let second = listen(&scope, 81);
        assert_eq!(readiness.changed().now_or_never(), Some(true));
        assert_eq!(readiness.changed().now_or_never(), None);
        drop(second);
        assert_eq!(readiness.changed().now_or_never(), Some(false));
    }

    #[tokio::test]
    async fn a_udp_port_is_bound_and_a_tcp_port_listened_on() {
        let network = Network::new(NetLimits::default());
        let scope = network.scope();
        let mut readiness = Listening::new(network, vec![(Transport::Udp, 53)]);
        let _tcp = listen(&scope, 53);
        assert_eq!(readiness.changed().now_or_never(), None);
        for local in ["127.0.0.1:53", "0.0.0.0:53", "[::]:53"] {
            let udp = scope.bind_udp(local.parse().unwrap()).unwrap();
            assert_eq!(readiness.changed().now_or_never(), Some(true), "{local}");
            drop(udp);
            assert_eq!(readiness.changed().now_or_never(), Some(false), "{local}");
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Of a service that nobody expects to listen, and that may take its time.
    fn unexpected(network: Network) -> Listening {
        let mut readiness = Listening::new(network, Vec::new());
        readiness.deadline = Instant::now() + HOUR;
        readiness
    }

    #[tokio::test]
    async fn without_ports_a_listener_counts_once_it_stays_open_and_then_for_good() {
        let network = Network::new(NetLimits::default());
        let scope = network.scope();
        let mut readiness = unexpected(network);
        let before = Instant::now();
        let first = listen(&scope, 9000);
        let after = Instant::now();
        assert!(!readiness.is_ready_at(before + millis(499)));
        assert!(readiness.is_ready_at(after + millis(500)));
        drop(first);
        assert!(
            !readiness.is_ready_at(after + millis(600)),
            "it was too short"
        );
        let first = listen(&scope, 9000);
        let ready = tokio::time::timeout(HOUR, readiness.changed()).await;
        assert_eq!(ready, Ok(true));
        assert!(after.elapsed() >= millis(500));
        drop(first);
        assert_eq!(readiness.changed().now_or_never(), None);
    }

    #[test]
    fn listeners_on_any_port_and_those_opened_again_and_again_do_not_count() {
        let network = Network::new(NetLimits::default());
        let scope = network.scope();
        let readiness = unexpected(network);
        // Port 0, as an event loop has it for itself.
        let _own = listen(&scope, 0);
        assert!(!readiness.is_ready_at(Instant::now() + HOUR / 2));
        drop(listen(&scope, 9000));
        let before = Instant::now();
        let again = listen(&scope, 9000);
        assert!(
            !readiness.is_ready_at(before + millis(499)),
            "it is another one"
        );
        drop(again);
        assert!(!readiness.is_ready_at(Instant::now() + HOUR / 2));
    }

    #[test]
    fn the_listener_that_is_open_for_the_longest_counts() {
        let network = Network::new(NetLimits::default());
        let scope = network.scope();
        let readiness = unexpected(network);
        let first = listen(&scope, 9000);
        let between = Instant::now();
        let _second = listen(&scope, 9001);
        assert!(readiness.is_ready_at(between + millis(500)));
        drop(first);
        assert!(!readiness.is_ready_at(between + millis(499)));
        assert!(readiness.is_ready_at(Instant::now() + millis(500)));
    }

    #[test]
    fn a_service_that_never_listens_is_ready_after_a_second() {
        let before = Instant::now();
        let readiness = Listening::new(Network::new(NetLimits::default()), Vec::new());
        assert!(!readiness.is_ready_at(before + millis(999)));
        assert!(readiness.is_ready_at(Instant::now() + millis(1000)));
    }
}
