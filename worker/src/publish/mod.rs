//! Published ports: real sockets on the worker whose clients arrive in a workload's network.

mod allow;
pub(crate) mod relay;
mod tcp;
mod udp;

use std::{io, net::SocketAddr};

use tokio::{sync::watch, task::JoinHandle};
use warren_model::{
    host_port::{HostPort, Transport},
    spec::Publish,
};
use warren_proto::v1::{Endpoint, publish::Protocol};

use crate::net::{NetError, Network};

pub use allow::{NotAllowed, PublishPolicy};

/// Why a port could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Condition `Started` `FALSE` with reason `PortUnavailable`.
    #[error("cannot listen on {listen}: {cause}; choose another port or stop what uses it")]
    PortUnavailable { listen: HostPort, cause: io::Error },
    /// As [`Self::PortUnavailable`]: another worker may allow it.
    #[error("cannot listen on {listen}: {cause}")]
    NotAllowed { listen: HostPort, cause: NotAllowed },
    /// The workload publishes more UDP ports than its network may have sockets.
    #[error("cannot publish UDP port {port} of the service: {cause}")]
    NoGateway { port: u16, cause: NetError },
}

/// A port that is held, and not served yet: TCP clients wait, datagrams too as far as the system keeps them.
pub struct Published {
    /// The service's.
    port: u16,
    /// With the port that was chosen for 0.
    local: HostPort,
    held: Held,
}

enum Held {
    Tcp(tcp::Port),
    Udp(udp::Port),
}

/// A port that is served. Dropping it ends all connections and frees the port, soon after.
#[derive(Debug)]
pub struct PublishGuard {
    local: HostPort,
    /// Connections at present; datagrams make none.
    open: watch::Sender<usize>,
    task: JoinHandle<()>,
}

/// Takes the port; 0 lets the worker choose. It is held through restarts of the service, which is
/// that of `network`.
pub async fn bind(
    publish: &Publish,
    network: &Network,
    policy: &PublishPolicy,
) -> Result<Published, PublishError> {
    let (port, listen) = (publish.port.get(), publish.listen);
    let candidates = policy.candidates(listen);
    let candidates = candidates.map_err(|cause| PublishError::NotAllowed { listen, cause })?;
    let mut cause = io::Error::from(io::ErrorKind::AddrInUse);
    for candidate in candidates {
        match bind_one(candidate, port, network).await {
            Err(PublishError::PortUnavailable { cause: last, .. })
                if last.kind() == io::ErrorKind::AddrInUse =>
            {
                cause = last;
            }
            bound => return bound,
        }
    }
    Err(PublishError::PortUnavailable { listen, cause })
}

async fn bind_one(
    listen: HostPort,
    port: u16,
    network: &Network,
) -> Result<Published, PublishError> {
    let unavailable = |cause| PublishError::PortUnavailable { listen, cause };
    let (local, held) = match listen.transport {
        Transport::Tcp => {
            let bound = tcp::Port::bind(listen.address, port, network.clone()).await;
            let (address, port) = bound.map_err(unavailable)?;
            (HostPort::tcp(address), Held::Tcp(port))
        }
        Transport::Udp => {
            let gateway = network.scope().open_gateway(port);
            let gateway = gateway.map_err(|cause| PublishError::NoGateway { port, cause })?;
            let bound = udp::Port::bind(listen.address, port, network.clone(), gateway).await;
            let (address, port) = bound.map_err(unavailable)?;
            (HostPort::udp(address), Held::Udp(port))
        }
    };
    Ok(Published { port, local, held })
}

// === impl PublishError ===

impl PublishError {
    /// As a condition names it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::PortUnavailable { .. } | Self::NotAllowed { .. } => "PortUnavailable",
            Self::NoGateway { .. } => "TooManyPorts",
        }
    }
}

// === impl Published ===

impl Published {
    /// With the port that was chosen for 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local.address
    }

    /// As the replica reports it.
    pub fn endpoint(&self) -> Endpoint {
        let protocol = match self.local.transport {
            Transport::Tcp => Protocol::Tcp,
            Transport::Udp => Protocol::Udp,
        };
        Endpoint {
            protocol: protocol.into(),
            guest_port: self.port.into(),
            address: self.local.address.to_string(),
        }
    }

    /// Hands each TCP connection to whoever listens on the service's port of the network's 127.0.0.1, else of `::1`, and
    /// each datagram to whoever has bound it; the guest sees the client's address. While `ready` is false, or nobody is
    /// there, a connection is accepted and reset at once, and a datagram is lost.
    pub fn serve(self, ready: watch::Receiver<bool>) -> PublishGuard {
        let open = watch::Sender::new(0);
        let task = match self.held {
            Held::Tcp(port) => tokio::spawn(port.serve(ready, open.clone())),
            Held::Udp(port) => tokio::spawn(port.serve(ready)),
        };
        PublishGuard {
            local: self.local,
            open,
            task,
        }
    }
}

// === impl PublishGuard ===

impl PublishGuard {
    pub fn local_addr(&self) -> SocketAddr {
        self.local.address
    }

    /// Returns once no connection is open.
    pub fn idle(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut open = self.open.subscribe();
        async move {
            // An error means that the port is no longer served, and no connection is left.
            let _ = open.wait_for(|connections| *connections == 0).await;
        }
    }

    /// Ends all connections, and returns when the port is free.
    pub async fn close(mut self) {
        self.task.abort();
        // Cancelled, which is what was asked for.
        let _ = (&mut self.task).await;
    }
}

impl Drop for PublishGuard {
    fn drop(&mut self) {
        self.task.abort();
    }
}
