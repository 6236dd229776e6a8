//! Where workloads may publish: what the operator allows, and nowhere where Warren itself listens.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use warren_model::{
    host_port::{HostPort, Transport},
    publish_rule::PublishRule,
};

use crate::policy::{Kernel, Listeners, Machine};

/// Ports that are tried where the worker chooses one within a rule.
const MAX_TRIES: usize = 512;

/// What workloads may publish on.
#[derive(Clone, Debug)]
pub struct PublishPolicy {
    /// `--publish-allow`. None: everything.
    rules: Arc<[PublishRule]>,
    listeners: Arc<Listeners>,
    machine: Arc<dyn Machine>,
}

/// Why a workload may not publish there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    #[error(
        "Warren itself listens on port {0} of this worker's machine, and no workload takes its place; choose another port"
    )]
    Warrens(u16),
    #[error(
        "this worker lets workloads publish on {rules} alone; choose a port of these, or start the worker with \
         --publish-allow {missing}"
    )]
    Rules { rules: String, missing: String },
}

// === impl PublishPolicy ===

impl Default for PublishPolicy {
    /// Everything is allowed, and no listener of Warren is known.
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

    /// What to bind for `listen`, one after the other until one is free: where the worker chooses
    /// the port, and rules name ports, several of those. Never empty.
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
        // Not always the same ones first: those are taken.
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

    /// Whether a client could take the workload for Warren: also while the one that listens there
    /// is away.
    fn is_warrens(&self, listen: HostPort) -> bool {
        // An answer that is missing is no reason to refuse: the kernel refuses a port that is in
        // use.
        let owns = |ip: IpAddr| {
            let address = SocketAddr::new(ip, listen.address.port());
            self.machine.owns(address, Transport::Tcp).unwrap_or(false)
        };
        listen.transport == Transport::Tcp && self.listeners.are_at(listen.address, owns)
    }
}

#[cfg(test)]
mod tests;
