//! Where workloads may publish: on the ports that the operator allows, except those on which Warren
//! itself listens.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use warren_model::{
    host_port::{HostPort, Transport},
    publish_rule::PublishRule,
};

use crate::policy::{Kernel, Listeners, Machine};

/// How many ports are tried if the worker chooses one within a rule.
const MAX_TRIES: usize = 512;

/// The ports on which workloads may publish.
#[derive(Clone, Debug)]
pub struct PublishPolicy {
    /// `--publish-allow`. If it is empty, everything is allowed.
    rules: Arc<[PublishRule]>,
    listeners: Arc<Listeners>,
    machine: Arc<dyn Machine>,
}

/// Why a workload may not publish on a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    #[error(
        "Warren itself listens on port {0} of this worker's machine, which workloads therefore cannot use; choose \
         another port"
    )]
    Warrens(u16),
    #[error(
        "this worker lets workloads publish only on {rules}; choose one of these ports, or start the worker with \
         --publish-allow {missing}"
    )]
    Rules { rules: String, missing: String },
}

// === impl PublishPolicy ===

impl Default for PublishPolicy {
    /// Allows everything, with no known listener of Warren.
    fn default() -> Self {
        Self::new([], Arc::default(), Arc::new(Kernel::default()))
    }
}

impl PublishPolicy {
    pub fn new(
        rules: impl IntoIterator<Item = PublishRule>,
        listeners: Arc<Listeners>,
        machine: Arc<dyn Machine>,
    ) -> Self {
        Self {
            rules: rules.into_iter().collect(),
            listeners,
            machine,
        }
    }

    /// Returns the ports to try for `listen`, one after the other until one is free. If the worker
    /// chooses the port and the rules name ports, there are several. Never empty.
    pub fn candidates(&self, listen: HostPort) -> Result<Vec<HostPort>, NotAllowed> {
        let is_chosen = listen.address.port() == 0;
        let covering = || {
            self.rules
                .iter()
                .filter(|rule| rule.covers_address(&listen))
        };
        let may = self.rules.is_empty() || self.rules.iter().any(|rule| rule.admits(&listen));
        if !may {
            return Err(self.refused(listen));
        }
        if !is_chosen || self.rules.is_empty() || covering().any(PublishRule::has_every_port) {
            return match self.is_warrens(listen) {
                true => Err(NotAllowed::Warrens(listen.address.port())),
                false => Ok(vec![listen]),
            };
        }
        let ports: Vec<u16> = covering().flat_map(PublishRule::ports).collect();
        // Start at a random port, as the first ones are more likely to be in use.
        let start = rand::random_range(0..ports.len().max(1));
        let candidates = (0..ports.len()).map(|at| HostPort {
            address: SocketAddr::new(listen.address.ip(), ports[(start + at) % ports.len()]),
            ..listen
        });
        let free = candidates.filter(|candidate| !self.is_warrens(*candidate));
        let free: Vec<_> = free.take(MAX_TRIES).collect();
        match free.is_empty() {
            true => Err(self.refused(listen)),
            false => Ok(free),
        }
    }

    fn refused(&self, listen: HostPort) -> NotAllowed {
        let rules: Vec<_> = self.rules.iter().map(ToString::to_string).collect();
        let address = listen.address;
        NotAllowed::Rules {
            rules: rules.join(", "),
            missing: match address.port() {
                0 => address.ip().to_string(),
                _ => address.to_string(),
            },
        }
    }

    /// Returns whether clients could mistake the workload for Warren, which includes the time in
    /// which Warren's own listener is closed.
    fn is_warrens(&self, listen: HostPort) -> bool {
        // A failed query is not a reason to refuse: the kernel refuses a port that is in use.
        let owns = |ip: IpAddr| {
            let address = SocketAddr::new(ip, listen.address.port());
            self.machine.owns(address, Transport::Tcp).unwrap_or(false)
        };
        listen.transport == Transport::Tcp && self.listeners.are_at(listen.address, owns)
    }
}

#[cfg(test)]
mod tests;
