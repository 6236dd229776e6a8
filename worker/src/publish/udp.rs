//! UDP: one socket whose datagrams go both ways, each client told apart by its address.

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

use crate::net::{Network, UdpGateway};
use flows::{Flows, IDLE};

/// More than any datagram has (RFC 768): none is cut.
const BUFFER: usize = 64 << 10;
/// How long to leave a socket alone that cannot receive.
const RECEIVE_RETRY: Duration = Duration::from_millis(100);

/// A socket that leads to a UDP port of a workload's network.
pub(super) struct Port {
    socket: UdpSocket,
    network: Network,
    gateway: UdpGateway,
    /// The service's.
    port: u16,
    /// After which a client is forgotten.
    idle: Duration,
}

// === impl Port ===

impl Port {
    /// Returns with the address that it has, which differs where port 0 was asked for.
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

    /// Until it is dropped. What comes while `ready` is false is lost, and so is what the other side has no room for.
    pub async fn serve(self, ready: watch::Receiver<bool>) {
        let flows = Mutex::new(Flows::new(self.idle));
        tokio::join!(
            self.receive(&flows, &ready),
            self.answer(&flows),
            self.expire(&flows)
        );
    }

    /// From clients to the service.
    async fn receive(&self, flows: &Mutex<Flows>, ready: &watch::Receiver<bool>) {
        let mut buffer = vec![0; BUFFER];
        loop {
            let (length, client) = match self.socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    tracing::warn!(port = self.port, %error, "a published UDP port cannot receive");
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

    /// From the service to clients that it has heard of.
    async fn answer(&self, flows: &Mutex<Flows>) {
        // It ends with its scope, and nobody ends that.
        while let Ok(datagram) = self.gateway.receive().await {
            let client = flows.lock().answer(datagram.address, Instant::now());
            let Some(client) = client else { continue };
            if let Err(error) = self.socket.send_to(&datagram.data, client).await {
                // Too large for the way there, or no way at all: lost, as UDP does.
                tracing::debug!(port = self.port, %client, %error, "a datagram was not sent");
            }
        }
    }

    /// Forgets clients of long ago: the service cannot send to them for ever.
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

    /// The client's address as the service sees it. A socket on `::` reports IPv4 clients as mapped addresses, which
    /// guests never see.
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

/// An IPv4 client of a service that has an IPv6 socket alone: in the prefix of translators, 64:ff9b::/96 (RFC 6052).
fn translated(ip: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = ip.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low)
}

#[cfg(test)]
mod tests;
