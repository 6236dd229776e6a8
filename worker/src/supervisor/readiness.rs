//! When a service without a readiness probe takes work: once it listens where the world expects it to.

use std::time::Duration;

use tokio::time::Instant;

use crate::net::Network;

/// A service that listens nowhere is taken for ready after this time.
const NOT_A_SERVER: Duration = Duration::from_secs(1);

/// Watches one life of a service.
pub(super) struct Readiness {
    network: Network,
    /// The ports that must all be listened on; empty: any, or none after [`NOT_A_SERVER`].
    ports: Vec<u16>,
    deadline: Instant,
    ready: bool,
}

impl Readiness {
    /// The service's `run` is called now.
    pub(super) fn new(network: Network, ports: Vec<u16>) -> Self {
        Self {
            network,
            ports,
            deadline: Instant::now() + NOT_A_SERVER,
            ready: false,
        }
    }

    /// Returns each time readiness changes, with what it is now. Dropping the future loses nothing.
    pub(super) async fn changed(&mut self) -> bool {
        let mut listening = self.network.listening();
        loop {
            // What is seen from here on wakes the wait below.
            listening.borrow_and_update();
            if self.is_ready() != self.ready {
                self.ready = !self.ready;
                return self.ready;
            }
            tokio::select! {
                // The network lives as long as `self`, so its word does not end.
                _ = listening.changed() => {}
                () = tokio::time::sleep_until(self.deadline), if self.may_be_no_server() => {}
            }
        }
    }

    fn may_be_no_server(&self) -> bool {
        self.ports.is_empty() && !self.ready
    }

    fn is_ready(&self) -> bool {
        if self.ports.is_empty() {
            return self.ready
                || self.network.counts().listeners > 0
                || Instant::now() >= self.deadline;
        }
        self.ports
            .iter()
            .all(|port| self.network.is_listening(*port))
    }
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
        let mut readiness = Readiness::new(network, vec![80, 81]);
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
    async fn without_ports_the_first_listener_counts_and_stays_counted() {
        let network = Network::new(NetLimits::default());
        let scope = network.scope();
        let mut readiness = Readiness::new(network, Vec::new());
        assert_eq!(readiness.changed().now_or_never(), None);
        let first = listen(&scope, 9000);
        assert_eq!(readiness.changed().now_or_never(), Some(true));
        drop(first);
        assert_eq!(readiness.changed().now_or_never(), None);
    }
}
