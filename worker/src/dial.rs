//! Connections from the worker itself to a port of a service over the workload's network, for the
//! ingress and for probes.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
};

use hyper_util::rt::TokioIo;
use tokio_util::task::AbortOnDropHandle;
use warren_net::{End, NetError, Network, Scope, Stream};

use crate::{last_words::LastWords, policy::HOST_ADDRESS};

/// A connection's transport, in the form that hyper requires.
pub(crate) type Io = TokioIo<LastWords<Stream>>;

/// The client address of an IPv6 connection, as the service sees it: [`HOST_ADDRESS`] in the prefix
/// of translators (RFC 6052).
const HOST_ADDRESS_V6: Ipv6Addr = {
    let [a, b, c, d] = HOST_ADDRESS.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low)
};

/// The first of the ports from which connections appear to come.
const FIRST_PORT: u16 = 49_152;

/// Opens connections to one port.
///
/// The service sees the worker's address [`HOST_ADDRESS`] as the client. It does not see the real
/// client's, because a connection carries the requests of many clients, which `X-Forwarded-For`
/// names. Nor does it see loopback, from which only the workload's own components connect and to
/// which many programs grant more rights.
pub(crate) struct Dialer {
    network: Network,
    port: u16,
    /// Varies the port, so that a service's log can distinguish connections.
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

    /// Connects to the socket that listens on the port of 127.0.0.1, or else of `::1`. The returned
    /// scope holds only this connection.
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
    /// Spawns a task that drives a connection, which `scope` holds, until it ends or the driver is
    /// dropped.
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

    /// Closes the connection cleanly: the service reads what was sent, then the end of the stream.
    pub(crate) fn close(&self) {
        self.scope.end(End::Closed);
    }

    /// Returns the scope that holds the connection in the network.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Has no effect after `close`, as a scope ends only once. Tasks that hyper spawns for
        // HTTP/2 end with their connection.
        self.scope.end(End::Aborted);
    }
}
