//! `wasi:http/outgoing-handler`: localhost is the workload's own service, the rest is what `egress` allows.
//!
//! HTTP/1.1, one connection a request. Addresses are resolved and decided by the guest's policy here, and
//! connected to as decided, so that no second look-up can lead elsewhere.

use std::{
    future::Future,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, LazyLock},
    time::Duration,
};

use http::{Request, Response, Uri, uri::Scheme};
use http_body_util::BodyExt as _;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, io::TokioIo};

use crate::{
    policy::{Op, ResolveError, Verdict},
    sockets::GuestNetwork,
};

/// What a guest waits at most for a connection, a first byte or a next one, unless it asks for less.
const PATIENCE: Duration = Duration::from_secs(600);

static TLS: LazyLock<TlsConnector> = LazyLock::new(|| {
    let roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.into(),
    };
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
});

type Sent = Result<
    (
        Response<WasiBody>,
        Box<dyn Future<Output = Result<(), Error>> + Send>,
    ),
    Error,
>;

/// How one instance sends requests.
pub(super) struct Outgoing(GuestNetwork);

impl Outgoing {
    pub(super) fn new(network: GuestNetwork) -> Self {
        Self(network)
    }
}

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _response_processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let network = self.0.clone();
        Box::new(send(network, request, options.unwrap_or_default()))
    }
}

async fn send(network: GuestNetwork, request: Request<WasiBody>, options: RequestOptions) -> Sent {
    let tls = request.uri().scheme() == Some(&Scheme::HTTPS);
    let authority = request
        .uri()
        .authority()
        .ok_or(Error::HttpRequestUriInvalid)?;
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });

    let connected = timeout(
        options.connect_timeout.unwrap_or(PATIENCE),
        connect(&network, &host, port, tls),
    )
    .await
    .map_err(|_| Error::ConnectionTimeout)??;
    let first_byte = options.first_byte_timeout.unwrap_or(PATIENCE);
    timeout(first_byte, exchange(connected, request))
        .await
        .map_err(|_| Error::ConnectionReadTimeout)?
}

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

async fn connect(
    network: &GuestNetwork,
    host: &str,
    port: u16,
    tls: bool,
) -> Result<Box<dyn Transport>, Error> {
    let addresses = network
        .policy
        .resolve(host)
        .await
        .map_err(|error| match error {
            ResolveError::Denied(_) => Error::HttpRequestDenied,
            ResolveError::InvalidName => Error::HttpRequestUriInvalid,
            ResolveError::NotFound | ResolveError::Temporary(_) => Error::DnsError {
                rcode: Some(error.to_string()),
                info_code: None,
            },
        })?;
    let mut last = Error::DestinationNotFound;
    for ip in addresses {
        match connect_to(network, SocketAddr::new(ip, port)).await {
            Ok(transport) if tls => return secure(transport, host).await,
            Ok(transport) => return Ok(transport),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_to(
    network: &GuestNetwork,
    address: SocketAddr,
) -> Result<Box<dyn Transport>, Error> {
    match network.policy.decide(Op::TcpConnect(address)) {
        Verdict::Deny(_) => Err(Error::HttpRequestDenied),
        Verdict::Machine(address) => {
            let stream = TcpStream::connect(address).await.map_err(Error::Connect)?;
            stream.set_nodelay(true).map_err(Error::Connect)?;
            Ok(Box::new(stream))
        }
        Verdict::Workload => {
            let connecting = network.scope.connect(None, address);
            let stream = match connecting {
                Ok(connecting) => connecting.await,
                Err(error) => Err(error),
            };
            Ok(Box::new(stream.map_err(|_| Error::ConnectionRefused)?))
        }
    }
}

async fn secure(transport: Box<dyn Transport>, host: &str) -> Result<Box<dyn Transport>, Error> {
    let name = ServerName::try_from(host.to_owned())?;
    let stream = TLS.connect(name, transport).await.map_err(Error::Tls)?;
    Ok(Box::new(stream))
}

async fn exchange(transport: Box<dyn Transport>, mut request: Request<WasiBody>) -> Sent {
    // Scheme and authority are for proxies; a server gets the path and the host header.
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    *request.uri_mut() = path
        .parse::<Uri>()
        .map_err(|_| Error::HttpRequestUriInvalid)?;

    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(transport)).await?;
    let mut connection = Box::pin(connection);
    let response = {
        let mut sending = pin!(sender.send_request(request));
        tokio::select! {
            response = &mut sending => response?,
            ended = &mut connection => {
                ended?;
                sending.await?
            }
        }
    };
    let response = response.map(|body| body.map_err(Error::from).boxed_unsync());
    let driver = async move {
        // Dropping the sender would close a connection that still brings the body.
        let _sender = sender;
        connection.await.map_err(Error::from)
    };
    Ok((response, Box::new(driver)))
}
