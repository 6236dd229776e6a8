//! Determines which addresses are the machine's own. The kernel is queried for every decision,
//! because addresses and local routes change while the worker runs, and because a list of
//! interfaces does not include routes such as `local 10.9.0.0/16 dev lo`.

use std::{
    fmt, io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::atomic::{AtomicU32, Ordering},
};

use parking_lot::Mutex;
use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType},
};
use warren_model::host_port::Transport;

/// The machine's network, as far as a decision depends on it.
pub trait Machine: fmt::Debug + Send + Sync {
    /// Returns whether packets to the address arrive on this machine. An error means that this is
    /// unknown.
    fn owns(&self, to: SocketAddr, transport: Transport) -> io::Result<bool>;
}

/// The routing of the process's network namespace, queried with `RTM_GETROUTE` (rtnetlink(7)).
#[derive(Debug, Default)]
pub struct Kernel {
    /// Sockets that are not in use at present.
    idle: Mutex<Vec<OwnedFd>>,
    sequence: AtomicU32,
}

/// How many idle sockets are kept: enough for the threads that query at the same time.
const MAX_IDLE: usize = 8;

// From linux/netlink.h and linux/rtnetlink.h.
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const MAX_ERRNO: i32 = 4095;
const NLM_F_REQUEST: u16 = 1;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
/// The offset of `rtm_type` in an answer.
const ROUTE_TYPE: usize = HEADER + 7;
const RTN_LOCAL: u8 = 2;
const RTN_ANYCAST: u8 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_IP_PROTO: u16 = 27;
const RTA_DPORT: u16 = 29;

// === impl Kernel ===

impl Machine for Kernel {
    fn owns(&self, to: SocketAddr, transport: Transport) -> io::Result<bool> {
        let kept = self.idle.lock().pop();
        let was_kept = kept.is_some();
        let socket = kept.map_or_else(open, Ok)?;
        let (socket, answer) = match self.ask(&socket, to, transport) {
            // The socket may be in a bad state, for example with an unread answer.
            Err(_) if was_kept => {
                let socket = open()?;
                let answer = self.ask(&socket, to, transport)?;
                (socket, answer)
            }
            answer => (socket, answer?),
        };
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            idle.push(socket);
        }
        Ok(answer)
    }
}

impl Kernel {
    /// Queries the kernel. It answers before the request returns, so nothing here blocks.
    fn ask(&self, socket: &OwnedFd, to: SocketAddr, transport: Transport) -> io::Result<bool> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        rustix::net::send(
            socket,
            &question(to, transport, sequence),
            SendFlags::empty(),
        )?;
        let mut buffer = [0_u8; 2048];
        let (length, _) = rustix::net::recv(socket, &mut buffer, RecvFlags::DONTWAIT)?;
        answer(&buffer[..length.min(buffer.len())], sequence)
    }
}

fn open() -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // NETLINK_ROUTE, which is 0.
        None,
    )?;
    Ok(socket)
}

/// Builds the request for the route of a packet that the worker sends. It includes the protocol and
/// the port, as routing rules may depend on them.
fn question(to: SocketAddr, transport: Transport, sequence: u32) -> Vec<u8> {
    let (family, address, scope) = match to {
        SocketAddr::V4(to) => (AddressFamily::INET, to.ip().octets().to_vec(), 0),
        SocketAddr::V6(to) => {
            let address = to.ip().octets().to_vec();
            (AddressFamily::INET6, address, to.scope_id())
        }
    };
    let protocol = match transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    };
    let mut message = Vec::with_capacity(80);
    message.extend([0; 4]);
    message.extend(RTM_GETROUTE.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    // struct rtmsg: the family, the length of the destination in bits, and zeroes for the kernel to
    // choose.
    let family = u8::try_from(family.as_raw()).unwrap_or_default();
    let bits = u8::try_from(address.len() * 8).unwrap_or_default();
    message.extend([family, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    attribute(&mut message, RTA_DST, &address);
    attribute(&mut message, RTA_IP_PROTO, &[protocol]);
    attribute(&mut message, RTA_DPORT, &to.port().to_be_bytes());
    if scope != 0 {
        attribute(&mut message, RTA_OIF, &scope.to_ne_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or_default();
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or_default();
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// Returns whether the route ends on this machine. An address without a route is not the machine's
/// own; connecting to it fails.
fn answer(bytes: &[u8], sequence: u32) -> io::Result<bool> {
    let odd = || io::Error::other("the kernel's answer about a route cannot be read");
    let word = |at: usize| -> io::Result<[u8; 4]> {
        let word = bytes.get(at..at + 4).ok_or_else(odd)?;
        word.try_into().map_err(|_| odd())
    };
    if u32::from_ne_bytes(word(8)?) != sequence {
        return Err(odd());
    }
    let [a, b, ..] = word(4)?;
    match u16::from_ne_bytes([a, b]) {
        RTM_NEWROUTE => {
            let kind = *bytes.get(ROUTE_TYPE).ok_or_else(odd)?;
            // IPv6 routers accept packets to the anycast address of each of their subnets.
            Ok(matches!(kind, RTN_LOCAL | RTN_ANYCAST))
        }
        NLMSG_ERROR => {
            let code = i32::from_ne_bytes(word(HEADER)?);
            if !(-MAX_ERRNO..0).contains(&code) {
                return Err(odd());
            }
            match Errno::from_raw_os_error(-code) {
                Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ACCESS => Ok(false),
                error => Err(error.into()),
            }
        }
        _ => Err(odd()),
    }
}

#[cfg(test)]
mod tests;
