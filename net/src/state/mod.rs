//! Every socket of a network and the operations on them: plain data under the network's lock.
//!
//! Wake-ups and closes of connections are collected in [`After`] and carried out once the lock is
//! released.

mod backlog;
mod datagram;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    task::Waker,
};

use tokio::time::Instant;

use super::{
    Counts, Datagram, End, NetError, NetLimits,
    address::{self, Family},
    conn::{Close, Conn, Side},
    pool::Pool,
    ports::{PortKey, Ports},
};
use backlog::{Backlog, Waiting};
use datagram::{Datagrams, Gateway};

pub(super) use backlog::{Begun, Source};

/// The key of a socket, ordered by the scope that holds it. Keys are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SocketKey {
    scope: u64,
    id: u64,
}

pub(super) struct State {
    limits: NetLimits,
    ports: Ports,
    udp_ports: Ports,
    /// The gateways, by the UDP port that each leads to.
    gateways: BTreeMap<u16, SocketKey>,
    sockets: BTreeMap<SocketKey, Socket>,
    pool: Arc<Pool>,
    /// The sum of the sockets' `weight`.
    used: usize,
    /// The number of listening sockets.
    listeners: usize,
    /// The last number given to a socket, or as a ticket to a connection that waits.
    next_id: u64,
}

struct Socket {
    /// The TCP port, if the socket holds one.
    port: Option<PortKey>,
    /// Whether the guest chose the port's number.
    fixed: bool,
    /// How many sockets it counts as in [`NetLimits::sockets`].
    weight: usize,
    /// The size of its connections' receive buffers, in bytes.
    buffer: usize,
    kind: Kind,
}

enum Kind {
    Unbound,
    Bound,
    Listening(Box<Backlog>),
    Waiting(Box<Waiting>),
    /// A connection attempt that failed while it waited.
    Failed(NetError),
    Connected(Arc<Conn>, Side),
    Datagrams(Box<Datagrams>),
    Gateway(Box<Gateway>),
}

/// The actions that are left to do once the lock is released.
#[derive(Default)]
#[must_use]
pub(super) struct After {
    wakers: Vec<Waker>,
    replaced: Option<Waker>,
    closes: Vec<(Arc<Conn>, Side, Close)>,
    /// A receive buffer to resize, with its new size in bytes.
    resized: Option<(Arc<Conn>, Side, usize)>,
    /// Datagrams to drop.
    datagrams: Vec<VecDeque<Datagram>>,
    /// Whether a TCP listener or a UDP socket opened or closed.
    pub listeners_changed: bool,
}

impl After {
    pub fn run(self) {
        for (conn, side, close) in self.closes {
            conn.close(side, close);
        }
        if let Some((conn, side, bytes)) = self.resized {
            conn.incoming(side).set_capacity(bytes);
        }
        for waker in self.wakers {
            waker.wake();
        }
        drop(self.replaced);
    }
}

impl State {
    pub fn new(limits: NetLimits, pool: Arc<Pool>) -> Self {
        Self {
            limits,
            pool,
            ports: Ports::default(),
            udp_ports: Ports::default(),
            gateways: BTreeMap::new(),
            sockets: BTreeMap::new(),
            used: 0,
            listeners: 0,
            next_id: 0,
        }
    }

    /// Opens a socket without a port.
    pub fn open(&mut self, scope: u64) -> Result<SocketKey, NetError> {
        self.check_room(1)?;
        Ok(self.insert(scope, 1, Kind::Unbound))
    }

    /// Opens the outer end of a connection from outside. It does not count here: its publisher
    /// bounds it.
    pub fn open_outside(&mut self, scope: u64) -> SocketKey {
        self.insert(scope, 0, Kind::Unbound)
    }

    /// Binds a socket to a port.
    pub fn bind(&mut self, key: SocketKey, to: SocketAddr) -> Result<SocketAddr, NetError> {
        let Some(Socket {
            port: held,
            fixed,
            kind: kind @ Kind::Unbound,
            ..
        }) = self.sockets.get_mut(&key)
        else {
            return Err(NetError::ScopeEnded);
        };
        let (family, host) = address::bindable(to.ip()).ok_or(NetError::AddressNotBindable)?;
        let port = self.ports.take(family, host, to.port())?;
        *held = Some(port);
        *fixed = to.port() != 0;
        *kind = Kind::Bound;
        Ok(SocketAddr::new(to.ip(), port.port()))
    }

    /// Frees the port of a socket that is only bound.
    pub fn unbind(&mut self, key: SocketKey) {
        if let Some(socket) = self.sockets.get_mut(&key)
            && matches!(socket.kind, Kind::Bound)
        {
            socket.kind = Kind::Unbound;
            if let Some(port) = socket.port.take() {
                self.ports.free(port);
            }
        }
    }

