//! Another worker, and the few HTTP/2 connections to it that all requests share.

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

/// Connections to one worker. Each takes [`MAX_STREAMS`] requests at once, and one more is opened
/// when they are full.
const CONNECTIONS: usize = 4;
const CONNECT: Duration = Duration::from_secs(2);
/// A worker that is silently gone is noticed after both.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// After this many streams that were left before their end, a connection takes no more requests and
/// ends with those that it has; new requests go to a new connection. Peers of HTTP/2 count such
/// streams, and may end a connection after 1,024 of them as a protection against floods, with every
/// request on it.
const GIVEN_UP: usize = 512;
/// A worker that could not be reached is not asked again for so long, while there are others.
const AVOIDED: Duration = Duration::from_secs(1);

/// Another worker. Dropping the last handle closes the connections that nobody uses.
pub(in crate::ingress) struct Peer {
    authority: Authority,
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Held while one is opened, so that a crowd does not open one each.
    opening: tokio::sync::Mutex<()>,
    requests: AtomicUsize,
    failed: Mutex<Option<Instant>>,
}

struct Connection {
    sender: http2::SendRequest<Lent>,
    slots: Arc<Semaphore>,
    /// Streams that were left before their end.
    given_up: AtomicUsize,
    // Held for its drop.
    _driver: AbortOnDropHandle<()>,
}

/// A place on a connection: held until the answer is over.
pub(super) struct Place {
    peer: Arc<Peer>,
    connection: Arc<Connection>,
    ended: bool,
    _slot: OwnedSemaphorePermit,
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Nothing of it was sent.
    #[error("the worker cannot be reached: {0}")]
    Unreachable(String),
    #[error("too many requests are on their way to the worker")]
    Busy,
    /// The worker has not seen it, but can be asked again over another connection.
    #[error("the connection to the worker was ending")]
    NotBegun,
    /// The worker may have seen it.
    #[error("the connection to the worker ended: {0}")]
    Lost(hyper::Error),
    /// The worker is there: it reset this stream alone, because the answer of its replica broke
    /// off.
    #[error("the worker broke the answer off: {0}")]
    Reset(hyper::Error),
    #[error("the request ended before its body was whole: {0}")]
    Request(hyper::Error),
}

// === impl Peer ===

impl Peer {
    /// `address` is an "http://HOST:PORT" URL. Connects to nothing yet.
    pub fn new(address: &str) -> Option<Self> {
        let authority = address.parse::<Uri>().ok()?.into_parts().authority?;
        Some(Self {
            authority,
            connections: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            requests: AtomicUsize::new(0),
            failed: Mutex::default(),
        })
    }

    /// What makes it a better or worse choice: whether it failed just now, and how many requests
    /// are on their way to it.
    pub fn burden(&self) -> (bool, usize) {
        let avoided = self.failed.lock().is_some_and(|at| at.elapsed() < AVOIDED);
        (avoided, self.requests.load(Ordering::Relaxed))
    }

    /// A place for a request. Whoever waits for a connection waits for [`CONNECT`] at most.
    pub(super) async fn place(self: &Arc<Self>) -> Result<Place, Failure> {
        if let Some(place) = self.find() {
            return Ok(place);
        }
        let _opening = self.opening.lock().await;
        if let Some(place) = self.find() {
            return Ok(place);
        }
        // Those who waited for one that failed do not wait for another each.
        if self.connections.lock().is_empty() && self.burden().0 {
            return Err(Failure::Unreachable("it could not be just now".into()));
        }
        if self.connections.lock().len() >= CONNECTIONS {
            return Err(Failure::Busy);
        }
        let connection = Arc::new(self.open().await?);
        self.connections.lock().push(connection);
        self.find().ok_or(Failure::Busy)
    }

    fn find(self: &Arc<Self>) -> Option<Place> {
        let mut connections = self.connections.lock();
        connections.retain(|connection| connection.takes_more());
        connections.iter().find_map(|connection| {
            let slot = Arc::clone(&connection.slots).try_acquire_owned().ok()?;
            self.requests.fetch_add(1, Ordering::Relaxed);
            Some(Place {
                peer: Arc::clone(self),
                connection: Arc::clone(connection),
                ended: false,
                _slot: slot,
            })
        })
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
            // Counted for as long as the connection lives, over the requests of everybody.
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

    /// A connection of its own.
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
            // Streams beyond the last one that the worker names (RFC 9113, section 6.8).
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
    /// Sends a request and waits for the head of its answer. Keep-alive tells of a worker that is
    /// gone, and the other side of how long a guest may take.
    pub async fn send(&self, request: Request<Lent>) -> Result<Response<Incoming>, Failure> {
        let mut sender = self.connection.sender.clone();
        let sent = sender.try_send_request(request).await;
        sent.map_err(|mut error| {
            let failure = match error.take_message() {
                Some(_) => Failure::NotBegun,
                None => error.into_error().into(),
            };
            if let Failure::NotBegun = failure {
                // It is ending, and may not know it yet.
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
