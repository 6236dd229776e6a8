//! One client's connection, from its first byte to its close.

use std::{
    convert::Infallible,
    future::poll_fn,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::future::{BoxFuture, Either, ready};
use http::{Request, Response, StatusCode, Version, header};
use hyper::{
    body::{Body as _, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use parking_lot::Mutex;
use rustix::net::sockopt;
use tokio::{net::TcpStream, time};
use tokio_util::sync::CancellationToken;

use super::{
    Front, Limits,
    answer::{self, AnswerBody, Asked},
    exchange::{Budget, ClientBody, Exchange, Rest, Unread},
    head,
    socket::Socket,
    turns::Turns,
};
use crate::ingress::{BoxError, plain_text, tunnel::Tunnel};

/// What the connections of one listener share.
pub(super) struct Listener<F> {
    http: auto::Builder<TokioExecutor>,
    limits: Limits,
    front: F,
    draining: CancellationToken,
    rest: Rest,
}

/// What the requests of a connection leave for its end.
#[derive(Default)]
struct Memory {
    /// There was one.
    used: AtomicBool,
    /// The last one of HTTP/1.1 that had a body.
    exchange: Mutex<Option<Arc<Exchange>>>,
    /// What follows a switch of protocols.
    tunnel: Mutex<Option<BoxFuture<'static, ()>>>,
    /// The client would take the end of the connection for the end of the answer.
    ends_answer: AtomicBool,
}

// === impl Listener ===

impl<F> Listener<F> {
    pub fn new(
        http: auto::Builder<TokioExecutor>,
        limits: Limits,
        front: F,
        draining: CancellationToken,
    ) -> Self {
        Self {
            http,
            limits,
            front,
            draining,
            rest: Rest::default(),
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

    /// Answers one request.
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        memory: &Arc<Memory>,
        turns: &Arc<Turns>,
    ) -> impl Future<Output = Response<AnswerBody>> + Send + 'static {
        memory.used.store(true, Ordering::Relaxed);
        let (method, version) = (request.method().clone(), request.version());
        let head = head::check(&request, F::WORKERS);
        let (request, exchange) = self.track(request);
        if version < Version::HTTP_2 {
            memory.exchange.lock().clone_from(&exchange);
        }
        let answer = match head {
            Ok(()) => Either::Left(self.front.answer(request, peer)),
            Err(error) => {
                drop(request);
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                let text = format!("the request cannot be taken: {error}");
                Either::Right(ready(plain_text(status, text)))
            }
        };
        let (memory, turns, rest) = (Arc::clone(memory), Arc::clone(turns), self.rest());
        async move {
            let response = answer.await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                let tunnel = response.extensions().get::<Tunnel>();
                *memory.tunnel.lock() = tunnel.and_then(Tunnel::take);
            }
            if version < Version::HTTP_11 {
                let ends = answer::ends_with_connection(&response);
                memory.ends_answer.store(ends, Ordering::Relaxed);
            }
            answer::prepare(response, Asked { method, exchange }, &turns, &rest)
        }
    }

    fn track(&self, request: Request<Incoming>) -> (Request<ClientBody>, Option<Arc<Exchange>>) {
        if request.body().is_end_stream() {
            return (request.map(|_| ClientBody::empty()), None);
        }
        let expects = request.headers().contains_key(header::EXPECT);
        let unread = self.unread(request.version());
        let exchange = Exchange::new(unread, expects, &self.draining, &self.rest);
        let body = |incoming| ClientBody::new(incoming, Arc::clone(&exchange));
        (request.map(body), Some(exchange))
    }
}

/// Serves a connection to its end.
pub(super) async fn serve<F: Front>(listener: &Listener<F>, stream: TcpStream, peer: SocketAddr) {
    // Small writes at once: a response's head should not wait for its body.
    let _ = stream.set_nodelay(true);
    // hyper asks a body for nothing while its connection takes nothing, so only the kernel knows.
    let stall = u32::try_from(listener.limits.stall_timeout.as_millis()).unwrap_or(u32::MAX);
    let _ = sockopt::set_tcp_user_timeout(&stream, stall);
    let turns = Arc::new(Turns::default());
    let socket = Socket::new(stream, Arc::clone(&turns));
    let memory = Arc::new(Memory::default());
    let ended = speak(listener, &socket, peer, &memory, &turns).await;
    if let Err(error) = &ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
    // A switch of protocols is the last thing that HTTP did here.
    let tunnel = memory.tunnel.lock().take();
    if let (Some(tunnel), Ok(())) = (tunnel, &ended) {
        drop(socket);
        return tunnel.await;
    }
    close(listener, socket, &memory, ended).await;
}

/// Speaks HTTP, of whatever version, until the connection ends.
async fn speak<F: Front>(
    listener: &Listener<F>,
    socket: &Socket,
    peer: SocketAddr,
    memory: &Arc<Memory>,
    turns: &Arc<Turns>,
) -> Result<(), BoxError> {
    let service = service_fn(|request| {
        let answer = listener.answer(request, peer, memory, turns);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let io = TokioIo::new(socket.clone());
    let mut connection = pin!(listener.http.serve_connection_with_upgrades(io, service));
    let mut broken = pin!(socket.broken());
    let mut draining = pin!(listener.draining.cancelled());
    let mut head_timeout = pin!(time::sleep(listener.limits.head_timeout));
    let (mut waiting, mut drained) = (true, false);
    loop {
        let mut polled = poll_fn(|cx| turns.take(cx, |cx| connection.as_mut().poll(cx)));
        tokio::select! {
            ended = &mut polled => return ended,
            () = &mut broken => return Err("the client has reset it, or is gone".into()),
            // hyper's own timeout begins only when the first bytes have told the version of HTTP.
            () = &mut head_timeout, if waiting => {
                waiting = false;
                if !memory.used.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
            () = &mut draining, if !drained => {
                drained = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Closes a connection so that the client has what it was sent.
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