    /// Abandons whatever a socket has begun, which leaves it as [`Self::open`] made it.
    pub fn give_up(&mut self, key: SocketKey, after: &mut After) {
        let Some(socket) = self.sockets.get_mut(&key) else {
            return;
        };
        let fresh = Socket {
            port: None,
            fixed: false,
            weight: 1,
            buffer: socket.buffer,
            kind: Kind::Unbound,
        };
        self.remove(key, Close::Socket, after);
        self.used += fresh.weight;
        self.sockets.insert(key, fresh);
    }

    /// Sets the receive buffer of a connected socket, or of the connections that a socket will
    /// have.
    pub fn set_buffer(&mut self, key: SocketKey, bytes: usize, after: &mut After) {
        if let Some(socket) = self.sockets.get_mut(&key) {
            socket.buffer = bytes;
            if let Kind::Connected(conn, side) = &socket.kind {
                after.resized = Some((Arc::clone(conn), *side, bytes));
            }
        }
    }

    /// Removes a socket in any state and frees everything it holds. Has no effect on a socket that
    /// is already removed.
    pub fn remove(&mut self, key: SocketKey, close: Close, after: &mut After) {
        let Some(socket) = self.sockets.remove(&key) else {
            return;
        };
        self.used -= socket.weight;
        if let Some(port) = socket.port {
            self.ports.free(port);
        }
        match socket.kind {
            Kind::Unbound | Kind::Bound | Kind::Failed(_) => {}
            Kind::Connected(conn, side) => after.closes.push((conn, side, close)),
            Kind::Waiting(waiting) => {
                if let Some(backlog) = self.backlog(waiting.listener) {
                    backlog.waiting.remove(&waiting.ticket);
                }
                after.wakers.extend(waiting.waker);
            }
            Kind::Listening(backlog) => {
                self.listeners -= 1;
                self.close_backlog(*backlog, after);
            }
            Kind::Datagrams(datagrams) => self.close_datagrams(*datagrams, after),
            Kind::Gateway(gateway) => self.close_gateway(key, *gateway, after),
        }
    }

    /// Removes every socket of the scope.
    pub fn remove_scope(&mut self, scope: u64, end: End, after: &mut After) {
        // In order of creation, so that a listener resets the connections it has not accepted.
        let all = SocketKey { scope, id: 0 }..=SocketKey {
            scope,
            id: u64::MAX,
        };
        while let Some((&key, _)) = self.sockets.range(all.clone()).next() {
            self.remove(key, Close::Scope(end), after);
        }
    }

    /// Returns whether a connection to this port of 127.0.0.1 or `::1` would find a listener.
    pub fn is_listening(&self, port: u16) -> bool {
        [Family::V4, Family::V6].into_iter().any(|family| {
            self.ports
                .listener(family, address::localhost(family), port)
                .is_some()
        })
    }

    /// Returns when the oldest listener began to listen, among those for which the guest chose a
    /// port number.
    pub fn fixed_listener_since(&self) -> Option<Instant> {
        let since = |socket: &Socket| match &socket.kind {
            Kind::Listening(backlog) if socket.fixed => Some(backlog.since),
            _ => None,
        };
        self.sockets.values().filter_map(since).min()
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            sockets: self.sockets.len(),
            ports: self.ports.len() + self.udp_ports.len(),
            ..Counts::default()
        };
        for socket in self.sockets.values() {
            match &socket.kind {
                Kind::Unbound | Kind::Bound | Kind::Failed(_) => {}
                Kind::Listening(_) => counts.listeners += 1,
                Kind::Waiting(_) => counts.waiting += 1,
                Kind::Connected(conn, side) => counts.buffered += conn.incoming(*side).buffered(),
                Kind::Datagrams(socket) => counts.buffered += socket.buffered(),
                Kind::Gateway(gateway) => counts.buffered += gateway.buffered(),
            }
        }
        counts
    }

    /// Returns how many sockets count against the limit: zero when nothing is held.
    #[cfg(test)]
    pub fn used(&self) -> usize {
        assert_eq!(
            self.used,
            self.sockets
                .values()
                .map(|socket| socket.weight)
                .sum::<usize>()
        );
        self.used
    }

    fn insert(&mut self, scope: u64, weight: usize, kind: Kind) -> SocketKey {
        let key = SocketKey {
            scope,
            id: self.next_id(),
        };
        let socket = Socket {
            port: None,
            fixed: false,
            weight,
            buffer: self.limits.buffer,
            kind,
        };
        self.used += weight;
        self.sockets.insert(key, socket);
        key
    }

    fn check_room(&self, weight: usize) -> Result<(), NetError> {
        if self.used.saturating_add(weight) > self.limits.sockets {
            return Err(NetError::TooManySockets);
        }
        Ok(())
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}
