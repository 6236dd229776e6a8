//! Published ports: sockets of the worker's machine that lead into a workload's network.

mod allow;
pub(crate) mod relay;
mod tcp;
mod udp;

use std::{io, net::SocketAddr};

use tokio::{sync::watch, task::JoinHandle};
use warren_model::{
    host_port::{HostPort, Transport},
    reason,
    spec::Publish,
};
use warren_net::{NetError, Network};
use warren_proto::v1::{Endpoint, publish::Protocol};

pub use allow::{NotAllowed, PublishPolicy};

/// Why a port could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Condition `Started` `FALSE` with reason `PortUnavailable`.
    #[error(
        "cannot listen on {listen}: {cause}; choose another port or stop the program that uses it"
    )]
    PortUnavailable { listen: HostPort, cause: io::Error },
    /// Reported like [`Self::PortUnavailable`], as another worker may allow it.
    #[error("cannot listen on {listen}: {cause}")]
    NotAllowed { listen: HostPort, cause: NotAllowed },
    /// The workload publishes more UDP ports than its network allows sockets.
    #[error("cannot publish UDP port {port} of the service: {cause}")]
    NoGateway { port: u16, cause: NetError },
}

/// A port that is bound but not served yet. TCP clients wait in the backlog, and datagrams wait as
/// far as the system buffers them.
pub struct Published {
    /// The service's port.
    port: u16,
    /// The bound address, with the chosen port in place of port 0.
    local: HostPort,
    held: Held,
}

enum Held {
    Tcp(tcp::Port),
    Udp(udp::Port),
}

/// A port that is served. Dropping it ends all connections and frees the port soon after.
#[derive(Debug)]
pub struct PublishGuard {
    local: HostPort,
    /// The number of open connections. Datagrams do not count.
    open: watch::Sender<usize>,
    task: JoinHandle<()>,
}

/// Binds the port, or for port 0 one that the worker chooses. It stays bound while the service, to
/// which `network` belongs, restarts.
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
    /// Returns the reason to use in a condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::PortUnavailable { .. } | Self::NotAllowed { .. } => reason::PORT_UNAVAILABLE,
            Self::NoGateway { .. } => "TooManyPorts",
        }
    }
}

// === impl Published ===

impl Published {
    /// Returns the bound address, with the chosen port in place of port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local.address
    }

    /// Returns the endpoint in the form in which the replica reports it.
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

    /// Passes each TCP connection to the socket that listens on the service's port of 127.0.0.1 or
    /// of `::1` in the network, and each datagram to the socket bound to it. The guest sees the
    /// client's address. While `ready` is false, or if there is no such socket, a connection is
    /// accepted and reset at once, and a datagram is lost.
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
            // An error means that the port is no longer served, so no connection is open.
            let _ = open.wait_for(|connections| *connections == 0).await;
        }
    }

    /// Ends all connections, and returns when the port is free.
    pub async fn close(mut self) {
        self.task.abort();
        // The result is an error, as the task was aborted.
        let _ = (&mut self.task).await;
    }
}

impl Drop for PublishGuard {
    fn drop(&mut self) {
        self.task.abort();
    }
}
