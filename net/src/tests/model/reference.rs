//! The network as its users understand it: no locks and no tables, only the history of each socket
//! and what follows from it.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
};

use super::{datagrams::Udp, streams::Side};
use crate::{Counts, End, NetError};

/// Small, so that random sequences reach the limits.
pub const SOCKETS: usize = 16;
pub const LISTENERS: usize = 3;
pub const BUFFER: usize = 32;

#[derive(Default)]
pub struct Reference {
    /// The limit on the bytes of all buffers together.
    pub buffered: usize,
    pub scopes: [Option<End>; 2],
    /// All sockets in order of creation; a socket is identified by its index.
    pub sockets: Vec<Socket>,
    pub conns: Vec<[Side; 2]>,
    /// The connection and side that each socket has or had: 0 is the client's side, 1 the server's.
    pub conns_of: HashMap<usize, (usize, usize)>,
}

pub struct Socket {
    pub scope: usize,
    /// `None` once the socket is closed or unbound.
    pub port: Option<SocketAddr>,
    /// The size of its connections' receive buffers.
    pub buffer: usize,
    pub state: State,
}

#[derive(Clone, Debug, PartialEq)]
pub enum State {
    Bound,
    Listening {
        queue: VecDeque<usize>,
        waiting: VecDeque<usize>,
        backlog: usize,
    },
    Waiting {
        listener: usize,
    },
    /// The connection, and 0 for the client's side or 1 for the server's.
    Connected(usize, usize),
    Failed(NetError),
    Udp(Udp),
    Gone,
}

pub fn overlap(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a == b || a.is_unspecified() || b.is_unspecified(),
        (IpAddr::V6(_), IpAddr::V6(_)) => true,
        _ => false,
    }
}

impl Reference {
    /// Returns whether an address is free for TCP or for UDP.
    pub fn is_free(&self, address: SocketAddr, udp: bool) -> bool {
        !self
            .sockets
            .iter()
            .filter(|socket| matches!(socket.state, State::Udp(_)) == udp)
            .filter_map(|socket| socket.port)
            .any(|held| held.port() == address.port() && overlap(held.ip(), address.ip()))
    }

    pub fn weight(&self) -> usize {
        let weight = |socket: &Socket| match socket.state {
            State::Gone => 0,
            State::Waiting { .. } | State::Failed(_) => 2,
            _ => 1,
        };
        self.sockets.iter().map(weight).sum()
    }

    pub fn add(&mut self, scope: usize, port: Option<SocketAddr>, state: State) -> usize {
        self.sockets.push(Socket {
            scope,
            port,
            buffer: BUFFER,
            state,
        });
        self.sockets.len() - 1
    }

    /// Binds a new socket. For port 0, the chosen port must be filled in afterwards.
    pub fn bind(&mut self, scope: usize, local: SocketAddr) -> Result<usize, NetError> {
        if self.scopes[scope].is_some() {
            return Err(NetError::ScopeEnded);
        }
        if self.weight() + 1 > SOCKETS {
            return Err(NetError::TooManySockets);
        }
        if !(local.ip().is_loopback() || local.ip().is_unspecified()) {
            return Err(NetError::AddressNotBindable);
        }
        if !self.is_free(local, false) {
            return Err(NetError::AddressInUse);
        }
        Ok(self.add(scope, Some(local), State::Bound))
    }

    /// Checks and records the port that was chosen for port 0.
    pub fn chosen(&mut self, socket: usize, local: SocketAddr) -> bool {
        self.sockets[socket].port = None;
        let udp = matches!(self.sockets[socket].state, State::Udp(_));
        let free = self.is_free(local, udp) && (32_768..=60_999).contains(&local.port());
        self.sockets[socket].port = Some(local);
        free
    }

    pub fn listen(&mut self, socket: usize, backlog: usize) -> Result<(), NetError> {
        if self.sockets[socket].state != State::Bound {
            return Err(NetError::ScopeEnded);
        }
        if self.counts().listeners >= LISTENERS {
            self.close(socket, None);
            return Err(NetError::TooManyListeners);
        }
        let (queue, waiting) = Default::default();
        self.sockets[socket].state = State::Listening {
            queue,
            waiting,
            backlog: backlog.max(1),
        };
        Ok(())
    }

    /// Connects from a bound socket, or from a port that must be filled in afterwards.
    pub fn connect(
        &mut self,
        scope: usize,
        from: Option<usize>,
        to: SocketAddr,
    ) -> Result<usize, NetError> {
        let result = self.try_connect(scope, from, to);
        if let (Err(_), Some(from)) = (&result, from) {
            self.close(from, None);
        }
        result
    }

