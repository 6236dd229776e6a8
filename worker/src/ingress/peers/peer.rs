//! Another worker, and the few HTTP/2 connections to it, which all requests share.

use std::{
    error::Error as _,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, Uri, uri::Authority};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::body::{Lent, Until};
use crate::http::limit::{MAX_HEAD_LIST, MAX_STREAMS, STREAM_WINDOW, WORKER_WINDOW};

/// The most connections to one worker. Each carries [`MAX_STREAMS`] requests at once.
const CONNECTIONS: usize = 4;
/// Another connection is opened when each has more requests than this. The requests of one
/// connection are written by a single task, which batches them well up to this number, and is the
/// limit of all of them beyond it.
const CROWDED: usize = MAX_STREAMS as usize / CONNECTIONS;
const CONNECT: Duration = Duration::from_secs(2);
/// A worker that disappears silently is noticed after the sum of both times.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// After this many streams that were abandoned before their end, a connection takes no more
/// requests, and ends when its current ones have ended; new requests go to a new connection. HTTP/2
/// peers count such streams, and as a protection against floods may end a connection after 1,024 of
/// them, with every request on it.
const GIVEN_UP: usize = 512;
/// The time for which a worker that could not be reached is avoided, as long as there are others.
const AVOIDED: Duration = Duration::from_secs(1);

/// Another worker. Dropping the last handle closes the unused connections.
pub(in crate::ingress) struct Peer {
    authority: Authority,
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Held while a connection is opened, so that many requests do not open one each.
    opening: Arc<tokio::sync::Mutex<()>>,
    requests: AtomicUsize,
    failed: Mutex<Option<Instant>>,
}

struct Connection {
    sender: http2::SendRequest<Lent>,
    slots: Arc<Semaphore>,
    /// The number of streams that were abandoned before their end.
    given_up: AtomicUsize,
    // This ends the task when it is dropped.
    _driver: AbortOnDropHandle<()>,
}

/// A place on a connection, held until the answer has ended.
pub(super) struct Place {
    peer: Arc<Peer>,
    connection: Arc<Connection>,
    ended: bool,
    _slot: OwnedSemaphorePermit,
}

/// The reason why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Nothing of the request was sent.
    #[error("the worker cannot be reached: {0}")]
    Unreachable(String),
    #[error("too many requests are on their way to the worker")]
    Busy,
    /// The worker has not seen the request, and can be tried again over another connection.
    #[error("the connection to the worker was ending")]
    NotBegun,
    /// The worker may have seen the request.
    #[error("the connection to the worker ended: {0}")]
    Lost(hyper::Error),
    /// The worker is reachable. It reset only this stream, because the answer of its replica broke
    /// off.
    #[error("the worker broke off the answer: {0}")]
    Reset(hyper::Error),
    #[error("the request ended before its body was complete: {0}")]
    Request(hyper::Error),
}

// === impl Peer ===

impl Peer {
    /// Creates a peer without connecting. `address` is an "http://HOST:PORT" URL.
    pub fn new(address: &str) -> Option<Self> {
        let authority = address.parse::<Uri>().ok()?.into_parts().authority?;
        Some(Self {
            authority,
            connections: Mutex::default(),
            opening: Arc::default(),
            requests: AtomicUsize::new(0),
            failed: Mutex::default(),
        })
    }

    /// Returns a measure for choosing between peers: whether it failed just now, and how many
    /// requests are in flight to it.
    pub fn burden(&self) -> (bool, usize) {
        let avoided = self.failed.lock().is_some_and(|at| at.elapsed() < AVOIDED);
        (avoided, self.requests.load(Ordering::Relaxed))
    }

    /// Returns a place for a request. Waits for a connection for at most [`CONNECT`].
    pub(super) async fn place(self: &Arc<Self>) -> Result<Place, Failure> {
        if let Some(place) = self.find() {
            if place.connection.requests() > CROWDED {
                self.open_another();
            }
            return Ok(place);
        }
        let _opening = self.opening.lock().await;
        if let Some(place) = self.find() {
            return Ok(place);
        }
        // Requests that waited for a connection that failed do not each wait for another one.
        if self.connections.lock().is_empty() && self.burden().0 {
            return Err(Failure::Unreachable("an attempt failed just now".into()));
        }
        if self.connections.lock().len() >= CONNECTIONS {
            return Err(Failure::Busy);
        }
        let connection = Arc::new(self.open().await?);
        self.connections.lock().push(connection);
        self.find().ok_or(Failure::Busy)
    }

    /// Returns a place on the connection with the fewest requests.
    fn find(self: &Arc<Self>) -> Option<Place> {
        let mut connections = self.connections.lock();
        connections.retain(|connection| connection.takes_more());
        let connection = connections.iter().min_by_key(|it| it.requests())?;
        let slot = Arc::clone(&connection.slots).try_acquire_owned().ok()?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        Some(Place {
            peer: Arc::clone(self),
            connection: Arc::clone(connection),
            ended: false,
            _slot: slot,
        })
    }

