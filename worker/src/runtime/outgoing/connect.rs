//! Opens connections: resolves the name, lets the policy decide, connects to the address that it
//! allowed, and adds TLS.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Uri, uri::Scheme};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tower::Service;
use warren_net::{End, Scope};

use crate::{
    last_words::LastWords,
    policy::{Op, Verdict},
};

use super::{
    PATIENCE, Ways,
    failure::ConnectError,
    tls::{self, H2},
};

/// The time that one address may take while others remain to be tried.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Opens the connections of one guest.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) ways: Ways,
    /// One permit for each connection.
    pub(super) places: Arc<Semaphore>,
    pub(super) tls: TlsConnector,
}

/// A connection, which holds one of the guest's places.
pub(super) struct Transport {
    io: TokioIo<LastWords<Box<dyn Io>>>,
    is_http2: bool,
    /// The scope that owns it, if it is in the workload's network.
    scope: Option<Scope>,
    is_shut: bool,
    answers: Answers,
    _place: OwnedSemaphorePermit,
}

/// The number of responses that have begun on a connection. One that has any was used before.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers(Arc<AtomicUsize>);

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Opened = (Box<dyn Io>, Option<Scope>);

// === impl Connector ===

impl Connector {
    async fn open(self, uri: Uri) -> Result<Transport, ConnectError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| ConnectError::Limit)?;
        let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
        let host = uri.host().ok_or(ConnectError::InvalidName)?;
        let host = host.trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });

        let (mut io, scope) = self.reach(host, port).await?;
        let mut is_http2 = false;
        if is_tls {
            let name = ServerName::try_from(host.trim_end_matches('.').to_owned());
            let name = name.map_err(|_| ConnectError::InvalidName)?;
            let stream = self.tls.connect(name, io).await;
            let stream = stream.map_err(|error| tls::failure(&error))?;
            is_http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
            io = Box::new(stream);
        }
        Ok(Transport {
            io: TokioIo::new(LastWords::new(io)),
            is_http2,
            scope,
            is_shut: false,
            answers: Answers::default(),
            _place: place,
        })
    }

    /// Connects to the first address that answers.
    async fn reach(&self, host: &str, port: u16) -> Result<Opened, ConnectError> {
        let is_named = host.parse::<IpAddr>().is_err();
        let addresses = self.ways.policy.resolve(host).await?;
        let mut last = ConnectError::Unreachable;
        let count = addresses.len();
        for (at, ip) in addresses.into_iter().enumerate() {
            let patience = if at + 1 < count { ATTEMPT } else { PATIENCE };
            let connecting = self.connect(SocketAddr::new(ip, port), is_named);
            match timeout(patience, connecting).await {
                Ok(Ok(opened)) => return Ok(opened),
                Ok(Err(error)) => last = error,
                Err(_) => last = ConnectError::Timeout,
            }
        }
        Err(last)
    }

    async fn connect(&self, to: SocketAddr, is_named: bool) -> Result<Opened, ConnectError> {
        match self.ways.policy.decide(Op::TcpConnect(to)) {
            Verdict::Deny(reason) => Err(ConnectError::denied(&reason, is_named)),
            Verdict::Machine(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), None))
            }
            Verdict::Workload => {
                let scope = self.ways.network.scope();
                let stream = scope.connect(None, to)?.await?;
                Ok((Box::new(stream), Some(scope)))
            }
        }
    }
}

impl Service<Uri> for Connector {
    type Response = Transport;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Transport, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    /// A caller may wait for less. This timeout ends attempts for which no caller waits any more.
    fn call(&mut self, uri: Uri) -> Self::Future {
        let opening = self.clone().open(uri);
        Box::pin(async {
            let opened = timeout(PATIENCE, opening).await;
            opened.unwrap_or(Err(ConnectError::Timeout))
        })
    }
}

// === impl Answers ===

impl Answers {
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

// === impl Transport ===

impl Connection for Transport {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.answers.clone());
        match self.is_http2 {
            true => connected.negotiated_h2(),
            false => connected,
        }
    }
}

impl Read for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_shut = true;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        // A connection that was not shut down cleanly was cut: its guest ended, or a request was in
        // progress.
        let how = if self.is_shut {
            End::Closed
        } else {
            End::Aborted
        };
        if let Some(scope) = &self.scope {
            scope.end(how);
        }
    }
}