    fn try_connect(
        &mut self,
        scope: usize,
        from: Option<usize>,
        to: SocketAddr,
    ) -> Result<usize, NetError> {
        if self.scopes[scope].is_some() {
            return Err(NetError::ScopeEnded);
        }
        if from.is_none() && self.weight() + 1 > SOCKETS {
            return Err(NetError::TooManySockets);
        }
        let listener = self.sockets.iter().position(|socket| {
            matches!(socket.state, State::Listening { .. })
                && socket
                    .port
                    .is_some_and(|held| held.port() == to.port() && overlap(held.ip(), to.ip()))
        });
        let listener = listener.filter(|_| to.ip().is_loopback());
        let listener = listener.ok_or(NetError::ConnectionRefused)?;
        let held = from.and_then(|from| self.sockets[from].port);
        if held.is_some_and(|held| held.is_ipv4() != to.is_ipv4()) {
            return Err(NetError::AddressNotBindable);
        }
        if self.weight() + if from.is_some() { 1 } else { 2 } > SOCKETS {
            return Err(NetError::TooManySockets);
        }
        let socket = from.unwrap_or_else(|| self.add(scope, None, State::Bound));
        self.sockets[socket].state = State::Waiting { listener };
        if let State::Listening { waiting, .. } = &mut self.sockets[listener].state {
            waiting.push_back(socket);
        }
        self.admit(listener);
        Ok(socket)
    }

    fn admit(&mut self, listener: usize) {
        loop {
            let scope = self.sockets[listener].scope;
            let (conn, server) = (self.conns.len(), self.sockets.len());
            let State::Listening {
                queue,
                waiting,
                backlog,
            } = &mut self.sockets[listener].state
            else {
                return;
            };
            if queue.len() >= *backlog {
                return;
            }
            let Some(client) = waiting.pop_front() else {
                return;
            };
            queue.push_back(server);
            let mut sides: [Side; 2] = Default::default();
            sides[0].buffer = self.sockets[client].buffer;
            sides[1].buffer = self.sockets[listener].buffer;
            self.conns.push(sides);
            self.conns_of
                .extend([(client, (conn, 0)), (server, (conn, 1))]);
            self.add(scope, None, State::Connected(conn, 1));
            self.sockets[client].state = State::Connected(conn, 0);
        }
    }

    pub fn accept(&mut self, listener: usize) -> Option<Result<usize, NetError>> {
        let State::Listening { queue, .. } = &mut self.sockets[listener].state else {
            return Some(Err(NetError::ScopeEnded));
        };
        let socket = queue.pop_front()?;
        self.admit(listener);
        Some(Ok(socket))
    }

    pub fn set_backlog(&mut self, listener: usize, size: usize) {
        if let State::Listening { backlog, .. } = &mut self.sockets[listener].state {
            *backlog = size.max(1);
            self.admit(listener);
        }
    }

    /// Closes a socket by itself (`None`) or with its scope.
    pub fn close(&mut self, socket: usize, how: Option<End>) {
        self.sockets[socket].port = None;
        match std::mem::replace(&mut self.sockets[socket].state, State::Gone) {
            State::Bound | State::Failed(_) | State::Udp(_) | State::Gone => {}
            State::Listening { queue, waiting, .. } => {
                for server in queue {
                    self.close(server, Some(End::Aborted));
                }
                for client in waiting {
                    self.sockets[client].state = State::Failed(NetError::ConnectionRefused);
                }
            }
            State::Waiting { listener } => {
                if let State::Listening { waiting, .. } = &mut self.sockets[listener].state {
                    waiting.retain(|waiting| *waiting != socket);
                }
            }
            State::Connected(conn, side) => {
                self.close_end(conn, side, how);
            }
        }
    }

    pub fn end_scope(&mut self, scope: usize, how: End) {
        if self.scopes[scope].is_some() {
            return;
        }
        self.scopes[scope] = Some(how);
        for socket in 0..self.sockets.len() {
            if self.sockets[socket].scope == scope {
                self.close(socket, Some(how));
            }
        }
    }

    pub fn counts(&self) -> Counts {
        let count = |f: &dyn Fn(&Socket) -> bool| self.sockets.iter().filter(|s| f(s)).count();
        let buffered = |socket: &Socket| match socket.state {
            State::Connected(conn, side) => self.conns[conn][side].inbox.len(),
            State::Udp(ref udp) => udp.queue.iter().map(|(_, data)| data.len()).sum(),
            _ => 0,
        };
        Counts {
            sockets: count(&|socket| socket.state != State::Gone),
            listeners: count(&|socket| matches!(socket.state, State::Listening { .. })),
            waiting: count(&|socket| matches!(socket.state, State::Waiting { .. })),
            ports: count(&|socket| socket.port.is_some()),
            buffered: self.sockets.iter().map(buffered).sum(),
        }
    }
}
