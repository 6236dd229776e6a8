//! UDP: sockets with bounded queues that drop what does not fit, and gateways to clients outside.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use super::{After, Kind, Socket, SocketKey, State};
use crate::net::{
    Datagram, MAX_DATAGRAM_V4, MAX_DATAGRAM_V6, NetError,
    address::{self, Family},
    pipe,
    pool::Pool,
    ports::PortKey,
};

/// What a datagram in a queue counts for beside its bytes, so that empty ones are bounded too.
const OVERHEAD: usize = 64;
/// Clients outside that a gateway remembers; the one not heard of for longest is forgotten for a new one.
const MAX_CLIENTS: usize = 4096;

/// A UDP socket: what it received and has not read.
pub(super) struct Datagrams {
    port: PortKey,
    /// The only one it exchanges datagrams with.
    peer: Option<SocketAddr>,
    /// A datagram to `peer` found nobody, which the next call says (RFC 1122, 4.1.3.3).
    refused: bool,
    queue: Queue,
}

/// The way of a published port: what its service sends to clients outside.
pub(super) struct Gateway {
    port: u16,
    /// When each client was last heard of, in datagrams since the start.
    clients: HashMap<SocketAddr, u64>,
    heard: u64,
    queue: Queue,
}

/// Datagrams up to a number of bytes, which it takes of the pool.
struct Queue {
    pool: Arc<Pool>,
    limit: usize,
    held: usize,
    datagrams: VecDeque<Datagram>,
    waker: Option<Waker>,
}

impl State {
    /// Makes a socket one of UDP, and gives it a port.
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

    /// A way from outside to a UDP port. One a port: a second takes the first one's place.
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

    /// Sets, changes or takes away the only peer. What was received from others is dropped.
    pub fn set_peer(&mut self, key: SocketKey, peer: Option<SocketAddr>) -> Result<(), NetError> {
        let socket = self.datagrams(key).ok_or(NetError::ScopeEnded)?;
        socket.peer = peer.map(address::plain);
        socket.refused = false;
        if let Some(peer) = socket.peer {
            socket.queue.keep(|datagram| datagram.address == peer);
        }
        Ok(())
    }

    /// Where its datagrams come from: the bound address, or 127.0.0.1 or `::1` for all.
    pub fn udp_source(&mut self, key: SocketKey) -> Option<SocketAddr> {
        self.datagrams(key).map(|socket| socket.port.source())
    }

    /// Whether a datagram to this address stays in the network, or goes to a client of a published port.
    pub fn udp_reaches(&mut self, key: SocketKey, to: SocketAddr) -> bool {
        address::connectable(to.ip()).is_some() || self.gateway_to(key, to).is_some()
    }

    /// Sends a datagram. It is lost without a word where nobody receives it, or where it does not fit.
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
        // A client on the worker itself has a loopback address too: what is bound in here comes first.
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
            // The word that nobody is there comes back to who asked to hear from that peer alone.
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

    /// Hands a client's datagram to the service's socket on the gateway's port, if there is one of its family.
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

    /// Takes a client for one that was never heard of.
    pub fn forget_client(&mut self, key: SocketKey, client: SocketAddr) {
        if let Some(gateway) = self.gateway(key) {
            gateway.clients.remove(&address::plain(client));
        }
    }

    /// Whether a datagram to this loopback address would find a socket.
    pub fn is_receiving(&self, at: SocketAddr) -> bool {
        address::connectable(at.ip()).is_some_and(|(family, host)| {
            self.udp_ports.listener(family, host, at.port()).is_some()
        })
    }

    /// The next datagram of a socket or a gateway, or what went wrong with one that was sent.
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

    /// Whether [`Self::receive`] has something to say.
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

    /// Bytes that may wait to be read; what waits already stays.
    pub fn set_datagram_buffer(&mut self, key: SocketKey, bytes: usize) {
        if let Some(socket) = self.datagrams(key) {
            socket.queue.limit = bytes;
        }
    }

    /// Frees what a removed socket held.
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

    /// The gateway that a datagram to this client takes: that of the port the socket holds for all addresses or for
    /// 127.0.0.1 and `::1`, for those who have sent to it.
    fn gateway_to(&mut self, key: SocketKey, to: SocketAddr) -> Option<SocketKey> {
        let socket = self.datagrams(key)?;
        let (family, port) = (socket.port.family(), socket.port.port());
        // A socket on another loopback address is not what the gateway delivers to.
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

    fn hear(&mut self, client: SocketAddr) {
        self.heard += 1;
        if self.clients.len() >= MAX_CLIENTS && !self.clients.contains_key(&client) {
            // Half at once, so that a flood of new clients does not search the table for each.
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

    /// Drops what does not fit: into this queue, unless it is empty, or into the pool. Returns whom to wake.
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
