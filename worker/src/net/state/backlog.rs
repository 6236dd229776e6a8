//! Listeners and the connections that come to them: established while the backlog has room, else waiting by turns.

use std::{
    cmp,
    collections::{BTreeMap, VecDeque},
    mem,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::time::Instant;

use super::{After, Kind, Socket, SocketKey, State};
use crate::net::{
    End, MAX_BACKLOG, NetError,
    address::{self, Family},
    conn::{Close, Conn, Side},
    pipe,
};

/// What a listener has not accepted yet.
pub(super) struct Backlog {
    /// When it began to listen.
    pub since: Instant,
    limit: usize,
    /// Established; these sockets are the listener's own until they are accepted.
    queue: VecDeque<SocketKey>,
    /// Not established for want of room, by ticket: first come, first served.
    pub waiting: BTreeMap<u64, SocketKey>,
    waker: Option<Waker>,
}

/// A connection for which the backlog has no room.
pub(super) struct Waiting {
    pub listener: SocketKey,
    pub ticket: u64,
    local: SocketAddr,
    peer: SocketAddr,
    pub waker: Option<Waker>,
}

/// What a connection comes from.
pub enum Source {
    /// A socket; one without a port takes whatever is free.
    Socket(SocketKey),
    /// The outside, as published ports do: this address is told to the peer, and no port is taken.
    Outside(SocketKey, SocketAddr),
}

/// A connection that is being made.
pub struct Begun {
    pub local: SocketAddr,
    /// None as long as the listener's backlog has no room.
    pub conn: Option<Arc<Conn>>,
}

impl State {
    /// Makes a bound socket listen; one that fails stays bound.
    pub fn listen(
        &mut self,
        key: SocketKey,
        backlog: usize,
        after: &mut After,
    ) -> Result<(), NetError> {
        let Some(Socket {
            port: Some(port),
            kind: kind @ Kind::Bound,
            ..
        }) = self.sockets.get_mut(&key)
        else {
            return Err(NetError::ScopeEnded);
        };
        if self.listeners >= self.limits.listeners {
            return Err(NetError::TooManyListeners);
        }
        self.listeners += 1;
        *kind = Kind::Listening(Box::new(Backlog {
            since: Instant::now(),
            limit: backlog.clamp(1, MAX_BACKLOG),
            queue: VecDeque::new(),
            waiting: BTreeMap::new(),
            waker: None,
        }));
        self.ports.listen(*port, key);
        after.listeners_changed = true;
        Ok(())
    }

    /// Begins a connection: established at once when the listener's backlog has room. One that fails leaves the socket
    /// as it was.
    pub fn connect(
        &mut self,
        source: Source,
        to: SocketAddr,
        after: &mut After,
    ) -> Result<Begun, NetError> {
        let (Source::Socket(key) | Source::Outside(key, _)) = source;
        let Some(Socket {
            kind: Kind::Unbound | Kind::Bound,
            ..
        }) = self.sockets.get(&key)
        else {
            return Err(NetError::ScopeEnded);
        };
        let (family, host) = address::connectable(to.ip()).ok_or(NetError::ConnectionRefused)?;
        let listener = self
            .ports
            .listener(family, host, to.port())
            .ok_or(NetError::ConnectionRefused)?;
        let local = self.client(source, family)?;
        let ticket = self.next_id();
        let waiting = Waiting {
            listener,
            ticket,
            local,
            peer: address::plain(to),
            waker: None,
        };
        if let Some(socket) = self.sockets.get_mut(&key) {
            socket.kind = Kind::Waiting(Box::new(waiting));
        }
        if let Some(backlog) = self.backlog(listener) {
            backlog.waiting.insert(ticket, key);
        }
        self.admit(listener, after);
        let conn = match self.sockets.get(&key).map(|socket| &socket.kind) {
            Some(Kind::Connected(conn, _)) => Some(Arc::clone(conn)),
            _ => None,
        };
        Ok(Begun { local, conn })
    }

    /// Whether the connection stands.
    pub fn poll_connect(
        &mut self,
        key: SocketKey,
        cx: &Context<'_>,
        after: &mut After,
    ) -> Poll<Result<Arc<Conn>, NetError>> {
        match self.sockets.get_mut(&key).map(|socket| &mut socket.kind) {
            Some(Kind::Connected(conn, _)) => Poll::Ready(Ok(Arc::clone(conn))),
            Some(Kind::Waiting(waiting)) => {
                after.replaced = pipe::register(&mut waiting.waker, cx);
                Poll::Pending
            }
            Some(Kind::Failed(error)) => Poll::Ready(Err(*error)),
            Some(_) | None => Poll::Ready(Err(NetError::ScopeEnded)),
        }
    }

    /// Takes the next connection from a listener's queue, and lets one more in.
    pub fn accept(
        &mut self,
        listener: SocketKey,
        after: &mut After,
    ) -> Result<Option<(SocketKey, Arc<Conn>)>, NetError> {
        let backlog = self.backlog(listener).ok_or(NetError::ScopeEnded)?;
        let Some(key) = backlog.queue.pop_front() else {
            return Ok(None);
        };
        self.admit(listener, after);
        match self.sockets.get(&key) {
            Some(Socket {
                kind: Kind::Connected(conn, _),
                ..
            }) => Ok(Some((key, Arc::clone(conn)))),
            _ => Err(NetError::ScopeEnded),
        }
    }

    /// Whether a connection can be accepted, or never will.
    pub fn poll_acceptable(
        &mut self,
        listener: SocketKey,
        cx: &Context<'_>,
        after: &mut After,
    ) -> Poll<()> {
        match self.backlog(listener) {
            Some(backlog) if backlog.queue.is_empty() => {
                after.replaced = pipe::register(&mut backlog.waker, cx);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    pub fn set_backlog(&mut self, listener: SocketKey, limit: usize, after: &mut After) {
        if let Some(backlog) = self.backlog(listener) {
            backlog.limit = limit.clamp(1, MAX_BACKLOG);
            self.admit(listener, after);
        }
    }

    /// The address that a connection starts from. Its socket counts for the peer's too from now on, so that a connection
    /// which is let in later cannot fail for want of room.
    fn client(&mut self, source: Source, family: Family) -> Result<SocketAddr, NetError> {
        let key = match source {
            Source::Socket(key) => key,
            Source::Outside(key, peer) => {
                self.check_room(1)?;
                self.weigh(key);
                return Ok(address::plain(peer));
            }
        };
        let held = self.sockets.get(&key).and_then(|socket| socket.port);
        if held.is_some_and(|port| port.family() != family) {
            return Err(NetError::AddressNotBindable);
        }
        self.check_room(1)?;
        let port = match held {
            Some(port) => port,
            None => self.ports.take(family, address::localhost(family), 0)?,
        };
        if let Some(socket) = self.sockets.get_mut(&key) {
            socket.port = Some(port);
        }
        self.weigh(key);
        Ok(port.source())
    }

    /// Makes a socket count for one more.
    fn weigh(&mut self, key: SocketKey) {
        if let Some(socket) = self.sockets.get_mut(&key) {
            socket.weight += 1;
            self.used += 1;
        }
    }

    /// Establishes as many waiting connections as the backlog has room for.
    fn admit(&mut self, listener: SocketKey, after: &mut After) {
        let Some(backlog) = self.backlog(listener) else {
            return;
        };
        let room = backlog.limit.saturating_sub(backlog.queue.len());
        let count = cmp::min(room, backlog.waiting.len());
        if count == 0 {
            return;
        }
        after.wakers.extend(backlog.waker.take());
        for _ in 0..count {
            self.establish(listener, after);
        }
    }

    /// Establishes the connection that has waited longest.
    fn establish(&mut self, listener: SocketKey, after: &mut After) {
        let server = SocketKey {
            scope: listener.scope,
            id: self.next_id(),
        };
        let Some(backlog) = self.backlog(listener) else {
            return;
        };
        let Some((_, client)) = backlog.waiting.pop_first() else {
            return;
        };
        backlog.queue.push_back(server);
        let up = self.sockets.get(&listener).map(|socket| socket.buffer);
        let up = up.unwrap_or(self.limits.buffer);
        let Some(socket) = self.sockets.get_mut(&client) else {
            return;
        };
        let Kind::Waiting(waiting) = mem::replace(&mut socket.kind, Kind::Bound) else {
            return;
        };
        let addresses = (waiting.local, waiting.peer);
        let conn = Arc::new(Conn::new(addresses, (up, socket.buffer), &self.pool));
        // The place that the client held for it.
        socket.weight -= 1;
        socket.kind = Kind::Connected(Arc::clone(&conn), Side::Client);
        let accepted = Kind::Connected(conn, Side::Server);
        self.sockets.insert(
            server,
            Socket {
                fixed: false,
                port: None,
                weight: 1,
                buffer: up,
                kind: accepted,
            },
        );
        after.wakers.extend(waiting.waker);
    }

    /// As a closed port does: what was established is reset, what waited is refused.
    pub(super) fn close_backlog(&mut self, backlog: Backlog, after: &mut After) {
        for key in backlog.queue {
            self.remove(key, Close::Scope(End::Aborted), after);
        }
        for key in backlog.waiting.into_values() {
            let Some(socket) = self.sockets.get_mut(&key) else {
                continue;
            };
            let failed = Kind::Failed(NetError::ConnectionRefused);
            if let Kind::Waiting(waiting) = mem::replace(&mut socket.kind, failed) {
                after.wakers.extend(waiting.waker);
            }
        }
        after.wakers.extend(backlog.waker);
        after.listeners_changed = true;
    }

    pub(super) fn backlog(&mut self, listener: SocketKey) -> Option<&mut Backlog> {
        match &mut self.sockets.get_mut(&listener)?.kind {
            Kind::Listening(backlog) => Some(backlog),
            _ => None,
        }
    }
}
