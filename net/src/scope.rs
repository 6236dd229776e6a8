//! The sockets that one guest store or the host owns in a network, and how they end together.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use super::{
    Bound, Connecting, End, NetError, Network, Socket, UdpGateway, UdpSocket,
    conn::Close,
    network::Handle,
    state::{After, SocketKey, Source, State},
};

/// The sockets of one guest store, or of the host. Clones refer to the same scope. Dropping the
/// last clone ends nothing: the sockets live until they are dropped or [`Self::end`] is called.
#[derive(Clone)]
pub struct Scope(Arc<Shared>);

struct Shared {
    network: Network,
    id: u64,
    /// A [`Stage`]. It leaves `Used` under the network's lock, and is read under that lock for
    /// every decision. It leaves `Fresh` without the lock, so a scope that opens no socket never
    /// takes the lock.
    stage: AtomicU8,
}

/// The stages of a scope, in order.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Stage {
    /// It has never had a socket.
    Fresh,
    Used,
    Ended,
}

// === impl Scope ===

impl Scope {
    pub(super) fn new(network: Network, id: u64) -> Self {
        Self(Arc::new(Shared {
            network,
            id,
            stage: AtomicU8::new(Stage::Fresh as u8),
        }))
    }

    pub fn network(&self) -> &Network {
        &self.0.network
    }

    /// Closes or resets all sockets of the scope and frees their ports before it returns. Tasks
    /// that wait on one of the sockets are woken. Connections that are established but not yet
    /// accepted are reset in either case. Only the first call has an effect; afterwards every new
    /// operation fails with [`NetError::ScopeEnded`].
    pub fn end(&self, how: End) {
        if self.leave_fresh(Stage::Ended) || self.is_ended() {
            return;
        }
        self.0.network.update(|state, after| {
            let before = self.0.stage.swap(Stage::Ended as u8, Ordering::Relaxed);
            if before != Stage::Ended as u8 {
                state.remove_scope(self.0.id, how, after);
            }
        });
    }

    pub fn is_ended(&self) -> bool {
        self.0.stage.load(Ordering::Relaxed) == Stage::Ended as u8
    }

    /// Moves a scope that has never had a socket to another stage. Returns `false` if it has had
    /// one or has ended.
    fn leave_fresh(&self, to: Stage) -> bool {
        let (fresh, to) = (Stage::Fresh as u8, to as u8);
        self.0
            .stage
            .compare_exchange(fresh, to, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Opens a socket without an address. Fails with `TooManySockets` or `ScopeEnded`.
    pub fn socket(&self) -> Result<Socket, NetError> {
        let key = self.update(|state, _| state.open(self.0.id))?;
        Ok(Socket::new(self.handle(key)))
    }

    /// Binds a socket to a port of an address in 127.0.0.0/8, of `::1`, or with 0.0.0.0 or `::` of
    /// all addresses of the family. Port 0 chooses an ephemeral port.
    ///
    /// Fails with `AddressNotBindable`, `AddressInUse`, `TooManySockets` or `ScopeEnded`.
    pub fn bind(&self, local: SocketAddr) -> Result<Bound, NetError> {
        self.socket()?.bind(local).map_err(|(_, error)| error)
    }

    /// Connects to a listener, from a bound socket of the same scope or from any free port. A
    /// failure closes the bound socket.
    ///
    /// Fails at once with `ConnectionRefused` if nothing listens on the address (which includes
    /// port 0 and every address that is not loopback), with `AddressNotBindable` if `from` belongs
    /// to the other family or to another network, with `AddressInUse` if no port is free, and with
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

    /// Connects from outside the network, as a published port does. The listener sees `peer`, which
    /// may be of either family, and no port is taken. Fails as [`Self::connect`] does.
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

    /// Binds a UDP socket to a port of an address in 127.0.0.0/8, of `::1`, or with 0.0.0.0 or `::`
    /// of all addresses of the family. Port 0 chooses an ephemeral port. The socket receives from
    /// now on.
    ///
    /// Fails with `AddressNotBindable`, `AddressInUse`, `TooManySockets` or `ScopeEnded`.
    pub fn bind_udp(&self, local: SocketAddr) -> Result<UdpSocket, NetError> {
        self.socket()?.bind_udp(local).map_err(|(_, error)| error)
    }

    /// Opens a gateway from outside to a UDP port, as a published port does, whichever socket is
    /// bound to the port at the time. There is at most one gateway per port; a new one replaces it.
    /// Fails with `TooManySockets` or `ScopeEnded`.
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
        self.leave_fresh(Stage::Used);
        self.0.network.update(|state, after| {
            if self.is_ended() {
                return Err(NetError::ScopeEnded);
            }
            f(state, after)
        })
    }
}
