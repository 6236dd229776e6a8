//! Every socket of a network and what may happen to it: plain data under the network's lock.
//!
//! Wake-ups and closes of connections are collected in [`After`] and done once the lock is free.

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

/// A socket, ordered by the scope that holds it. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SocketKey {
    scope: u64,
    id: u64,
}

pub(super) struct State {
    limits: NetLimits,
    ports: Ports,
    udp_ports: Ports,
    /// By the UDP port that each leads to.
    gateways: BTreeMap<u16, SocketKey>,
    sockets: BTreeMap<SocketKey, Socket>,
    pool: Arc<Pool>,
    /// The sum of the sockets' `weight`.
    used: usize,
    /// Sockets that listen.
    listeners: usize,
    /// Of sockets, and of places in queues.
    next_id: u64,
}

struct Socket {
    /// Of TCP.
    port: Option<PortKey>,
    /// The port was asked for by its number.
    fixed: bool,
    /// What it counts for in [`NetLimits::sockets`].
    weight: usize,
    /// The receive buffer of its connections, in bytes.
    buffer: usize,
    kind: Kind,
}

enum Kind {
    Unbound,
    Bound,
    Listening(Box<Backlog>),
    Waiting(Box<Waiting>),
    /// A connection that failed while it waited.
    Failed(NetError),
    Connected(Arc<Conn>, Side),
    Datagrams(Box<Datagrams>),
    Gateway(Box<Gateway>),
}

/// What is left to do when the lock is free.
#[derive(Default)]
#[must_use]
pub(super) struct After {
    wakers: Vec<Waker>,
    replaced: Option<Waker>,
    closes: Vec<(Arc<Conn>, Side, Close)>,
    /// A receive buffer's new size, in bytes.
    resized: Option<(Arc<Conn>, Side, usize)>,
    /// Dropped when the lock is free.
    datagrams: Vec<VecDeque<Datagram>>,
    /// A TCP listener or a UDP socket opened or closed.
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

    /// A new socket that has no port.
    pub fn open(&mut self, scope: u64) -> Result<SocketKey, NetError> {
        self.check_room(1)?;
        Ok(self.insert(scope, 1, Kind::Unbound))
    }

    /// The outer end of a connection from outside, which its publisher counts.
    pub fn open_outside(&mut self, scope: u64) -> SocketKey {
        self.insert(scope, 0, Kind::Unbound)
    }

    /// Gives a socket a port.
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

    /// Takes the port from a socket that has no other use for it.
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

    /// Ends what a socket has begun, so that it is as [`Self::open`] made it.
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

    /// The receive buffer of the connections that come of a socket, or of the one that it is.
    pub fn set_buffer(&mut self, key: SocketKey, bytes: usize, after: &mut After) {
        if let Some(socket) = self.sockets.get_mut(&key) {
            socket.buffer = bytes;
            if let Kind::Connected(conn, side) = &socket.kind {
                after.resized = Some((Arc::clone(conn), *side, bytes));
            }
        }
    }

    /// Forgets a socket, in whatever state, and frees all that it holds. A second time does nothing.
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
        // In the order they were made, so that a listener resets what it has not accepted.
        let all = SocketKey { scope, id: 0 }..=SocketKey {
            scope,
            id: u64::MAX,
        };
        while let Some((&key, _)) = self.sockets.range(all.clone()).next() {
            self.remove(key, Close::Scope(end), after);
        }
    }

    /// Whether a connection to this port of 127.0.0.1 or `::1` would find a listener.
    pub fn is_listening(&self, port: u16) -> bool {
        [Family::V4, Family::V6].into_iter().any(|family| {
            self.ports
                .listener(family, address::localhost(family), port)
                .is_some()
        })
    }

    /// Since when the listener that has been open for the longest listens, of those whose port was asked for by its number.
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

    /// What counts against the limit, for tests: zero when nothing is held.
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
