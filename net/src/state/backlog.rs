//! Listeners and the connections to them: established while the backlog has room, otherwise waiting
//! in order.

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
use crate::{
    End, MAX_BACKLOG, NetError,
    address::{self, Family},
    conn::{Close, Conn, Side},
    pipe,
};

/// The connections that a listener has not accepted yet.
pub(super) struct Backlog {
    /// When the listener began to listen.
    pub since: Instant,
    limit: usize,
    /// Established connections, whose sockets belong to the listener until they are accepted.
    queue: VecDeque<SocketKey>,
    /// Connections that wait for room to be established, by ticket: first come, first served.
    pub waiting: BTreeMap<u64, SocketKey>,
    waker: Option<Waker>,
}

/// A connection attempt that waits for room in the backlog.
pub(super) struct Waiting {
    pub listener: SocketKey,
    pub ticket: u64,
    local: SocketAddr,
    peer: SocketAddr,
    pub waker: Option<Waker>,
}

/// The origin of a connection.
pub enum Source {
    /// A socket. One without a port takes any free port.
    Socket(SocketKey),
    /// A client outside, through a published port: the peer sees this address, and no port is
    /// taken.
    Outside(SocketKey, SocketAddr),
}

/// A connection attempt that has begun.
pub struct Begun {
    pub local: SocketAddr,
    /// `None` if the listener's backlog has no room yet.
    pub conn: Option<Arc<Conn>>,
}

impl State {
    /// Makes a bound socket listen. On failure it stays bound.
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

    /// Begins a connection, which is established at once if the listener's backlog has room. On
    /// failure the socket stays as it was.
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

    /// Waits until the connection is established or has failed.
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

    /// Takes the next connection from a listener's queue, and establishes one that waits in its
    /// place.
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

    /// Waits until a connection can be accepted, or none ever will.
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

    /// Returns the source address of a connection. From now on its socket counts for the peer's as
    /// well, so that establishing the connection later cannot exceed the limit of sockets.
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

    /// Adds one to what a socket counts for.
    fn weigh(&mut self, key: SocketKey) {
        if let Some(socket) = self.sockets.get_mut(&key) {
            socket.weight += 1;
            self.used += 1;
        }
    }

    /// Establishes as many of the waiting connections as the backlog has room for.
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
        // The client no longer counts for the server's socket, which is inserted below.
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

    /// Resets the connections that were established and refuses those that wait, as a closed port
    /// does.
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