    /// Opens a connection for later requests, unless there are enough, or one is being opened.
    fn open_another(self: &Arc<Self>) {
        if self.connections.lock().len() >= CONNECTIONS || self.burden().0 {
            return;
        }
        let Ok(opening) = Arc::clone(&self.opening).try_lock_owned() else {
            return;
        };
        let peer = Arc::clone(self);
        tokio::spawn(async move {
            let _opening = opening;
            match peer.open().await {
                Ok(connection) => peer.connections.lock().push(Arc::new(connection)),
                Err(failure) => tracing::debug!(%failure, "no further connection to a worker"),
            }
        });
    }

    async fn open(&self) -> Result<Connection, Failure> {
        let io = TokioIo::new(self.connect().await?);
        let mut client = http2::Builder::new(TokioExecutor::new());
        client
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(WORKER_WINDOW)
            .max_send_buf_size(STREAM_WINDOW as usize)
            .max_header_list_size(MAX_HEAD_LIST)
            // The limit would count over the whole life of a connection and the requests of all
            // clients.
            .max_local_error_reset_streams(None)
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let handshake = client.handshake(io).await;
        let (sender, connection) = handshake.map_err(|e| Failure::Unreachable(e.to_string()))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to another worker ended early");
            }
        });
        Ok(Connection {
            sender,
            slots: Arc::new(Semaphore::new(MAX_STREAMS as usize)),
            given_up: AtomicUsize::new(0),
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    /// Opens a separate connection.
    pub(super) async fn connect(&self) -> Result<TcpStream, Failure> {
        let (host, port) = (self.authority.host(), self.authority.port_u16());
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let connecting = TcpStream::connect((host, port.unwrap_or(80)));
        let connected = match timeout(CONNECT, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        match connected {
            Ok(stream) => {
                *self.failed.lock() = None;
                let _ = stream.set_nodelay(true);
                Ok(stream)
            }
            Err(error) => {
                *self.failed.lock() = Some(Instant::now());
                Err(Failure::Unreachable(error.to_string()))
            }
        }
    }
}

// === impl Connection ===

impl Connection {
    /// Returns the number of requests in flight.
    fn requests(&self) -> usize {
        (MAX_STREAMS as usize).saturating_sub(self.slots.available_permits())
    }

    fn takes_more(&self) -> bool {
        !self.sender.is_closed() && self.given_up.load(Ordering::Relaxed) < GIVEN_UP
    }
}

// === impl Failure ===

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        let cause = error.source();
        let Some(cause) = cause.and_then(|cause| cause.downcast_ref::<h2::Error>()) else {
            return Self::Lost(error);
        };
        let refused = cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        match cause {
            // These are streams beyond the last one that the worker names (RFC 9113, section 6.8).
            cause if cause.is_remote() && (cause.is_go_away() || refused) => Self::NotBegun,
            cause if cause.is_reset() && (cause.is_remote() || cause.is_library()) => {
                Self::Reset(error)
            }
            cause if cause.is_reset() => Self::Request(error),
            _ => Self::Lost(error),
        }
    }
}

// === impl Place ===

impl Place {
    /// Sends a request and waits for the head of its answer. Keep-alive notices a worker that is
    /// gone, and the other side limits how long a guest may take.
    pub async fn send(&self, request: Request<Lent>) -> Result<Response<Incoming>, Failure> {
        let mut sender = self.connection.sender.clone();
        let sent = sender.try_send_request(request).await;
        sent.map_err(|mut error| {
            let failure = match error.take_message() {
                Some(_) => Failure::NotBegun,
                None => error.into_error().into(),
            };
            if let Failure::NotBegun = failure {
                // The connection is ending, and may not have noticed it yet.
                self.connection.given_up.store(GIVEN_UP, Ordering::Relaxed);
            }
            failure
        })
    }
}

impl Until for Place {
    fn ended(&mut self) {
        self.ended = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.given_up.fetch_add(1, Ordering::Relaxed);
        }
        self.peer.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::poll;
    use tokio::{net::TcpListener, task};

    use super::*;

    #[tokio::test]
    async fn crowded_connections_get_another_one_up_to_a_bound() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = Arc::new(Peer::new(&format!("http://{address}")).unwrap());
        let (mut places, mut accepted) = (Vec::new(), Vec::new());
        for count in 1..=CONNECTIONS {
            let crowded = (count - 1) * (CROWDED + 1);
            while places.len() < crowded.max(1) {
                places.push(peer.place().await.unwrap());
            }
            accepted.push(listener.accept().await.unwrap());
            while peer.connections.lock().len() < count {
                task::yield_now().await;
            }
        }
        let requests = |peer: &Peer| -> Vec<_> {
            let connections = peer.connections.lock();
            connections.iter().map(|it| it.requests()).collect()
        };
        let full = CROWDED + 1;
        assert_eq!(requests(&peer), [full, full, full, 0]);
        for _ in places.len()..CONNECTIONS * MAX_STREAMS as usize {
            places.push(peer.place().await.unwrap());
        }
        assert!(matches!(peer.place().await, Err(Failure::Busy)));
        let mut more = std::pin::pin!(listener.accept());
        assert!(poll!(&mut more).is_pending(), "another connection");
    }
}
