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
    /// The service starts now.
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
