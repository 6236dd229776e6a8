//! UDP: sockets with bounded queues, which drop datagrams that do not fit, and gateways to clients
//! outside.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use super::{After, Kind, Socket, SocketKey, State};
use crate::{
    Datagram, MAX_DATAGRAM_V4, MAX_DATAGRAM_V6, NetError,
    address::{self, Family},
    pipe,
    pool::Pool,
    ports::PortKey,
};

/// How many bytes a queued datagram counts in addition to its payload, so that empty ones are
/// bounded too.
const OVERHEAD: usize = 64;
/// How many clients outside a gateway remembers. Beyond it, the least recently active are
/// forgotten.
const MAX_CLIENTS: usize = 4096;

/// A UDP socket with the datagrams that it has received and not read.
pub(super) struct Datagrams {
    port: PortKey,
    /// The only address that the socket exchanges datagrams with, if one is set.
    peer: Option<SocketAddr>,
    /// Whether a datagram to `peer` found no socket, which the next call reports (RFC 1122,
    /// 4.1.3.3).
    refused: bool,
    queue: Queue,
}

/// The gateway of a published port, with the datagrams that its service has sent to clients
/// outside.
pub(super) struct Gateway {
    port: u16,
    /// The value of `heard` at each client's last datagram.
    clients: HashMap<SocketAddr, u64>,
    /// The number of datagrams received from clients so far.
    heard: u64,
    queue: Queue,
}

/// A queue of datagrams with a limit in bytes, which are taken from the pool.
struct Queue {
    pool: Arc<Pool>,
    limit: usize,
    held: usize,
    datagrams: VecDeque<Datagram>,
    waker: Option<Waker>,
}

impl State {
    /// Turns a socket into a UDP socket that is bound to a port.
    pub fn bind_udp(
        &mut self,
        key: SocketKey,
        to: SocketAddr,
        after: &mut After,
    ) -> Result<SocketAddr, NetError> {
        let Some(Socket {
            kind: kind @ Kind::Unbound,
            ..
        }) = self.sockets.get_mut(&key)
        else {
            return Err(NetError::ScopeEnded);
        };
        let (family, host) = address::bindable(to.ip()).ok_or(NetError::AddressNotBindable)?;
        let port = self.udp_ports.take(family, host, to.port())?;
        *kind = Kind::Datagrams(Box::new(Datagrams {
            port,
            peer: None,
            refused: false,
            queue: Queue::new(self.limits.datagrams, &self.pool),
        }));
        self.udp_ports.listen(port, key);
        after.listeners_changed = true;
        Ok(SocketAddr::new(to.ip(), port.port()))
    }

    /// Opens a gateway from outside to a UDP port. There is at most one per port; a new one
    /// replaces it.
    pub fn open_gateway(&mut self, scope: u64, port: u16) -> Result<SocketKey, NetError> {
        self.check_room(1)?;
        let gateway = Gateway {
            port,
            clients: HashMap::new(),
            heard: 0,
            queue: Queue::new(self.limits.datagrams, &self.pool),
        };
        let key = self.insert(scope, 1, Kind::Gateway(Box::new(gateway)));
        self.gateways.insert(port, key);
        Ok(key)
    }

    /// Sets, changes or removes the only peer. Unread datagrams from others are dropped.
    pub fn set_peer(&mut self, key: SocketKey, peer: Option<SocketAddr>) -> Result<(), NetError> {
        let socket = self.datagrams(key).ok_or(NetError::ScopeEnded)?;
        socket.peer = peer.map(address::plain);
        socket.refused = false;
        if let Some(peer) = socket.peer {
            socket.queue.keep(|datagram| datagram.address == peer);
        }
        Ok(())
    }

    /// Returns the source address of the socket's datagrams: the bound address, or 127.0.0.1 or
    /// `::1` if it is bound to all.
    pub fn udp_source(&mut self, key: SocketKey) -> Option<SocketAddr> {
        self.datagrams(key).map(|socket| socket.port.source())
    }

    /// Returns whether this address is a loopback address or that of a client that the socket may
    /// reply to through a gateway.
    pub fn udp_reaches(&mut self, key: SocketKey, to: SocketAddr) -> bool {
        address::connectable(to.ip()).is_some() || self.gateway_to(key, to).is_some()
    }

