//! HTTP/2 with prior knowledge: few connections with many requests each.

use std::{error::Error, sync::Arc};

use hyper::{Request, Response, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    PortLimits,
    body::{Held, RequestBody, ResponseBody},
    exchange::{Channel, Sent, Waiting, deliver, deliver_again, sent},
    failure::Failure,
};
use crate::{
    dial::{Dialer, Driver},
    http::{Body, limit::MAX_HEAD_LIST},
};

/// The most simultaneous requests on one connection, which every server should allow (RFC 9113,
/// section 6.5.2).
const STREAMS: u32 = 100;
/// The bytes of one response that may wait for a slow client. The window of a connection is large
/// enough for all of its streams, so that no stream can block another.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS;
const VERSION: &str = "HTTP/2";

/// The connections of one port.
pub(super) struct Streams {
    limits: PortLimits,
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Held while a connection is opened, so that many requests do not open one each.
    opening: tokio::sync::Mutex<()>,
    opened: Notify,
}

struct Connection {
    sender: http2::SendRequest<RequestBody>,
    slots: Arc<Semaphore>,
    driver: Driver,
    used: Mutex<Instant>,
}

/// A place on a connection.
struct Stream {
    connection: Arc<Connection>,
    _slot: OwnedSemaphorePermit,
}

/// The stream of an HTTP/2 response. Dropping it leaves the connection to the others, and hyper
/// resets the stream.
struct HeldStream {
    _stream: Stream,
    _slot: OwnedSemaphorePermit,
}

// === impl Streams ===

impl Streams {
    pub(super) fn new(limits: PortLimits) -> Self {
        Self {
            limits,
            connections: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            opened: Notify::new(),
        }
    }

    /// Sends a request. `slot` is held until the response has ended.
    pub(super) async fn send(
        &self,
        dialer: &Dialer,
        request: Request<RequestBody>,
        waiting: Waiting,
        slot: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, Failure> {
        let answering = async {
            let (stream, used) = self.stream(dialer).await?;
            match used {
                true => deliver_again(stream, request, || self.open(dialer)).await,
                false => deliver(stream, request).await,
            }
        };
        let (stream, response) = waiting.head(answering).await?;
        Ok(response.map(|body| {
            let held = HeldStream {
                _stream: stream,
                _slot: slot,
            };
            Body::new(ResponseBody::new(body, held))
        }))
    }

    /// Returns a place, and whether its connection existed before.
    async fn stream(&self, dialer: &Dialer) -> Result<(Stream, bool), Failure> {
        if let Some(stream) = self.find() {
            return Ok((stream, true));
        }
        let _opening = self.opening.lock().await;
        match self.find() {
            Some(stream) => Ok((stream, true)),
            None => Ok((self.open(dialer).await?, false)),
        }
    }

    fn find(&self) -> Option<Stream> {
        let mut connections = self.connections.lock();
        connections.retain(|connection| !connection.sender.is_closed());
        connections.iter().find_map(Connection::stream)
    }

    async fn open(&self, dialer: &Dialer) -> Result<Stream, Failure> {
        let (io, scope) = dialer.connect().await?;
        let mut client = http2::Builder::new(TokioExecutor::new());
        client
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD_LIST);
        let handshake = client.handshake(io).await;
        let (sender, connection) = handshake.map_err(|e| Failure::malformed(&e, VERSION))?;
        let connection = Arc::new(Connection {
            sender,
            slots: Arc::new(Semaphore::new(STREAMS as usize)),
            driver: Driver::spawn(connection, scope),
            used: Mutex::new(Instant::now()),
        });
        let stream = Connection::stream(&connection).ok_or(Failure::Dropped)?;
        self.connections.lock().push(connection);
        self.opened.notify_one();
        Ok(stream)
    }

    /// Closes connections that were unused for too long, for as long as it runs.
    pub(super) async fn reap(&self) {
        loop {
            match self.close_expired(Instant::now()) {
                Some(next) => tokio::time::sleep_until(next).await,
                None => self.opened.notified().await,
            }
        }
    }

    /// Closes these connections, and returns when to look again.
    fn close_expired(&self, now: Instant) -> Option<Instant> {
        let mut next = None;
        self.connections.lock().retain(|connection| {
            if connection.sender.is_closed() {
                return false;
            }
            let due = match connection.is_idle() {
                true => *connection.used.lock() + self.limits.idle_timeout,
                false => now + self.limits.idle_timeout,
            };
            if due <= now {
                connection.driver.close();
                return false;
            }
            next = Some(next.map_or(due, |next: Instant| next.min(due)));
            true
        });
        next
    }

    /// Closes all unused connections.
    pub(super) fn clear(&self) {
        self.connections.lock().retain(|connection| {
            let idle = connection.is_idle();
            if idle {
                connection.driver.close();
            }
            !idle
        });
    }
}

// === impl Connection ===

impl Connection {
    fn stream(self: &Arc<Self>) -> Option<Stream> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        Some(Stream {
            connection: Arc::clone(self),
            _slot: slot,
        })
    }

    fn is_idle(&self) -> bool {
        self.slots.available_permits() == STREAMS as usize
    }
}

// === impl Stream ===

impl Channel for Stream {
    async fn send(&mut self, request: Request<RequestBody>) -> Sent {
        let mut sender = self.connection.sender.clone();
        sent(sender.try_send_request(request).await, failure)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        *self.connection.used.lock() = Instant::now();
    }
}

impl Held for HeldStream {
    /// Its place is free as soon as it is dropped.
    fn finish(self) {}
}

fn failure(error: &hyper::Error) -> Failure {
    let is_io = |cause: &(dyn Error + 'static)| cause.is::<std::io::Error>();
    match error {
        _ if error.is_user() => Failure::Request,
        _ if error.is_closed() || error.is_canceled() || error.is_incomplete_message() => {
            Failure::Dropped
        }
        _ if error.source().is_some_and(is_io) => Failure::Dropped,
        _ => Failure::malformed(error, VERSION),
    }
}
