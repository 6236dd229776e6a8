//! Connections from the worker itself to a port of a service, over the workload's network: the ingress's, and probes.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
};

use hyper_util::rt::TokioIo;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    last_words::LastWords,
    net::{End, NetError, Network, Scope, Stream},
    policy::HOST_ADDRESS,
};

/// A connection's transport, as hyper takes it.
pub(crate) type Io = TokioIo<LastWords<Stream>>;

/// What the service sees as the client of an IPv6 connection: [`HOST_ADDRESS`] in the prefix of translators (RFC 6052).
const HOST_ADDRESS_V6: Ipv6Addr = {
    let [a, b, c, d] = HOST_ADDRESS.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low)
};

/// First of the ports that connections seem to come from.
const FIRST_PORT: u16 = 49_152;

/// Opens connections to one port.
///
/// The service sees them come from the worker, which it knows as [`HOST_ADDRESS`]. Not from the client: a connection
/// carries the requests of many, and `X-Forwarded-For` tells each. Not from loopback either: there only the workload's
/// own components come from, and many programs allow more to whoever does.
pub(crate) struct Dialer {
    network: Network,
    port: u16,
    /// Tells connections apart in a service's log.
    next: AtomicU16,
}

/// A connection that a task drives. Dropping it resets the connection.
pub(crate) struct Driver {
    scope: Scope,
    // Held for its drop.
    _task: AbortOnDropHandle<()>,
}

// === impl Dialer ===

impl Dialer {
    pub(crate) fn new(network: Network, port: u16) -> Self {
        Self {
            network,
            port,
            next: AtomicU16::new(0),
        }
    }

    /// Connects to whoever listens on the port of 127.0.0.1, else of `::1`. The scope holds the connection and nothing
    /// else.
    pub(crate) async fn connect(&self) -> Result<(Io, Scope), NetError> {
        let scope = self.network.scope();
        let from = FIRST_PORT + self.next.fetch_add(1, Ordering::Relaxed) % (u16::MAX - FIRST_PORT);
        for (source, host) in [
            (IpAddr::V4(HOST_ADDRESS), IpAddr::from(Ipv4Addr::LOCALHOST)),
            (
                IpAddr::V6(HOST_ADDRESS_V6),
                IpAddr::from(Ipv6Addr::LOCALHOST),
            ),
        ] {
            let source = SocketAddr::new(source, from);
            match scope.connect_as(source, SocketAddr::new(host, self.port)) {
                Ok(connecting) => {
                    let io = LastWords::new(connecting.await?);
                    return Ok((TokioIo::new(io), scope));
                }
                Err(NetError::ConnectionRefused) => {}
                Err(error) => return Err(error),
            }
        }
        Err(NetError::ConnectionRefused)
    }
}

// === impl Driver ===

impl Driver {
    /// Runs a connection, which `scope` holds, until it ends or this is dropped.
    pub(crate) fn spawn<F>(connection: F, scope: Scope) -> Self
    where
        F: Future<Output = hyper::Result<()>> + Send + 'static,
    {
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a service ended early");
            }
        });
        Self {
            scope,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Closes in good order: the service reads what was sent, then the end of the stream.
    pub(crate) fn close(&self) {
        self.scope.end(End::Closed);
    }

    /// What holds the connection in the network.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Nothing happens after `close`: the first word counts. hyper has tasks of its own for HTTP/2, which end with
        // their connection.
        self.scope.end(End::Aborted);
    }
}
