//! The listener of the ingress: HTTP/1.1 and HTTP/2 without TLS, bounded in time and number.

use std::{
    convert::Infallible,
    future, io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header,
    uri::{Authority, Scheme},
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use parking_lot::Mutex;
use rustix::net::sockopt;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time,
};
use tokio_util::sync::CancellationToken;
use warren_model::route::Route;

use super::{
    Admitted, Body, RequestMeta, Router,
    fleet::{self, FleetRoutes, Remote},
    plain_text,
    router::Choice,
    tunnel::Tunnel,
};

/// Of a message, in bytes. Of its fields HTTP/1.1 allows 100, which is hyper's own bound.
pub(super) const MAX_HEAD: u32 = 64 << 10;
/// Requests at once on one HTTP/2 connection.
pub(super) const MAX_STREAMS: u32 = 256;
/// Bytes of one request's or response's body that wait for a slow guest or client. All streams of a connection have as much
/// at once, so that none can hold up another.
pub(super) const STREAM_WINDOW: u32 = 64 << 10;
/// When the process has no file descriptors left, accepting again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Bounds of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// At once, upgraded ones included; more wait in the kernel's queue.
    pub connections: usize,
    /// For a request's head to arrive, and for an idle connection to be used again.
    pub head_timeout: Duration,
    /// For a client to take anything of what it was sent; then its connection is cut. Silence is not concerned, such as that
    /// of a stream of events.
    pub stall_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            head_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
        }
    }
}

/// Who answers the requests of a listener.
pub trait Front: Clone + Send + Sync + 'static {
    /// Answers a request from `peer`. Dropping the future, or the response's body, gives the request up.
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> BoxFuture<'static, Response<Body>>;
}

/// Serves until told to drain: then takes no more connections, lets requests in flight and upgraded connections finish
/// for as long as `drain`, and cuts what is left.
pub async fn serve<F: Front>(
    listener: TcpListener,
    front: F,
    draining: CancellationToken,
    drain: Duration,
) {
    serve_within(Limits::default(), listener, front, draining, drain).await;
}

/// The same, with other bounds.
pub async fn serve_within<F: Front>(
    limits: Limits,
    listener: TcpListener,
    front: F,
    draining: CancellationToken,
    drain: Duration,
) {
    let http = Arc::new(http_server(limits));
    let slots = Arc::new(Semaphore::new(limits.connections));
    // Owns every connection: what is left in it at the end is cut.
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer, slot) = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            Some(_) = connections.join_next() => continue,
            () = draining.cancelled() => break,
        };
        connections.spawn(serve_connection(
            (Arc::clone(&http), limits),
            stream,
            peer,
            front.clone(),
            draining.clone(),
            slot,
        ));
    }
    drop(listener);
    let rest = async { while connections.join_next().await.is_some() {} };
    if time::timeout(drain, rest).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "cut connections whose requests did not finish in time"
        );
    }
    connections.shutdown().await;
}

/// The next connection, once there is a slot for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // Never closed, so there always is one.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, slot),
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections at present");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

fn http_server(limits: Limits) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(MAX_HEAD as usize);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * MAX_STREAMS)
        .max_send_buf_size(STREAM_WINDOW as usize)
        .max_header_list_size(MAX_HEAD)
        .keep_alive_interval(Some(limits.head_timeout))
        .keep_alive_timeout(limits.head_timeout);
    server
}

async fn serve_connection<F: Front>(
    (http, limits): (Arc<auto::Builder<TokioExecutor>>, Limits),
    stream: TcpStream,
    peer: SocketAddr,
    front: F,
    draining: CancellationToken,
    _slot: Option<OwnedSemaphorePermit>,
) {
    // Small writes at once: a response's head should not wait for its body.
    let _ = stream.set_nodelay(true);
    // hyper asks a body for nothing while its connection takes nothing, so only the kernel knows.
    let stall = u32::try_from(limits.stall_timeout.as_millis()).unwrap_or(u32::MAX);
    let _ = sockopt::set_tcp_user_timeout(&stream, stall);
    let used = AtomicBool::new(false);
    let tunnel = Arc::new(Mutex::new(None));
    let service = service_fn(|request| {
        used.store(true, Ordering::Relaxed);
        let answer = front.answer(request, peer);
        let tunnel = Arc::clone(&tunnel);
        async move {
            let mut response = answer.await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                *tunnel.lock() = Tunnel::take(response.extensions_mut());
            }
            Ok::<_, Infallible>(response)
        }
    });
    let serving = async {
        let io = TokioIo::new(stream);
        let mut connection = pin!(http.serve_connection_with_upgrades(io, service));
        let head_timeout = time::sleep(limits.head_timeout);
        tokio::pin!(head_timeout);
        let mut waiting = true;
        loop {
            tokio::select! {
                ended = &mut connection => return ended,
                // hyper's own timeout begins only when the first bytes have told the version of HTTP.
                () = &mut head_timeout, if waiting => {
                    waiting = false;
                    if !used.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                }
                () = draining.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    return connection.await;
                }
            }
        }
    };
    if let Err(error) = serving.await {
        return tracing::debug!(%peer, error, "connection ended early");
    }
    // A switch of protocols is the last thing that HTTP did here.
    let tunnel = tunnel.lock().take();
    if let Some(tunnel) = tunnel {
        tunnel.await;
    }
}

