//! What one holder has in the network, and its end.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    Bound, Connecting, End, NetError, Network, UdpGateway, UdpSocket,
    network::Handle,
    state::{After, SocketKey, Source, State},
};

/// The sockets of one guest store, or of the host. Clones are the same scope. Dropping the last one ends nothing:
/// its sockets live until they are dropped or [`Self::end`] is called.
#[derive(Clone)]
pub struct Scope(Arc<Shared>);

struct Shared {
    network: Network,
    id: u64,
    /// Written and, for every decision, read under the network's lock.
    ended: AtomicBool,
}

// === impl Scope ===

impl Scope {
    pub(super) fn new(network: Network, id: u64) -> Self {
        Self(Arc::new(Shared {
            network,
            id,
            ended: AtomicBool::new(false),
        }))
    }

    pub fn network(&self) -> &Network {
        &self.0.network
    }

    /// Closes or resets all that the scope holds, and frees its ports, before it returns. Whoever waits on one of
    /// its sockets is woken. What is established but not accepted yet is reset either way. The first call wins;
    /// afterwards everything new fails with [`NetError::ScopeEnded`].
    pub fn end(&self, how: End) {
        self.0.network.update(|state, after| {
            if !self.0.ended.swap(true, Ordering::Relaxed) {
                state.remove_scope(self.0.id, how, after);
            }
        });
    }

    pub fn is_ended(&self) -> bool {
        self.0.ended.load(Ordering::Relaxed)
    }

    /// Takes a port of 127.0.0.0/8, `::1`, or with 0.0.0.0 and `::` of the whole family; 0 is an ephemeral port.
    ///
    /// Fails with `AddressNotBindable`, `AddressInUse`, `TooManySockets` or `ScopeEnded`.
    pub fn bind(&self, local: SocketAddr) -> Result<Bound, NetError> {
        let (key, local) = self.update(|state, _| state.bind(self.0.id, local))?;
        Ok(Bound::new(self.handle(key), local))
    }

    /// Connects to a listener, from a bound socket of the same scope or any free port. A failure closes the bound
    /// socket.
    ///
    /// Fails at once with `ConnectionRefused` when nothing listens there (other addresses than loopback, and port 0,
    /// included), `AddressNotBindable` when `from` is of the other family or network, `AddressInUse` without a free port,
    /// `TooManySockets` or `ScopeEnded`.
    pub fn connect(&self, from: Option<Bound>, to: SocketAddr) -> Result<Connecting, NetError> {
        match from {
            None => self.start(Source::Any, to),
            Some(bound) => {
                let handle = bound.into_handle();
                if !handle.network.is(&self.0.network) {
                    return Err(NetError::AddressNotBindable);
                }
                let (_, conn) = self.update(|state, after| {
                    state.connect(self.0.id, Source::Bound(handle.key), to, after)
                })?;
                Ok(Connecting::new(handle, conn))
            }
        }
    }

    /// Connects from outside the network, as a published port does: the listener's side sees `peer`, of whatever
    /// family, and no port is taken. Fails as [`Self::connect`] does.
    pub fn connect_as(&self, peer: SocketAddr, to: SocketAddr) -> Result<Connecting, NetError> {
        self.start(Source::Outside(peer), to)
    }

    /// A UDP socket on a port of 127.0.0.0/8, `::1`, or with 0.0.0.0 and `::` of the whole family; 0 is an ephemeral
    /// port. It receives from now on.
    ///
    /// Fails with `AddressNotBindable`, `AddressInUse`, `TooManySockets` or `ScopeEnded`.
    pub fn bind_udp(&self, local: SocketAddr) -> Result<UdpSocket, NetError> {
        let (key, local) = self.update(|state, _| state.bind_udp(self.0.id, local))?;
        Ok(UdpSocket::new(self.handle(key), local))
    }

    /// A way for clients outside to a UDP port, whoever holds it at the time, as a published port is. One a port: a new
    /// one takes the place of the one before. Fails with `TooManySockets` or `ScopeEnded`.
    pub fn open_gateway(&self, port: u16) -> Result<UdpGateway, NetError> {
        let key = self.update(|state, _| state.open_gateway(self.0.id, port))?;
        Ok(UdpGateway::new(self.handle(key)))
    }

    fn start(&self, source: Source, to: SocketAddr) -> Result<Connecting, NetError> {
        let (key, conn) =
            self.update(|state, after| state.connect(self.0.id, source, to, after))?;
        Ok(Connecting::new(self.handle(key), conn))
    }

    fn handle(&self, key: SocketKey) -> Handle {
        Handle {
            network: self.0.network.clone(),
            key,
        }
    }

    fn update<R>(
        &self,
        f: impl FnOnce(&mut State, &mut After) -> Result<R, NetError>,
    ) -> Result<R, NetError> {
        self.0.network.update(|state, after| {
            if self.is_ended() {
                return Err(NetError::ScopeEnded);
            }
            f(state, after)
        })
    }
}
