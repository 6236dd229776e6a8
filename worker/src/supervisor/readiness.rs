//! Determines when a service takes work: by its readiness probe, or else once it listens on the
//! ports on which it is expected.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::time::Instant;
use warren_model::{host_port::Transport, spec::Service};
use warren_net::Network;

use crate::probe::{Prober, Verdict};

use super::routes::expected_ports;

/// A service that does not listen at all counts as ready after this time.
const NOT_A_SERVER: Duration = Duration::from_secs(1);
/// How long a listener on an unexpected port must be open to count, as programs open some briefly
/// for internal use.
const SETTLED: Duration = Duration::from_millis(500);

/// Watches the readiness of one run of a service.
pub(super) enum Readiness {
    Probed(Box<Prober>),
    Listening(Listening),
}

/// Watches whether a service listens.
pub(super) struct Listening {
    network: Network,
    /// The ports on which the service must listen, or which it must bind for UDP. If the list is
    /// empty, the service becomes ready once any listener on a port number of its choice has been
    /// open for [`SETTLED`], or without one after [`NOT_A_SERVER`], and then stays ready.
    ports: Vec<(Transport, u16)>,
    deadline: Instant,
    ready: bool,
}

// === impl Readiness ===

impl Readiness {
    /// Begins to watch a service whose `run` is called now.
    pub(super) fn new(network: &Network, service: &Service) -> Self {
        match &service.readiness {
            Some(probe) => Self::Probed(Box::new(Prober::new(network, probe))),
            None => Self::Listening(Listening::new(network.clone(), expected_ports(service))),
        }
    }

    /// Returns the verdict each time it changes, which includes a new reason for not being ready.
    /// Cancel safe: no change is lost.
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
    /// Begins to watch a service whose `run` is called now.
    fn new(network: Network, ports: Vec<(Transport, u16)>) -> Self {
        Self {
            network,
            ports,
            deadline: Instant::now() + NOT_A_SERVER,
            ready: false,
        }
    }

    /// Returns whether the service is ready each time that changes. Cancel safe: no change is lost.
    async fn changed(&mut self) -> bool {
        let mut listening = self.network.listening();
        loop {
            // Any change from here on wakes the wait below.
            listening.borrow_and_update();
            let is_ready = self.is_ready_at(Instant::now());
            if is_ready != self.ready {
                self.ready = is_ready;
                return is_ready;
            }
            let due = self.due();
            tokio::select! {
                // `self` keeps the network alive, so the channel is never closed.
                _ = listening.changed() => {}
                () = tokio::time::sleep_until(due.unwrap_or(self.deadline)), if due.is_some() => {}
            }
        }
    }

    /// Returns whether the service is ready at `now`, if nothing changes before.
    fn is_ready_at(&self, now: Instant) -> bool {
        match self.ports.is_empty() {
            true => self.due().is_none_or(|due| due <= now),
            false => self.expected_are_open(),
        }
    }

    /// Returns when a service without expected ports will count as ready if nothing changes; `None`
    /// once it does.
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

/// Returns whether a datagram from a client of the published port would find a socket, in either
/// family.
fn is_bound(network: &Network, port: u16) -> bool {
    let hosts: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let mut places = hosts.map(|host| SocketAddr::new(host, port)).into_iter();
    places.any(|place| network.is_receiving(place))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt as _;
    use warren_net::{Listener, NetLimits, Scope};

    use super::*;

    fn listen(scope: &Scope, port: u16) -> Listener {
        let bound = scope.bind(([127, 0, 0, 1], port).into()).unwrap();
        bound.listen(1).unwrap()
    }

    #[tokio::test]
    async fn a_service_is_ready_only_while_it_listens_on_every_port() {
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
    async fn an_expected_udp_port_must_be_bound_for_udp() {
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

    /// Watches a service without expected ports, which has an hour before it counts as ready
    /// anyway.
    fn unexpected(network: Network) -> Listening {
        let mut readiness = Listening::new(network, Vec::new());
        readiness.deadline = Instant::now() + HOUR;
        readiness
    }

    #[tokio::test]
    async fn without_expected_ports_a_listener_counts_once_it_stays_open_and_then_permanently() {
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
            "it was not open for long enough"
        );
        let first = listen(&scope, 9000);
        let ready = tokio::time::timeout(HOUR, readiness.changed()).await;
        assert_eq!(ready, Ok(true));
        assert!(after.elapsed() >= millis(500));
        drop(first);
        assert_eq!(readiness.changed().now_or_never(), None);
    }

    #[test]
    fn listeners_on_ephemeral_ports_and_those_that_are_reopened_do_not_count() {
        let network = Network::new(NetLimits::default());
        let scope = network.scope();
        let readiness = unexpected(network);
        // Port 0, as an event loop uses it internally.
        let _own = listen(&scope, 0);
        assert!(!readiness.is_ready_at(Instant::now() + HOUR / 2));
        drop(listen(&scope, 9000));
        let before = Instant::now();
        let again = listen(&scope, 9000);
        assert!(
            !readiness.is_ready_at(before + millis(499)),
            "it is a different listener"
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
