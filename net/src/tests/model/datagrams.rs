//! UDP: the reference, and the steps on it and on the real network.

use super::*;

/// Small, so that queues fill up.
pub const DATAGRAMS: usize = 200;
/// How many bytes a datagram counts in addition to its payload.
const OVERHEAD: usize = 64;

/// A UDP socket as its users understand it.
#[derive(Clone, Debug, PartialEq)]
pub struct Udp {
    peer: Option<SocketAddr>,
    refused: bool,
    limit: usize,
    pub queue: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Udp {
    fn held(&self) -> usize {
        self.queue
            .iter()
            .map(|(_, data)| data.len() + OVERHEAD)
            .sum()
    }
}

impl reference::Socket {
    /// Returns how many bytes of the pool its datagrams take.
    pub fn queued(&self) -> usize {
        match &self.state {
            State::Udp(udp) => udp.held(),
            _ => 0,
        }
    }

    fn udp(&mut self) -> Option<&mut Udp> {
        match &mut self.state {
            State::Udp(udp) => Some(udp),
            _ => None,
        }
    }
}

/// Returns the source address of a socket that is bound to `local`.
fn source(local: SocketAddr) -> SocketAddr {
    let ip = match local.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, local.port())
}

impl Reference {
    fn bind_udp(&mut self, scope: usize, local: SocketAddr) -> Result<usize, NetError> {
        if self.scopes[scope].is_some() {
            return Err(NetError::ScopeEnded);
        }
        if self.weight() + 1 > SOCKETS {
            return Err(NetError::TooManySockets);
        }
        if !(local.ip().is_loopback() || local.ip().is_unspecified()) {
            return Err(NetError::AddressNotBindable);
        }
        if !self.is_free(local, true) {
            return Err(NetError::AddressInUse);
        }
        let (peer, refused, limit, queue) = (None, false, DATAGRAMS, VecDeque::new());
        let udp = State::Udp(Udp {
            peer,
            refused,
            limit,
            queue,
        });
        Ok(self.add(scope, Some(local), udp))
    }

    fn send(&mut self, socket: usize, to: SocketAddr, data: Vec<u8>) -> Result<(), NetError> {
        let (taken, all) = (self.taken(), self.buffered);
        let from = self.sockets[socket].port.map(source);
        let udp = self.sockets[socket].udp().ok_or(NetError::ScopeEnded)?;
        if std::mem::take(&mut udp.refused) || !to.ip().is_loopback() {
            return Err(NetError::ConnectionRefused);
        }
        let (connected, from) = (udp.peer.is_some(), from.ok_or(NetError::ScopeEnded)?);
        let receiver = self.sockets.iter_mut().find_map(|other| {
            let held = other.port?;
            let here = held.port() == to.port() && reference::overlap(held.ip(), to.ip());
            other
                .udp()
                .filter(|udp| here && udp.peer.is_none_or(|peer| peer == from))
        });
        match receiver {
            Some(udp) => {
                let size = data.len() + OVERHEAD;
                let fits = udp.queue.is_empty() || udp.held() + size <= udp.limit;
                if fits && taken + size <= all {
                    udp.queue.push_back((from, data));
                }
            }
            None => {
                if let Some(udp) = self.sockets[socket].udp() {
                    udp.refused = connected;
                }
            }
        }
        Ok(())
    }

    fn receive(&mut self, socket: usize) -> Option<Result<Datagram, NetError>> {
        let Some(udp) = self.sockets[socket].udp() else {
            return Some(Err(NetError::ScopeEnded));
        };
        if std::mem::take(&mut udp.refused) {
            return Some(Err(NetError::ConnectionRefused));
        }
        let (address, data) = udp.queue.pop_front()?;
        let data = data.into();
        Some(Ok(Datagram { address, data }))
    }

    pub fn is_receivable(&self, socket: usize) -> bool {
        match &self.sockets[socket].state {
            State::Udp(udp) => udp.refused || !udp.queue.is_empty(),
            _ => true,
        }
    }

    fn set_peer(&mut self, socket: usize, peer: Option<SocketAddr>) -> Result<(), NetError> {
        let udp = self.sockets[socket].udp().ok_or(NetError::ScopeEnded)?;
        (udp.peer, udp.refused) = (peer, false);
        udp.queue
            .retain(|(from, _)| peer.is_none_or(|peer| peer == *from));
        Ok(())
    }
}

impl World {
    pub fn datagram(&mut self, step: &Step) -> Result<(), TestCaseError> {
        if let Step::BindUdp {
            scope,
            address,
            port,
        } = *step
        {
            let local = place(address, port);
            let real = self.scopes[scope].bind_udp(local);
            let model = self.model.bind_udp(scope, local);
            prop_assert_eq!(real.as_ref().map(|_| ()).map_err(|e| *e), model.map(|_| ()));
            if let (Ok(udp), Ok(socket)) = (real, model) {
                prop_assert_eq!(udp.local_addr().ip(), local.ip());
                if local.port() == 0 {
                    prop_assert!(self.model.chosen(socket, udp.local_addr()));
                }
                prop_assert_eq!(udp.source_addr(), source(udp.local_addr()));
                self.real.insert(socket, Real::Udp(udp, Waiter::default()));
            }
            return Ok(());
        }
        let is_udp = |real: &Real| matches!(real, Real::Udp(..));
        let whom = match *step {
            Step::SendTo { whom, .. }
            | Step::SetPeer {
                whom: Some(whom), ..
            } => {
                let whom = self.pick(whom, is_udp);
                whom.and_then(|it| self.model.sockets[it].port).map(source)
            }
            Step::Send { address, port, .. } => Some(place(address, port)),
            _ => None,
        };
        let (Step::Send { which, .. }
        | Step::SendTo { which, .. }
        | Step::Receive { which }
        | Step::WaitReceivable { which }
        | Step::SetPeer { which, .. }
        | Step::SetQueue { which, .. }) = *step
        else {
            return Ok(());
        };
        let Some(socket) = self.pick(which, is_udp) else {
            return Ok(());
        };
        let Some(Real::Udp(udp, waiter)) = self.real.get_mut(&socket) else {
            unreachable!()
        };
        // The guest interfaces refuse an address of the other family.
        let whom = whom.filter(|whom| whom.is_ipv4() == udp.local_addr().is_ipv4());
        match *step {
            Step::Send { len, .. } | Step::SendTo { len, .. } => {
                if let Some(to) = whom {
                    self.next = self.next.wrapping_add(1);
                    let data = vec![self.next; len];
                    let real = udp.try_send(to, data.clone().into());
                    prop_assert_eq!(real, self.model.send(socket, to, data));
                }
            }
            Step::Receive { .. } => {
                prop_assert_eq!(udp.try_receive(), self.model.receive(socket));
            }
            Step::WaitReceivable { .. } => {
                let ready = waiter.poll(|cx| udp.poll_ready(cx)).is_ready();
                prop_assert_eq!(ready, self.model.is_receivable(socket));
            }
            Step::SetQueue { size, .. } => {
                let size = udp.set_buffer(size);
                if let Some(udp) = self.model.sockets[socket].udp() {
                    udp.limit = size;
                }
            }
            _ => prop_assert_eq!(udp.set_peer(whom), self.model.set_peer(socket, whom)),
        }
        Ok(())
    }
}
