//! Published ports: real listeners on the worker whose connections arrive in a workload's network.

pub(crate) mod relay;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::net::{NetError, Network, Scope, Stream};
use relay::{Early, relay, reset};

/// Connections of one published port at once; more wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 1024;
/// How long to leave a listener alone that cannot accept: the machine is out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Why a port could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Condition `Started` `FALSE` with reason `PortUnavailable`.
    #[error("cannot listen on {listen}: {cause}; choose another port or stop what uses it")]
    PortUnavailable {
        listen: SocketAddr,
        cause: io::Error,
    },
}

/// A port that is held, and not served yet: clients that connect wait.
#[derive(Debug)]
pub struct Published {
    listener: TcpListener,
    local: SocketAddr,
}

/// A port that is served. Dropping it ends all connections and frees the port, soon after.
#[derive(Debug)]
pub struct PublishGuard {
    local: SocketAddr,
    /// Connections at present.
    open: watch::Sender<usize>,
    task: JoinHandle<()>,
}

/// Takes the port; 0 lets the system choose. It is held through restarts of the service.
pub async fn bind(listen: SocketAddr) -> Result<Published, PublishError> {
    let unavailable = |cause| PublishError::PortUnavailable { listen, cause };
    let listener = TcpListener::bind(listen).await.map_err(unavailable)?;
    let local = listener.local_addr().map_err(unavailable)?;
    Ok(Published { listener, local })
}

// === impl Published ===

impl Published {
    /// With the port that was chosen for 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Hands each connection to whoever listens on `port` of the network's 127.0.0.1, else of `::1`, which sees the
    /// client's address. While `ready` is false, or nobody listens, a connection is accepted and reset at once.
    pub fn serve(self, network: Network, port: u16, ready: watch::Receiver<bool>) -> PublishGuard {
        let Self { listener, local } = self;
        let open = watch::Sender::new(0);
        let task = tokio::spawn(serve(listener, network, port, ready, open.clone()));
        PublishGuard { local, open, task }
    }
}

// === impl PublishGuard ===

impl PublishGuard {
    pub fn local_addr(&self) -> SocketAddr {
        self.local
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

/// Counts one connection while it lives.
struct Open(watch::Sender<usize>);

impl Open {
    fn new(connections: &watch::Sender<usize>) -> Self {
        connections.send_modify(|n| *n += 1);
        Self(connections.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

async fn serve(
    listener: TcpListener,
    network: Network,
    port: u16,
    ready: watch::Receiver<bool>,
    open: watch::Sender<usize>,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // The set holds at most as many as there are places: what has ended is taken out first.
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (client, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(port, %error, "a published port cannot accept");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        if !*ready.borrow() {
            reset(client);
            continue;
        }
        let held = (place, Open::new(&open));
        connections.spawn(connection(client, peer, network.scope(), port, held));
    }
}

async fn connection(
    mut client: TcpStream,
    peer: SocketAddr,
    scope: Scope,
    port: u16,
    _held: (OwnedSemaphorePermit, Open),
) {
    // A listener on `::` reports IPv4 clients as mapped addresses, which guests never see.
    let seen = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let guest = match connect(&scope, seen, port).await {
        Ok(guest) => guest,
        Err(error) => {
            tracing::debug!(port, %peer, %error, "a published port refused a connection");
            return reset(client);
        }
    };
    // Latency matters more than packets: what a guest writes is a message more often than not.
    let _ = client.set_nodelay(true);
    if let Err(error) = relay(&mut client, guest, &scope, Early::default()).await {
        tracing::debug!(port, %peer, %error, "a published connection broke");
        reset(client);
    }
}

/// To whoever listens on the port, in the client's own family if both are there.
async fn connect(scope: &Scope, peer: SocketAddr, port: u16) -> Result<Stream, NetError> {
    let (v4, v6) = (
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    );
    let hosts = if peer.is_ipv4() { [v4, v6] } else { [v6, v4] };
    for host in hosts {
        // A socket of one family cannot report a peer of the other: then the port alone is the client's.
        let seen = match host.is_ipv4() == peer.is_ipv4() {
            true => peer,
            false => SocketAddr::new(host, peer.port()),
        };
        match scope.connect_as(seen, SocketAddr::new(host, port)) {
            Ok(connecting) => return connecting.await,
            Err(NetError::ConnectionRefused) => {}
            Err(error) => return Err(error),
        }
    }
    Err(NetError::ConnectionRefused)
}
