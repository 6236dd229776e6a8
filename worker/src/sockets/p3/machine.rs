//! TCP connections that leave the workload's network.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::net::sockopt;
use tokio::net::{TcpSocket, TcpStream};

use crate::sockets::{Family, SocketError, options::Options};

/// A real connection, established or in progress.
pub(super) struct Machine {
    /// The peer's address as the guest sees it.
    remote: SocketAddr,
    pub options: Options,
    stage: Stage,
}

enum Stage {
    Connecting(Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + Sync>>),
    Connected(Arc<TcpStream>),
    Closed,
}

impl Machine {
    /// Begins to connect to `address`, which the guest calls `remote`.
    pub fn connect(
        family: Family,
        options: Options,
        remote: SocketAddr,
        address: SocketAddr,
    ) -> Result<Self, SocketError> {
        let socket = match family {
            Family::Ipv4 => TcpSocket::new_v4(),
            Family::Ipv6 => TcpSocket::new_v6(),
        }?;
        let fresh = Options::default();
        if options.receive_buffer != fresh.receive_buffer {
            socket.set_recv_buffer_size(clamp(options.receive_buffer))?;
        }
        if options.send_buffer != fresh.send_buffer {
            socket.set_send_buffer_size(clamp(options.send_buffer))?;
        }
        Ok(Self {
            remote,
            options,
            stage: Stage::Connecting(Box::pin(socket.connect(address))),
        })
    }

    pub fn poll_connected(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        match &mut self.stage {
            Stage::Connected(_) => Poll::Ready(Ok(())),
            Stage::Closed => Poll::Ready(Err(SocketError::InvalidState)),
            Stage::Connecting(connecting) => {
                let connected = ready!(connecting.as_mut().poll(cx));
                self.stage = Stage::Closed;
                let stream = connected?;
                apply(&stream, &self.options, self.remote.is_ipv6())?;
                self.stage = Stage::Connected(Arc::new(stream));
                Poll::Ready(Ok(()))
            }
        }
    }

    pub fn stream(&self) -> Result<&Arc<TcpStream>, SocketError> {
        match &self.stage {
            Stage::Connected(stream) => Ok(stream),
            Stage::Connecting(_) | Stage::Closed => Err(SocketError::InvalidState),
        }
    }

    pub fn local_addr(&self) -> Result<SocketAddr, SocketError> {
        Ok(self.stream()?.local_addr()?)
    }

    pub fn remote_addr(&self) -> Result<SocketAddr, SocketError> {
        self.stream().map(|_| self.remote)
    }

    /// Applies changed options. The values that were set can be read back in any state.
    pub fn apply_options(&self) -> Result<(), SocketError> {
        match &self.stage {
            Stage::Connected(stream) => Ok(apply(stream, &self.options, self.remote.is_ipv6())?),
            Stage::Connecting(_) | Stage::Closed => Ok(()),
        }
    }
}

fn clamp(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Applies the options that differ from a new socket's. Buffers can only be set before connecting.
fn apply(stream: &TcpStream, options: &Options, v6: bool) -> io::Result<()> {
    let fresh = Options::default();
    if options.hop_limit != fresh.hop_limit {
        match v6 {
            true => sockopt::set_ipv6_unicast_hops(stream, Some(options.hop_limit))?,
            false => sockopt::set_ip_ttl(stream, options.hop_limit.into())?,
        }
    }
    sockopt::set_socket_keepalive(stream, options.keep_alive)?;
    if options.keep_alive {
        let idle = Duration::from_nanos(options.keep_alive_idle);
        sockopt::set_tcp_keepidle(stream, idle)?;
        let interval = Duration::from_nanos(options.keep_alive_interval);
        sockopt::set_tcp_keepintvl(stream, interval)?;
        sockopt::set_tcp_keepcnt(stream, options.keep_alive_count)?;
    }
    Ok(())
}
