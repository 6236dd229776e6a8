//! The connection of one client, from its first byte until it is closed.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::{BoxFuture, Either, ready};
use h2::Reason;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::{
    body::{Body as _, Incoming},
    service::service_fn,
};
use hyper_util::{rt::TokioIo, server::conn::auto};
use parking_lot::Mutex;
use rustix::net::sockopt;
use tokio::{
    net::TcpStream,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{
    Client, Front, Limits,
    admit::{InFlight, Seat},
    answer::{self, AnswerBody, Asked},
    exchange::{Budget, ClientBody, Exchange, Rest, Unread},
    head,
    socket::Socket,
    stall::{self, Streams},
    turns::Turns,
};
use crate::http::{Body, BoxError, plain_text, tunnel::Tunnel};

/// The time for which a connection without requests in flight stays open after GOAWAY, so that its
/// client sees it.
const FAREWELL: Duration = Duration::from_secs(1);
/// The time in which a client without a place must send the request that is answered with the
/// reason.
const REFUSAL: Duration = Duration::from_secs(2);

/// The state that the connections of one listener share.
pub(super) struct Listener<F> {
    http: auto::Builder<Streams>,
    limits: Limits,
    front: F,
    draining: CancellationToken,
    rest: Rest,
}

/// The state that the requests of a connection leave for its end.
#[derive(Default)]
struct Memory {
    /// True if there was a request.
    used: AtomicBool,
    /// The last HTTP/1.1 request that had a body.
    exchange: Mutex<Option<Arc<Exchange>>>,
    /// The tunnel that follows a switch of protocols.
    tunnel: Mutex<Option<(BoxFuture<'static, ()>, InFlight)>>,
    /// True if the client would mistake the end of the connection for the end of the answer.
    ends_answer: AtomicBool,
}

// === impl Listener ===

impl<F> Listener<F> {
    pub fn new(
        http: auto::Builder<Streams>,
        limits: Limits,
        front: F,
        draining: CancellationToken,
    ) -> Self {
        Self {
            http,
            limits,
            front,
            rest: Rest::new(draining.clone()),
            draining,
        }
    }

    pub fn rest(&self) -> Rest {
        self.rest.clone()
    }
}

impl<F: Front> Listener<F> {
    fn unread(&self, version: Version) -> Unread {
        match version {
            Version::HTTP_2 if F::WORKERS => Unread::WORKER,
            Version::HTTP_2 => Unread::HTTP2,
            _ => Unread::HTTP1,
        }
    }

    /// Answers one request. If the connection's place was given away, the stream is refused
    /// instead, and the client may send the request again (RFC 9113, section 8.7).
    fn take(
        &self,
        request: Request<Incoming>,
        client: &Client,
        seat: &Arc<Seat>,
        memory: &Arc<Memory>,
        turns: &Arc<Turns>,
        rest: &Arc<Rest>,
    ) -> impl Future<Output = Result<Response<AnswerBody>, h2::Error>> + Send + 'static {
        memory.used.store(true, Ordering::Relaxed);
        let Some(in_flight) = seat.begin() else {
            return Either::Left(ready(Err(Reason::REFUSED_STREAM.into())));
        };
        let (method, version) = (request.method().clone(), request.version());
        let head = head::check(&request, F::WORKERS);
        let (request, exchange) = self.track(request, rest);
        if version < Version::HTTP_2 {
            memory.exchange.lock().clone_from(&exchange);
        }
        let asked = Asked {
            method,
            exchange,
            in_flight,
        };
        let answer = match (&seat.refusal, head) {
            (Some(refusal), _) => {
                drop(request);
                // This only ends the connection after the answer has been sent.
                seat.dismiss();
                Either::Right(ready(unavailable(refusal)))
            }
            (None, Ok(())) => Either::Left(self.front.answer(request, client)),
            (None, Err(error)) => {
                drop(request);
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                let text = format!("the request cannot be accepted: {error}");
                Either::Right(ready(plain_text(status, text)))
            }
        };
        let (seat, memory) = (Arc::clone(seat), Arc::clone(memory));
        let (turns, rest) = (Arc::clone(turns), Arc::clone(rest));
        Either::Right(async move {
            let mut answer = pin!(answer);
            let response = poll_fn(|cx| stall::note(answer.as_mut().poll(cx))).await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                let tunnel = response.extensions().get::<Tunnel>();
                let tunnel = tunnel.and_then(Tunnel::take);
                *memory.tunnel.lock() = tunnel.zip(seat.begin());
            }
            if version < Version::HTTP_11 {
                let ends = answer::ends_with_connection(&response);
                memory.ends_answer.store(ends, Ordering::Relaxed);
            }
            Ok(answer::prepare(response, asked, &turns, &rest))
        })
    }

    fn track(
        &self,
        request: Request<Incoming>,
        rest: &Arc<Rest>,
    ) -> (Request<ClientBody>, Option<Arc<Exchange>>) {
        if request.body().is_end_stream() {
            return (request.map(|_| ClientBody::empty()), None);
        }
        let expects = request.headers().contains_key(header::EXPECT);
        let unread = self.unread(request.version());
        let exchange = Exchange::new(unread, expects, rest);
        let body = |incoming| ClientBody::new(incoming, Arc::clone(&exchange));
        (request.map(body), Some(exchange))
    }
}

