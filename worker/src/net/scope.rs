//! What one holder has in the network, and its end.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    Bound, Connecting, End, NetError, Network, Socket, UdpGateway, UdpSocket,
    conn::Close,
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

    /// A socket without an address. Fails with `TooManySockets` or `ScopeEnded`.
    pub fn socket(&self) -> Result<Socket, NetError> {
        let key = self.update(|state, _| state.open(self.0.id))?;
        Ok(Socket::new(self.handle(key)))
    }

    /// Takes a port of 127.0.0.0/8, `::1`, or with 0.0.0.0 and `::` of the whole family; 0 is an ephemeral port.
    ///
    /// Fails with `AddressNotBindable`, `AddressInUse`, `TooManySockets` or `ScopeEnded`.
    pub fn bind(&self, local: SocketAddr) -> Result<Bound, NetError> {
        self.socket()?.bind(local).map_err(|(_, error)| error)
    }

    /// Connects to a listener, from a bound socket of the same scope or any free port. A failure closes the bound
    /// socket.
    ///
    /// Fails at once with `ConnectionRefused` when nothing listens there (other addresses than loopback, and port 0,
    /// included), `AddressNotBindable` when `from` is of the other family or network, `AddressInUse` without a free port,
    /// `TooManySockets` or `ScopeEnded`.
    pub fn connect(&self, from: Option<Bound>, to: SocketAddr) -> Result<Connecting, NetError> {
        let begun = match from {
            None => self.socket()?.connect(to),
            Some(bound) if !bound.is_of(&self.0.network) => {
                return Err(NetError::AddressNotBindable);
            }
            Some(bound) => bound.connect(to),
        };
        begun.map_err(|(_, error)| error)
    }

    /// Connects from outside the network, as a published port does: the listener's side sees `peer`, of whatever
    /// family, and no port is taken. Fails as [`Self::connect`] does.
    pub fn connect_as(&self, peer: SocketAddr, to: SocketAddr) -> Result<Connecting, NetError> {
        let (key, begun) = self.update(|state, after| {
            let key = state.open_outside(self.0.id);
            let begun = state.connect(Source::Outside(key, peer), to, after);
            if begun.is_err() {
                state.remove(key, Close::Socket, after);
            }
            begun.map(|begun| (key, begun))
        })?;
        Ok(Connecting::new(self.handle(key), begun))
    }

    /// A UDP socket on a port of 127.0.0.0/8, `::1`, or with 0.0.0.0 and `::` of the whole family; 0 is an ephemeral
    /// port. It receives from now on.
    ///
    /// Fails with `AddressNotBindable`, `AddressInUse`, `TooManySockets` or `ScopeEnded`.
    pub fn bind_udp(&self, local: SocketAddr) -> Result<UdpSocket, NetError> {
        self.socket()?.bind_udp(local).map_err(|(_, error)| error)
    }

    /// A way for clients outside to a UDP port, whoever holds it at the time, as a published port is. One a port: a new
    /// one takes the place of the one before. Fails with `TooManySockets` or `ScopeEnded`.
    pub fn open_gateway(&self, port: u16) -> Result<UdpGateway, NetError> {
        let key = self.update(|state, _| state.open_gateway(self.0.id, port))?;
        Ok(UdpGateway::new(self.handle(key)))
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
