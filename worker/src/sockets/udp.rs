//! A UDP socket of a guest: the states of `wasi:sockets/udp`, independent of the version of WASI.
//!
//! One socket can exchange datagrams with its own workload and with the outside at the same time.
//! Datagrams that leave the workload's network use a real socket of the machine, which is created
//! when the policy first permits one.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use bytes::Bytes;
use parking_lot::Mutex;
use warren_net::{Datagram, MAX_DATAGRAM_V4, MAX_DATAGRAM_V6};

use crate::policy::{HOST_ADDRESS, Op, Verdict};

use super::{Family, GuestNetwork, Place, SocketError, options};

/// The options of a UDP socket. Sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpOptions {
    pub hop_limit: u8,
    pub receive_buffer: u64,
    pub send_buffer: u64,
}

/// A UDP socket of a guest.
pub struct UdpSocket {
    network: GuestNetwork,
    family: Family,
    options: UdpOptions,
    state: State,
}

enum State {
    /// `None` while the socket is being bound.
    Unbound(Option<warren_net::Socket>),
    Bound(Arc<BoundUdp>),
}

/// The state that a bound socket and its streams share.
pub struct BoundUdp {
    network: GuestNetwork,
    family: Family,
    workload: warren_net::UdpSocket,
    hop_limit: u8,
    machine: OnceLock<tokio::net::UdpSocket>,
    /// The only address that the socket exchanges datagrams with, if one is set.
    peer: Mutex<Option<SocketAddr>>,
    /// Only one call waits at a time, as the network wakes only the last one to poll.
    receiving: tokio::sync::Mutex<()>,
}

// === impl UdpSocket ===

impl UdpSocket {
    /// Opens a socket. Fails if the workload has too many sockets already.
    pub fn new(network: GuestNetwork, family: Family) -> Result<Self, SocketError> {
        let socket = network.scope.socket()?;
        let buffer = network.scope.network().limits().datagrams as u64;
        Ok(Self {
            network,
            family,
            options: UdpOptions {
                hop_limit: 64,
                receive_buffer: buffer,
                send_buffer: buffer,
            },
            state: State::Unbound(Some(socket)),
        })
    }

    pub fn family(&self) -> Family {
        self.family
    }

    pub fn options(&self) -> UdpOptions {
        self.options
    }

    /// Sets the hop limit of datagrams that leave the machine; there are no hops inside the
    /// workload's network. Has no effect once the first datagram has left.
    pub fn set_hop_limit(&mut self, hops: u8) -> Result<(), SocketError> {
        self.options.hop_limit = options::hop_limit(hops)?;
        Ok(())
    }

    pub fn set_receive_buffer(&mut self, bytes: u64) -> Result<(), SocketError> {
        self.options.receive_buffer = options::buffer_size(bytes)?;
        self.apply_buffer();
        Ok(())
    }

    pub fn set_send_buffer(&mut self, bytes: u64) -> Result<(), SocketError> {
        self.options.send_buffer = options::buffer_size(bytes)?;
        Ok(())
    }

    /// Binds to an address of the workload's network.
    pub fn bind(&mut self, local: SocketAddr) -> Result<(), SocketError> {
        let State::Unbound(socket) = &mut self.state else {
            return Err(SocketError::InvalidState);
        };
        self.family.check_local(local)?;
        match self.network.decide(Op::UdpBind(local))? {
            Place::Machine(_) => Err(SocketError::AddressNotBindable),
            Place::Workload => {
                let unbound = socket.take().ok_or(SocketError::InvalidState)?;
                let workload = unbound.bind_udp(local).map_err(|(unbound, error)| {
                    *socket = Some(unbound);
                    error
                })?;
                self.state = State::Bound(Arc::new(BoundUdp {
                    workload,
                    network: self.network.clone(),
                    family: self.family,
                    hop_limit: self.options.hop_limit,
                    machine: OnceLock::new(),
                    peer: Mutex::new(None),
                    receiving: tokio::sync::Mutex::new(()),
                }));
                self.apply_buffer();
                Ok(())
            }
        }
    }