fn unavailable(why: &str) -> Response<Body> {
    let mut response = plain_text(StatusCode::SERVICE_UNAVAILABLE, why);
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Serves a connection until it ends.
pub(super) async fn serve<F: Front>(
    listener: &Listener<F>,
    stream: TcpStream,
    client: &Client,
    seat: Seat,
) {
    // Small writes are sent at once, because a response's head should not wait for its body.
    let _ = stream.set_nodelay(true);
    // hyper does not poll a body while its connection takes nothing, so only the kernel notices a
    // stall.
    let stall = u32::try_from(listener.limits.stall_timeout.as_millis()).unwrap_or(u32::MAX);
    let _ = sockopt::set_tcp_user_timeout(&stream, stall);
    let turns = Arc::new(Turns::default());
    let socket = Socket::new(stream, Arc::clone(&turns));
    let (memory, seat) = (Arc::new(Memory::default()), Arc::new(seat));
    // A clone of a token takes a lock that all connections share, so requests do not clone them.
    let rest = Arc::new(listener.rest());
    let ended = speak(listener, &socket, client, &seat, &memory, &turns, &rest).await;
    if let Err(error) = &ended {
        tracing::debug!(peer = %client.address, %error, "a connection ended early");
    }
    // A switch of protocols is the last thing that happens in HTTP on this connection.
    let tunnel = memory.tunnel.lock().take();
    if let (Some((tunnel, _in_flight)), Ok(())) = (tunnel, &ended) {
        drop(socket);
        return tunnel.await;
    }
    let mut closing = pin!(close(listener, socket, &memory, ended));
    tokio::select! {
        () = &mut closing => {}
        () = seat.left() => {
            let _ = time::timeout(FAREWELL, closing).await;
        }
    }
}

/// Speaks HTTP of any version until the connection ends.
async fn speak<F: Front>(
    listener: &Listener<F>,
    socket: &Socket,
    client: &Client,
    seat: &Arc<Seat>,
    memory: &Arc<Memory>,
    turns: &Arc<Turns>,
    rest: &Arc<Rest>,
) -> Result<(), BoxError> {
    let service = service_fn(|request| listener.take(request, client, seat, memory, turns, rest));
    let io = TokioIo::new(socket.clone());
    let mut connection = pin!(listener.http.serve_connection_with_upgrades(io, service));
    let mut broken = pin!(socket.broken());
    let mut draining = pin!(listener.draining.cancelled());
    let mut left = pin!(seat.left());
    // The time for which no request may be in flight. hyper's own timeouts do not cover HTTP/2.
    let mut patience = match seat.refusal {
        Some(_) => REFUSAL,
        None => listener.limits.head_timeout,
    };
    let mut idle = pin!(time::sleep(patience));
    let (mut ending, mut leaving, mut drained) = (false, false, false);
    loop {
        let mut polled = poll_fn(|cx| turns.take(cx, |cx| connection.as_mut().poll(cx)));
        let asked_to_end = tokio::select! {
            ended = &mut polled => return ended,
            () = &mut broken => return Err("the client has reset it or is gone".into()),
            () = &mut draining, if !drained => {
                drained = true;
                connection.as_mut().graceful_shutdown();
                false
            }
            () = &mut left, if !leaving => {
                leaving = true;
                idle.as_mut().reset(Instant::now() + FAREWELL);
                // The first request of a new client may be on its way.
                memory.used.load(Ordering::Relaxed)
            }
            () = &mut idle => {
                let due = match seat.has_left() {
                    true if seat.is_late() => Some(Instant::now() + FAREWELL),
                    true => None,
                    false => {
                        let since = seat.idle_since();
                        Some(since.map_or_else(Instant::now, Instant::from_std) + patience)
                    }
                };
                let due = due.filter(|due| *due > Instant::now());
                match due {
                    Some(due) => {
                        idle.as_mut().reset(due);
                        false
                    }
                    None if ending => return Ok(()),
                    None => true,
                }
            }
        };
        if asked_to_end && !ending {
            ending = true;
            patience = FAREWELL;
            connection.as_mut().graceful_shutdown();
            idle.as_mut().reset(Instant::now() + FAREWELL);
        }
    }
}

/// Closes a connection such that the client receives everything that was sent to it.
async fn close<F>(
    listener: &Listener<F>,
    socket: Socket,
    memory: &Memory,
    ended: Result<(), BoxError>,
) {
    if ended.is_err() && memory.ends_answer.load(Ordering::Relaxed) {
        return socket.reset();
    }
    // A malformed head was answered, or an answer broke off: the client has something to read, and
    // may still be sending.
    let failed = ended.is_err_and(|error| {
        let error = error.downcast_ref::<hyper::Error>();
        error.is_some_and(|error| error.is_parse() || error.is_user())
    });
    let exchange = memory.exchange.lock().take();
    let unfinished = exchange.filter(|exchange| !exchange.is_complete());
    let sends = socket.is_open() && (failed || unfinished.is_some());
    if !sends && !socket.has_unread() {
        return;
    }
    let fresh = Budget::new(Unread::HTTP1);
    let budget = unfinished.as_ref().map_or(&fresh, |it| it.budget());
    socket.linger(budget, &listener.draining).await;
}
