//! A listener for HTTP/1.1 and HTTP/2 without TLS, with bounds on time and on the number of
//! connections.

mod admit;
mod answer;
mod client;
mod connection;
mod exchange;
mod head;
mod socket;
mod stall;
mod turns;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use http::{Request, Response};
use hyper_util::{rt::TokioTimer, server::conn::auto};
use rustix::net::sockopt;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time,
};
use tokio_util::sync::CancellationToken;
use warren_model::admission::{self, Bounds, Peer, Seldom};

use super::{
    Body,
    limit::{
        MAX_HEAD, MAX_HEAD_LIST, MAX_PARSED_FIELDS, MAX_STREAMS, STREAM_WINDOW, WORKER_WINDOW,
    },
};

pub use client::Client;
pub use exchange::ClientBody;
pub(crate) use socket::after_http;

use admit::Door;
use connection::Listener;
use stall::Streams;

/// The buffer for the head of an HTTP/1.1 request, in bytes. It is larger than [`MAX_HEAD`], so
/// that the same limit applies whatever else is in the buffer.
const READ_BUFFER: usize = 2 * MAX_HEAD as usize;
/// The pause before accepting again when the process has no file descriptors left. Without it, the
/// loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The interval of TCP keep-alive: the kernel probes a silent client after this time, and then at
/// this interval. This is how a worker notices that a client which seemed to have closed only its
/// sending side is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The number of streams that another worker may have reset before they were accepted here. Each is
/// a client that disconnected.
const RESET_BY_WORKER: usize = 8192;

/// The default number of connections of one listener.
pub const MAX_CONNECTIONS: usize = 10_000;

/// The bounds of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most simultaneous connections, including upgraded ones. If there are that many, the one
    /// that has been idle for longest makes room for a new one; if none is idle, the new one is
    /// refused.
    pub connections: usize,
    /// The most connections from one address, or from one /64 network of IPv6.
    pub connections_per_peer: usize,
    /// The time for a request's head to arrive, and for an idle connection to be used again,
    /// whatever else its client sends on it.
    pub head_timeout: Duration,
    /// The time in which a client must take some of what was sent to it. After that its connection
    /// is cut, or, with HTTP/2, only its stream. It does not cover answers that are silent
    /// themselves, such as a stream of events.
    pub stall_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: MAX_CONNECTIONS,
            connections_per_peer: Bounds::of(MAX_CONNECTIONS).per_peer,
            head_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
        }
    }
}

/// Answers the requests of a listener.
pub trait Front: Clone + Send + Sync + 'static {
    /// True if the clients are other workers. Their connections carry the requests of many clients,
    /// and must not end because of what a single client does.
    const WORKERS: bool = false;

    /// Returns whether many clients connect through `peer`, whose connections then do not count as
    /// those of one client.
    fn is_proxy(&self, _peer: SocketAddr) -> bool {
        false
    }

    /// Answers a request from `client`. Dropping the future, or the response's body, gives up the
    /// request.
    fn answer(
        &self,
        request: Request<ClientBody>,
        client: &Client,
    ) -> BoxFuture<'static, Response<Body>>;
}

/// Serves until `draining` is cancelled. It then accepts no more connections, lets requests in
/// flight and upgraded connections finish for at most `drain`, and cuts the rest.
pub async fn serve<F: Front>(
    listener: TcpListener,
    front: F,
    draining: CancellationToken,
    drain: Duration,
) {
    serve_within(Limits::default(), listener, front, draining, drain).await;
}

/// Serves like [`serve`], with other bounds.
pub async fn serve_within<F: Front>(
    limits: Limits,
    listener: TcpListener,
    front: F,
    draining: CancellationToken,
    drain: Duration,
) {
    probe_silent_clients(&listener);
    let http = http_server(limits, F::WORKERS);
    let shared = Arc::new(Listener::new(http, limits, front.clone(), draining.clone()));
    let (door, failed) = (Door::new(&limits), Seldom::default());
    // This owns every connection: those that remain at the end are cut.
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener, &door, &failed) => accepted,
            Some(_) = connections.join_next() => continue,
            () = draining.cancelled() => break,
        };
        let client = Client::new(peer, front.is_proxy(peer));
        let counted = (!client.is_proxy).then(|| Peer::from(peer.ip()));
        let Some(seat) = door.admit(counted) else {
            continue;
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            connection::serve(&shared, stream, &client, seat).await;
        });
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
    shared.rest().end().await;
}

/// Enables keep-alive, which connections inherit from the listener.
fn probe_silent_clients(listener: &TcpListener) {
    let set = sockopt::set_socket_keepalive(listener, true)
        .and_then(|()| sockopt::set_tcp_keepidle(listener, KEEP_ALIVE))
        .and_then(|()| sockopt::set_tcp_keepintvl(listener, KEEP_ALIVE));
    if let Err(error) = set {
        tracing::warn!(%error, "clients that disappear while they wait will not be noticed");
    }
}

/// Accepts the next connection.
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

fn http_server(limits: Limits, workers: bool) -> auto::Builder<Streams> {
    let mut server = auto::Builder::new(Streams {
        stall_timeout: limits.stall_timeout,
    });
    server
        .http1()
        // The connection itself limits the time without a request in flight, with one timer.
        .header_read_timeout(None)
        .half_close(true)
        .max_headers(MAX_PARSED_FIELDS)
        .max_buf_size(READ_BUFFER);
    let mut http2 = server.http2();
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * MAX_STREAMS)
        .max_send_buf_size(STREAM_WINDOW as usize)
        .max_header_list_size(MAX_HEAD_LIST)
        .keep_alive_interval(Some(limits.head_timeout))
        .keep_alive_timeout(limits.head_timeout);
    if workers {
        http2
            .initial_connection_window_size(WORKER_WINDOW)
            .max_pending_accept_reset_streams(RESET_BY_WORKER)
            .max_local_error_reset_streams(None);
    }
    server
}

#[cfg(test)]
mod tests;