    /// Like [`BoundUdp::connect`], but binds an unbound socket to any free port first, as 0.3 does.
    pub fn connect(&mut self, peer: SocketAddr) -> Result<(), SocketError> {
        self.family.check_remote(peer)?;
        self.bind_implicitly()?.connect(peer)
    }

    /// Returns the bound socket to send a datagram with. An unbound socket is bound to any free
    /// port first, as 0.3 does, unless the datagram could not be sent anyway.
    pub fn to_send(
        &mut self,
        length: usize,
        to: Option<SocketAddr>,
    ) -> Result<&Arc<BoundUdp>, SocketError> {
        if let State::Unbound(_) = self.state {
            destination(self.family, None, to, length)?;
        }
        self.bind_implicitly()
    }

    pub fn bound(&self) -> Result<&Arc<BoundUdp>, SocketError> {
        match &self.state {
            State::Bound(bound) => Ok(bound),
            State::Unbound(_) => Err(SocketError::InvalidState),
        }
    }

    fn bind_implicitly(&mut self) -> Result<&Arc<BoundUdp>, SocketError> {
        if let State::Unbound(_) = self.state {
            self.bind(SocketAddr::new(self.family.unspecified(), 0))?;
        }
        self.bound()
    }

    fn apply_buffer(&self) {
        if let State::Bound(bound) = &self.state {
            let bytes = usize::try_from(self.options.receive_buffer).unwrap_or(usize::MAX);
            bound.workload.set_buffer(bytes);
        }
    }
}

/// Returns the destination of a datagram that is sent to the peer or to `to`.
fn destination(
    family: Family,
    peer: Option<SocketAddr>,
    to: Option<SocketAddr>,
    length: usize,
) -> Result<SocketAddr, SocketError> {
    if let Some(to) = to {
        family.check_remote(to)?;
    }
    let to = match (to, peer) {
        (Some(to), Some(peer)) if to != peer => return Err(SocketError::InvalidArgument),
        (Some(to), _) | (None, Some(to)) => to,
        (None, None) => return Err(SocketError::InvalidArgument),
    };
    let largest = match family {
        Family::Ipv4 => MAX_DATAGRAM_V4,
        Family::Ipv6 => MAX_DATAGRAM_V6,
    };
    match length > largest {
        true => Err(SocketError::DatagramTooLarge),
        false => Ok(to),
    }
}

// === impl BoundUdp ===

impl BoundUdp {
    /// Returns the local address. If a peer is set, this is the source address of its datagrams.
    pub fn local_addr(&self) -> SocketAddr {
        match *self.peer.lock() {
            Some(peer) if peer.ip().is_loopback() => self.workload.source_addr(),
            _ => self.workload.local_addr(),
        }
    }

    pub fn peer_addr(&self) -> Result<SocketAddr, SocketError> {
        self.peer.lock().ok_or(SocketError::InvalidState)
    }

    /// Restricts the socket to this peer. The policy must permit it.
    pub fn connect(&self, peer: SocketAddr) -> Result<(), SocketError> {
        self.family.check_remote(peer)?;
        self.place(peer)?;
        self.workload.set_peer(Some(peer))?;
        *self.peer.lock() = Some(peer);
        Ok(())
    }

    /// Lifts the restriction to one peer. `invalid-state` if there was none.
    pub fn disconnect(&self) -> Result<(), SocketError> {
        if self.peer.lock().take().is_none() {
            return Err(SocketError::InvalidState);
        }
        Ok(self.workload.set_peer(None)?)
    }