/// The listener of routes: any of the fleet's, wherever its replicas are.
#[derive(Clone)]
pub struct Ingress {
    pub router: Router,
    pub fleet: Arc<FleetRoutes>,
}

/// Who answers a request.
enum Answerer {
    Own(Admitted),
    Other(Arc<Remote>),
}

// === impl Ingress ===

impl Ingress {
    /// The best route of all decides, wherever it is known from; of its replicas this worker's own come first.
    fn choose(&self, host: &str, path: &str) -> Choice<Answerer> {
        let own = self.router.best(host, path);
        let other = self.fleet.lookup(host, path);
        let other = match (&own, other) {
            (Some(own), Some(other)) => {
                let is_better = rank(&other.route) > rank(&own.route);
                let is_same = other.route == own.route;
                (is_better || is_same && own.target.is_none()).then_some(other)
            }
            (_, other) => other,
        };
        match (other, own) {
            (Some(other), _) => Choice::Target(Answerer::Other(other)),
            (None, Some(own)) => own
                .target
                .map_or(Choice::NotReady, |own| Choice::Target(Answerer::Own(own))),
            (None, None) => Choice::NoRoute,
        }
    }
}

/// A host of its own before any host, then the longest path.
fn rank(route: &Route) -> (bool, usize) {
    (route.host.is_some(), route.path.len())
}

impl Front for Ingress {
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> BoxFuture<'static, Response<Body>> {
        let choose = |host: &str, path: &str| self.choose(host, path);
        match route(choose, request, peer) {
            Ok((Answerer::Own(target), request, meta)) => target.call(request, meta),
            Ok((Answerer::Other(remote), request, meta)) => {
                Box::pin(fleet::forward(remote, request, meta))
            }
            Err(response) => Box::pin(future::ready(*response)),
        }
    }
}

/// The replicas of one worker alone.
impl Front for Router {
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> BoxFuture<'static, Response<Body>> {
        match route(|host, path| self.choose(host, path), request, peer) {
            Ok((target, request, meta)) => target.call(request, meta),
            Err(response) => Box::pin(future::ready(*response)),
        }
    }
}

type Routed<T> = (T, Request<Incoming>, RequestMeta);

fn route<T>(
    choose: impl FnOnce(&str, &str) -> Choice<T>,
    mut request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Routed<T>, Box<Response<Body>>> {
    let authority = authority(&request)?;
    let path = request.uri().path();
    match choose(host(&authority), path) {
        Choice::Target(target) => {
            forwarded(request.headers_mut(), peer, &authority);
            Ok((
                target,
                request,
                RequestMeta {
                    scheme: Scheme::HTTP,
                    authority,
                    peer,
                },
            ))
        }
        Choice::NotReady => {
            let text = format!("no replica behind {authority}{path} is ready; try again");
            let mut response = plain_text(StatusCode::SERVICE_UNAVAILABLE, text);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            Err(Box::new(response))
        }
        Choice::NoRoute => {
            let text = format!(
                "no workload has a route for host `{}` and path `{path}`",
                host(&authority)
            );
            Err(Box::new(plain_text(StatusCode::NOT_FOUND, text)))
        }
    }
}

/// Whom the client asked for: the request's target where it names one, else the `Host` header (RFC 9112, section 3.2).
pub(super) fn authority<B>(request: &Request<B>) -> Result<String, Box<Response<Body>>> {
    let bad = |text| Err(Box::new(plain_text(StatusCode::BAD_REQUEST, text)));
    if request.method() == Method::CONNECT {
        let text = "this is not a forward proxy";
        return Err(Box::new(plain_text(StatusCode::NOT_IMPLEMENTED, text)));
    }
    if let Some(authority) = request.uri().authority() {
        return Ok(without_credentials(authority));
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if host.is_empty() => Ok(String::new()),
        (Some(host), None) => match Authority::try_from(host.as_bytes()) {
            Ok(authority) => Ok(without_credentials(&authority)),
            Err(_) => bad("the Host header is not a host"),
        },
        (Some(_), Some(_)) => bad("the request has more than one Host header"),
        (None, _) if request.version() < Version::HTTP_11 => Ok(String::new()),
        (None, _) => bad("the request has no Host header"),
    }
}

/// Credentials in a target are its client's mistake, and no server's to see (RFC 9110, section 4.2.4).
fn without_credentials(authority: &Authority) -> String {
    let authority = authority.as_str();
    let host = authority.rsplit_once('@').map(|(_, host)| host);
    host.unwrap_or(authority).to_owned()
}

/// Without port.
fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    }
}

/// What guests cannot see themselves. The client's address is added to those that proxies before us have added; what
/// they said of scheme and host stays, because only the first of them knows.
fn forwarded(headers: &mut HeaderMap, peer: SocketAddr, authority: &str) {
    let before = headers.get_all(X_FORWARDED_FOR).iter();
    let mut chain: Vec<&[u8]> = before.map(HeaderValue::as_bytes).collect();
    let address = peer.ip().to_canonical().to_string();
    chain.push(address.as_bytes());
    // Joined of valid values, which stay valid: the alternative is never taken.
    if let Ok(chain) = HeaderValue::from_bytes(&chain.join(b", ".as_slice())) {
        headers.insert(X_FORWARDED_FOR, chain);
    }
    headers
        .entry(X_FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static("http"));
    if let Ok(host) = HeaderValue::from_str(authority) {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
}

#[cfg(test)]
mod tests;
