//! UDP: one socket for datagrams in both directions, with clients distinguished by their addresses.

mod flows;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    net::UdpSocket,
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use flows::{Flows, IDLE};
use warren_net::{Network, UdpGateway};

/// Larger than any datagram (RFC 768), so that none is truncated.
const BUFFER: usize = 64 << 10;
/// How long to wait after a socket failed to receive.
const RECEIVE_RETRY: Duration = Duration::from_millis(100);

/// A socket that leads to a UDP port of a workload's network.
pub(super) struct Port {
    socket: UdpSocket,
    network: Network,
    gateway: UdpGateway,
    /// The service's port.
    port: u16,
    /// How long a client may be silent before it is forgotten.
    idle: Duration,
}

// === impl Port ===

impl Port {
    /// Binds the socket and returns its address, which has the chosen port in place of port 0.
    pub async fn bind(
        listen: SocketAddr,
        port: u16,
        network: Network,
        gateway: UdpGateway,
    ) -> io::Result<(SocketAddr, Self)> {
        let socket = UdpSocket::bind(listen).await?;
        let local = socket.local_addr()?;
        let port = Self {
            socket,
            network,
            gateway,
            port,
            idle: IDLE,
        };
        Ok((local, port))
    }

    /// Serves datagrams until the future is dropped. Datagrams that arrive while `ready` is false
    /// are lost, as are those that the other side has no room for.
    pub async fn serve(self, ready: watch::Receiver<bool>) {
        let flows = Mutex::new(Flows::new(self.idle));
        tokio::join!(
            self.receive(&flows, &ready),
            self.answer(&flows),
            self.expire(&flows)
        );
    }

    /// Passes datagrams from clients to the service.
    async fn receive(&self, flows: &Mutex<Flows>, ready: &watch::Receiver<bool>) {
        let mut buffer = vec![0; BUFFER];
        loop {
            let (length, client) = match self.socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    tracing::warn!(port = self.port, %error, "a published UDP port failed to receive a datagram");
                    sleep(RECEIVE_RETRY).await;
                    continue;
                }
            };
            if !*ready.borrow() {
                continue;
            }
            let seen = self.seen(client);
            let forgotten = flows.lock().hear(seen, client, Instant::now());
            if let Some(forgotten) = forgotten {
                self.gateway.forget(forgotten);
            }
            let data = Bytes::copy_from_slice(&buffer[..length]);
            self.gateway.deliver(seen, data);
        }
    }

    /// Passes datagrams from the service to known clients.
    async fn answer(&self, flows: &Mutex<Flows>) {
        // The gateway ends only with its scope, which is never ended.
        while let Ok(datagram) = self.gateway.receive().await {
            let client = flows.lock().answer(datagram.address, Instant::now());
            let Some(client) = client else { continue };
            if let Err(error) = self.socket.send_to(&datagram.data, client).await {
                // Too large for the path, or no route: the datagram is lost, as UDP permits.
                tracing::debug!(port = self.port, %client, %error, "a datagram was not sent");
            }
        }
    }

    /// Forgets clients that have been silent for too long; the service can no longer reply to them.
    async fn expire(&self, flows: &Mutex<Flows>) {
        loop {
            let now = Instant::now();
            let (forgotten, next) = {
                let mut flows = flows.lock();
                (flows.expire(now), flows.next_expiry(now))
            };
            for client in forgotten {
                self.gateway.forget(client);
            }
            sleep_until(next).await;
        }
    }

    /// Returns the client's address as the service sees it. A socket on `::` reports IPv4 clients
    /// with mapped addresses, which guests must not see.
    fn seen(&self, client: SocketAddr) -> SocketAddr {
        let ip = client.ip().to_canonical();
        let ip = match ip {
            IpAddr::V4(v4) if !self.is_bound(Ipv4Addr::LOCALHOST) => {
                match self.is_bound(Ipv6Addr::LOCALHOST) {
                    true => IpAddr::V6(translated(v4)),
                    false => ip,
                }
            }
            _ => ip,
        };
        SocketAddr::new(ip, client.port())
    }

    fn is_bound(&self, host: impl Into<IpAddr>) -> bool {
        self.network
            .is_receiving(SocketAddr::new(host.into(), self.port))
    }
}

/// Returns the address of an IPv4 client for a service that has only an IPv6 socket, in the prefix
/// of translators, 64:ff9b::/96 (RFC 6052).
fn translated(ip: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = ip.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low)
}

#[cfg(test)]
mod tests;