    /// Sends a datagram. It is dropped silently if no socket receives it or the receiver has no
    /// room.
    pub fn send_datagram(
        &mut self,
        key: SocketKey,
        to: SocketAddr,
        data: Bytes,
        after: &mut After,
    ) -> Result<(), NetError> {
        let to = address::plain(to);
        let socket = self.datagrams(key).ok_or(NetError::ScopeEnded)?;
        if mem::take(&mut socket.refused) {
            return Err(NetError::ConnectionRefused);
        }
        let (source, connected) = (socket.port.source(), socket.peer.is_some());
        let longest = match socket.port.family() {
            Family::V4 => MAX_DATAGRAM_V4,
            Family::V6 => MAX_DATAGRAM_V6,
        };
        if data.len() > longest {
            return Err(NetError::DatagramTooLarge);
        }
        let inside = address::connectable(to.ip());
        let receiver =
            inside.and_then(|(family, host)| self.udp_ports.listener(family, host, to.port()));
        // A client on the worker itself has a loopback address too: what is bound in here comes
        // first.
        if receiver.is_none()
            && let Some(gateway) = self.gateway_to(key, to)
            && let Some(gateway) = self.gateway(gateway)
        {
            after.wakers.extend(gateway.queue.push(to, data));
            return Ok(());
        }
        if inside.is_none() {
            return Err(NetError::ConnectionRefused);
        }
        match receiver.and_then(|receiver| self.datagrams(receiver)) {
            Some(receiver) if receiver.takes(source) => {
                after.wakers.extend(receiver.queue.push(source, data));
            }
            // Only a socket that is restricted to this peer learns that no socket was there.
            _ if connected => {
                if let Some(socket) = self.datagrams(key) {
                    socket.refused = true;
                    after.wakers.extend(socket.queue.waker.take());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Delivers a client's datagram to the service's socket on the gateway's port, if there is one
    /// of the client's family.
    pub fn deliver(&mut self, key: SocketKey, from: SocketAddr, data: Bytes, after: &mut After) {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let family = match from {
            SocketAddr::V4(_) => Family::V4,
            SocketAddr::V6(_) => Family::V6,
        };
        let Some(gateway) = self.gateway(key) else {
            return;
        };
        gateway.hear(from);
        let port = gateway.port;
        let receiver = self
            .udp_ports
            .listener(family, address::localhost(family), port);
        if let Some(receiver) = receiver.and_then(|key| self.datagrams(key))
            && receiver.takes(from)
        {
            after.wakers.extend(receiver.queue.push(from, data));
        }
    }

    /// Forgets a client, to which the service can then no longer reply.
    pub fn forget_client(&mut self, key: SocketKey, client: SocketAddr) {
        if let Some(gateway) = self.gateway(key) {
            gateway.clients.remove(&address::plain(client));
        }
    }

    /// Returns whether a socket would receive a datagram to this loopback address.
    pub fn is_receiving(&self, at: SocketAddr) -> bool {
        address::connectable(at.ip()).is_some_and(|(family, host)| {
            self.udp_ports.listener(family, host, at.port()).is_some()
        })
    }

    /// Returns the next datagram of a socket or gateway, or the error of a datagram that was sent.
    pub fn receive(&mut self, key: SocketKey) -> Option<Result<Datagram, NetError>> {
        match self.sockets.get_mut(&key).map(|socket| &mut socket.kind) {
            Some(Kind::Datagrams(socket)) => match mem::take(&mut socket.refused) {
                true => Some(Err(NetError::ConnectionRefused)),
                false => socket.queue.pop().map(Ok),
            },
            Some(Kind::Gateway(gateway)) => gateway.queue.pop().map(Ok),
            _ => Some(Err(NetError::ScopeEnded)),
        }
    }

    /// Waits until [`Self::receive`] would return a datagram or an error.
    pub fn poll_receivable(
        &mut self,
        key: SocketKey,
        cx: &Context<'_>,
        after: &mut After,
    ) -> Poll<()> {
        let queue = match self.sockets.get_mut(&key).map(|socket| &mut socket.kind) {
            Some(Kind::Datagrams(socket)) if !socket.refused => &mut socket.queue,
            Some(Kind::Gateway(gateway)) => &mut gateway.queue,
            _ => return Poll::Ready(()),
        };
        if !queue.datagrams.is_empty() {
            return Poll::Ready(());
        }
        after.replaced = pipe::register(&mut queue.waker, cx);
        Poll::Pending
    }

    /// Sets how many unread bytes the socket may hold. Datagrams that are already queued stay.
    pub fn set_datagram_buffer(&mut self, key: SocketKey, bytes: usize) {
        if let Some(socket) = self.datagrams(key) {
            socket.queue.limit = bytes;
        }
    }

    /// Frees everything that a removed socket held.
    pub(super) fn close_datagrams(&mut self, mut socket: Datagrams, after: &mut After) {
        self.udp_ports.free(socket.port);
        after.listeners_changed = true;
        socket.queue.close(after);
    }

    pub(super) fn close_gateway(
        &mut self,
        key: SocketKey,
        mut gateway: Gateway,
        after: &mut After,
    ) {
        if self.gateways.get(&gateway.port) == Some(&key) {
            self.gateways.remove(&gateway.port);
        }
        gateway.queue.close(after);
    }

    /// Returns the gateway through which the socket may send to this client: that of its own port,
    /// if the socket is bound to all addresses or to 127.0.0.1 or `::1` and the client has sent to
    /// the gateway.
    fn gateway_to(&mut self, key: SocketKey, to: SocketAddr) -> Option<SocketKey> {
        let socket = self.datagrams(key)?;
        let (family, port) = (socket.port.family(), socket.port.port());
        // The gateway does not deliver to a socket on another loopback address.
        let receiver = self
            .udp_ports
            .listener(family, address::localhost(family), port);
        if receiver != Some(key) {
            return None;
        }
        let gateway = *self.gateways.get(&port)?;
        self.gateway(gateway)?
            .clients
            .contains_key(&address::plain(to))
            .then_some(gateway)
    }

    fn datagrams(&mut self, key: SocketKey) -> Option<&mut Datagrams> {
        match self.sockets.get_mut(&key) {
            Some(Socket {
                kind: Kind::Datagrams(socket),
                ..
            }) => Some(socket),
            _ => None,
        }
    }

    fn gateway(&mut self, key: SocketKey) -> Option<&mut Gateway> {
        match self.sockets.get_mut(&key) {
            Some(Socket {
                kind: Kind::Gateway(gateway),
                ..
            }) => Some(gateway),
            _ => None,
        }
    }
}

impl Datagrams {
    pub fn buffered(&self) -> usize {
        self.queue.bytes()
    }

    fn takes(&self, from: SocketAddr) -> bool {
        self.peer.is_none_or(|peer| peer == from)
    }
}

impl Gateway {
    pub fn buffered(&self) -> usize {
        self.queue.bytes()
    }

    /// Records that a client has sent a datagram.
    fn hear(&mut self, client: SocketAddr) {
        self.heard += 1;
        if self.clients.len() >= MAX_CLIENTS && !self.clients.contains_key(&client) {
            // Forget half at once, so that a flood of new clients does not search the table each
            // time.
            let mut heard: Vec<u64> = self.clients.values().copied().collect();
            let middle = heard.len() / 2;
            let (_, median, _) = heard.select_nth_unstable(middle);
            let oldest = *median;
            self.clients.retain(|_, last| *last >= oldest);
        }
        self.clients.insert(client, self.heard);
    }
}

impl Queue {
    fn new(limit: usize, pool: &Arc<Pool>) -> Self {
        Self {
            pool: Arc::clone(pool),
            limit,
            held: 0,
            datagrams: VecDeque::new(),
            waker: None,
        }
    }

    /// Appends a datagram and returns the task to wake. The datagram is dropped if the pool has no
    /// room for it, or if the queue has none and is not empty.
    fn push(&mut self, address: SocketAddr, data: Bytes) -> Option<Waker> {
        let size = data.len() + OVERHEAD;
        let fits = self.datagrams.is_empty() || self.held + size <= self.limit;
        if !fits || !self.pool.take_all(size) {
            return None;
        }
        self.held += size;
        self.datagrams.push_back(Datagram { address, data });
        self.waker.take()
    }

    fn pop(&mut self) -> Option<Datagram> {
        let datagram = self.datagrams.pop_front()?;
        self.give(datagram.data.len() + OVERHEAD);
        Some(datagram)
    }

    fn keep(&mut self, keep: impl Fn(&Datagram) -> bool) {
        self.datagrams.retain(keep);
        let kept = self.bytes() + self.datagrams.len() * OVERHEAD;
        self.give(self.held - kept);
    }

    fn give(&mut self, bytes: usize) {
        self.held -= bytes;
        self.pool.give(bytes);
    }

    fn close(&mut self, after: &mut After) {
        self.give(self.held);
        after.wakers.extend(self.waker.take());
        after.datagrams.push(mem::take(&mut self.datagrams));
    }

    fn bytes(&self) -> usize {
        self.datagrams
            .iter()
            .map(|datagram| datagram.data.len())
            .sum()
    }
}
