//! The listener: HTTP/2 without TLS, bounded in time and number.

mod connection;
mod limits;

use std::{convert::Infallible, net::SocketAddr, pin::pin, time::Duration};

use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::Service;
use warren_model::admission::{self, Seldom};

pub use connection::{Connection, ConnectionError, UnderWay};
pub use limits::{ClientLimits, MAX_CONNECTIONS, at_capacity};

use connection::Door;

/// A connection whose other end is gone without a word is noticed after both times together.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The streams of one connection; a client that needs more opens another connection.
const STREAMS_PER_CONNECTION: u32 = 2048;
/// The bytes of one stream that may wait for a slow client. Each of thousands of unread watches may
/// hold that many.
const SEND_BUFFER: usize = 16 << 10;
/// How long a connection without calls stays open after GOAWAY, so that its client sees that.
const FAREWELL: Duration = Duration::from_secs(1);
/// The pause after a failed accept: trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `ending`, and then until every connection has ended. Dropped, it cuts them.
pub async fn serve<S>(
    listener: TcpListener,
    service: S,
    limits: ClientLimits,
    ending: CancellationToken,
) where
    S: Service<http::Request<Incoming>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    let (door, failed) = (Door::new(&limits), Seldom::default());
    let mut connections = JoinSet::new();
    loop {
        let (stream, address) = tokio::select! {
            accepted = accept(&listener, &door, &failed) => accepted,
            Some(_) = connections.join_next() => continue,
            () = ending.cancelled() => break,
        };
        let Some(connection) = door.admit(address) else {
            continue;
        };
        let (service, ending) = (service.clone(), ending.clone());
        connections.spawn(speak(stream, connection, service, limits, ending));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(listener: &TcpListener, door: &Door, failed: &Seldom) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if admission::is_about_one(&error) => {}
            Err(error) => {
                // If descriptors have run out, closing an idle connection frees one.
                let made_room = door.make_room();
                if let Some(times) = failed.note() {
                    tracing::warn!(%error, made_room, times, "cannot accept connections at present");
                }
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end.
async fn speak<S>(
    stream: TcpStream,
    connection: Connection,
    service: S,
    limits: ClientLimits,
    ending: CancellationToken,
) where
    S: Service<http::Request<Incoming>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    // Small messages go out at once; if that cannot be set they go out a little later.
    let _ = stream.set_nodelay(true);
    let calls = service_fn(|mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        // Every layer is always ready.
        service.clone().call(request)
    });
    let mut server = http2::Builder::new(TokioExecutor::new());
    server
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .max_send_buf_size(SEND_BUFFER);
    let mut served = pin!(server.serve_connection(TokioIo::new(stream), calls));
    let leave = connection.leave();
    let (opened, mut patience) = (connection.idle_since(), limits.unused);
    let mut idle = pin!(time::sleep(patience));
    let mut closing = false;
    loop {
        let asked_to_end = tokio::select! {
            ended = &mut served => {
                if let Err(error) = ended {
                    tracing::debug!(peer = %connection.peer(), %error, "a connection ended early");
                }
                return;
            }
            () = ending.cancelled(), if !closing => true,
            () = leave.cancelled(), if !closing => true,
            () = &mut idle => {
                let since = connection.idle_since();
                if !closing && since != opened {
                    patience = limits.idle;
                }
                let due = match leave.is_cancelled() {
                    true if connection.is_late() => Some(Instant::now() + FAREWELL),
                    true => None,
                    false => Some(since.map_or_else(Instant::now, Instant::from_std) + patience),
                };
                match due.filter(|due| *due > Instant::now()) {
                    Some(due) => {
                        idle.as_mut().reset(due);
                        false
                    }
                    None if closing => return,
                    None => true,
                }
            }
        };
        if asked_to_end {
            closing = true;
            patience = FAREWELL;
            served.as_mut().graceful_shutdown();
            idle.as_mut().reset(Instant::now() + FAREWELL);
        }
    }
}
