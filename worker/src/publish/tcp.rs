//! TCP: a listener, and a task for each connection.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::sleep,
};
use warren_net::{NetError, Network, Scope, Stream};

use super::relay::{Early, relay, reset};

/// How many connections one published port has at once; further ones wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 1024;
/// How long to wait after a listener failed to accept, for example for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A listener that leads to a port of a workload's network.
pub(super) struct Port {
    listener: TcpListener,
    network: Network,
    /// The service's port.
    port: u16,
}

/// Counts as one open connection until it is dropped.
struct Open(watch::Sender<usize>);

// === impl Port ===

impl Port {
    /// Binds the listener and returns its address, which has the chosen port in place of port 0.
    pub async fn bind(
        listen: SocketAddr,
        port: u16,
        network: Network,
    ) -> io::Result<(SocketAddr, Self)> {
        let listener = TcpListener::bind(listen).await?;
        let local = listener.local_addr()?;
        let port = Self {
            listener,
            network,
            port,
        };
        Ok((local, port))
    }

    /// Serves connections until the future is dropped, which ends all of them.
    pub async fn serve(self, ready: watch::Receiver<bool>, open: watch::Sender<usize>) {
        let port = self.port;
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            // Remove tasks that have ended, so that the set holds at most as many as there are
            // places.
            while connections.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let (client, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(port, %error, "a published port failed to accept a connection");
                    sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            if !*ready.borrow() {
                reset(client);
                continue;
            }
            let held = (place, Open::new(&open));
            connections.spawn(connection(client, peer, self.network.scope(), port, held));
        }
    }
}

// === impl Open ===

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

async fn connection(
    client: TcpStream,
    peer: SocketAddr,
    scope: Scope,
    port: u16,
    _held: (OwnedSemaphorePermit, Open),
) {
    // A listener on `::` reports IPv4 clients with mapped addresses, which guests must not see.
    let seen = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    // Latency matters more than the number of packets: guests mostly write whole messages.
    let _ = client.set_nodelay(true);
    let mut client = Unfinished(Some(client));
    let guest = match connect(&scope, seen, port).await {
        Ok(guest) => guest,
        Err(error) => {
            tracing::debug!(port, %peer, %error, "a published port refused a connection");
            return;
        }
    };
    let Some(stream) = &mut client.0 else { return };
    match relay(stream, guest, &scope, Early::default()).await {
        Ok(()) => client.finish(),
        Err(error) => tracing::debug!(port, %peer, %error, "a published connection broke"),
    }
}

/// A client whose connection is reset unless [`Self::finish`] is called, also if its task is
/// aborted because the port closes. An end of stream would make the client believe that it has
/// received everything.
struct Unfinished(Option<TcpStream>);

impl Unfinished {
    fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            reset(client);
        }
    }
}

/// Connects to the socket that listens on the port, preferably in the client's own family.
async fn connect(scope: &Scope, peer: SocketAddr, port: u16) -> Result<Stream, NetError> {
    let (v4, v6) = (
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    );
    let hosts = if peer.is_ipv4() { [v4, v6] } else { [v6, v4] };
    for host in hosts {
        // A socket of one family cannot report a peer of the other, so only the port is the
        // client's.
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

#[cfg(test)]
mod tests;