    /// Sends one datagram, to the peer or to `to`. Returns `would-block` only while the machine's
    /// socket has no room.
    pub fn try_send(&self, data: Bytes, to: Option<SocketAddr>) -> Result<(), SocketError> {
        let peer = *self.peer.lock();
        let to = destination(self.family, peer, to, data.len())?;
        match self.place(to)? {
            Place::Workload => Ok(self.workload.try_send(to, data)?),
            Place::Machine(address) => {
                self.machine()?.try_send_to(&data, address)?;
                Ok(())
            }
        }
    }

    /// Returns the next datagram. Datagrams from outside whose sender the policy does not permit
    /// are dropped.
    pub fn try_receive(&self) -> Result<Datagram, SocketError> {
        if let Some(received) = self.workload.try_receive() {
            return Ok(received?);
        }
        let Some(machine) = self.machine.get() else {
            return Err(SocketError::WouldBlock);
        };
        let mut buffer = vec![0; MAX_DATAGRAM_V6];
        loop {
            let (length, from) = machine.try_recv_from(&mut buffer)?;
            if let Some(address) = self.admitted(from) {
                buffer.truncate(length);
                let data = buffer.into();
                return Ok(Datagram { address, data });
            }
        }
    }

    /// Waits until [`Self::try_receive`] is likely to return a datagram or an error.
    pub fn poll_receivable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.workload.poll_ready(cx).is_ready() {
            return Poll::Ready(());
        }
        match self.machine.get() {
            Some(machine) => machine.poll_recv_ready(cx).map(drop),
            None => Poll::Pending,
        }
    }

    /// Waits until [`Self::try_send`] is likely to have room.
    pub fn poll_sendable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.machine.get() {
            Some(machine) => machine.poll_send_ready(cx).map(drop),
            None => Poll::Ready(()),
        }
    }

    /// Waits until the datagram is sent or lost.
    pub async fn send(&self, data: Bytes, to: Option<SocketAddr>) -> Result<(), SocketError> {
        loop {
            match self.try_send(data.clone(), to) {
                Err(SocketError::WouldBlock) => poll_fn(|cx| self.poll_sendable(cx)).await,
                sent => return sent,
            }
        }
    }

    /// Waits for the next datagram. Cancel safe: no datagram is lost.
    pub async fn receive(&self) -> Result<Datagram, SocketError> {
        let _turn = self.receiving.lock().await;
        loop {
            match self.try_receive() {
                Err(SocketError::WouldBlock) => poll_fn(|cx| self.poll_receivable(cx)).await,
                received => return received,
            }
        }
    }

    /// Returns where a datagram to this address goes. Replies to clients of a published port need
    /// no egress rule.
    fn place(&self, to: SocketAddr) -> Result<Place, SocketError> {
        if self.workload.reaches(to) {
            return Ok(Place::Workload);
        }
        self.network.decide(Op::UdpSend(to))
    }

    /// Returns the address under which the guest sees a sender outside, if the guest may receive
    /// from it.
    fn admitted(&self, from: SocketAddr) -> Option<SocketAddr> {
        let address = match from.ip() {
            IpAddr::V4(ip) if ip.is_loopback() => SocketAddr::new(HOST_ADDRESS.into(), from.port()),
            _ => from,
        };
        let peer = *self.peer.lock();
        let allowed = matches!(
            self.network.policy.decide(Op::UdpSend(address)),
            Verdict::Machine(_)
        );
        (allowed && peer.is_none_or(|peer| peer == address)).then_some(address)
    }

    fn machine(&self) -> Result<&tokio::net::UdpSocket, SocketError> {
        if let Some(machine) = self.machine.get() {
            return Ok(machine);
        }
        let socket = std::net::UdpSocket::bind((self.family.unspecified(), 0))?;
        socket.set_nonblocking(true)?;
        match self.family {
            Family::Ipv4 => socket.set_ttl(self.hop_limit.into())?,
            Family::Ipv6 => {
                rustix::net::sockopt::set_ipv6_unicast_hops(&socket, Some(self.hop_limit))
                    .map_err(io::Error::from)?;
            }
        }
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        Ok(self.machine.get_or_init(|| socket))
    }
}
