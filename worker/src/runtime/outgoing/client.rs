//! The HTTP client of one guest: its kept connections, and how a request is sent.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{
    Extensions, HeaderMap, HeaderValue, Method, Request, Response, Version, header, uri::Scheme,
};
use http_body_util::BodyExt as _;
use hyper::{
    body::{Body as _, Incoming},
    rt::Executor,
};
use hyper_util::{
    client::legacy::{self, connect::capture_connection},
    rt::TokioTimer,
};
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::{
    http::{
        head::is_grpc,
        limit::{HEAD_BUFFER, MAX_FIELDS, MAX_HEAD_LIST, check_head, head_size},
    },
    policy::is_own,
};

use super::{
    super::host_memory::{Held, HostBudget, MeteredBody, fields_bytes},
    Limits, Timeouts, Ways,
    body::{Broken, RequestBody, ResponseBody},
    connect::{Answers, Connector},
    failure,
};

/// The bytes that may wait in one HTTP/2 stream, and in all streams of a connection, until a guest
/// reads them.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// The connections of one guest. Dropping it ends them.
pub(super) struct Client {
    connector: Connector,
    limits: Limits,
    pools: Mutex<Pools>,
    /// The number of requests whose response has not ended.
    flying: Arc<AtomicUsize>,
    tasks: Tasks,
    // This ends all tasks when it is dropped.
    _end: DropGuard,
}

/// The kept connections, by how their version of HTTP is chosen.
#[derive(Clone)]
struct Pools {
    /// HTTP/1.1, or HTTP/2 over TLS if the server offers it.
    negotiated: Pool,
    /// HTTP/2 with prior knowledge.
    http2: Pool,
}

type Pool = legacy::Client<Connector, RequestBody>;

/// Runs the tasks that drive connections, until the client is dropped.
#[derive(Clone)]
pub(super) struct Tasks(CancellationToken);

/// Counts one request until its response has ended.
pub(super) struct Flight(Arc<AtomicUsize>);

/// A copy of a request that may be sent twice.
struct Copy {
    head: http::request::Parts,
    /// Whether it is complete only if HTTP/1.1 is used, which sends no body with a GET without a
    /// length, whatever the guest might write.
    is_whole_by_http1_alone: bool,
}

/// The reason why a request has no answer.
enum Unanswered {
    Failed(legacy::Error),
    Timeout(Error),
}

// === impl Client ===

impl Client {
    pub(super) fn new(ways: Ways, limits: Limits, tls: Arc<ClientConfig>) -> Arc<Self> {
        Self::with(
            Connector {
                ways,
                places: Arc::new(Semaphore::new(limits.connections)),
                tls: tls.into(),
            },
            limits,
        )
    }

    /// Returns the same client without its connections.
    pub(super) fn renewed(&self) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let connector = Connector {
            places,
            ..self.connector.clone()
        };
        Self::with(connector, self.limits)
    }

    fn with(connector: Connector, limits: Limits) -> Arc<Self> {
        let token = CancellationToken::new();
        let tasks = Tasks(token.clone());
        Arc::new(Self {
            pools: Mutex::new(Pools::new(&connector, limits, &tasks)),
            connector,
            limits,
            flying: Arc::default(),
            tasks,
            _end: token.drop_guard(),
        })
    }

    pub(super) fn host_budget(&self) -> &Arc<HostBudget> {
        &self.connector.ways.host_budget
    }

    /// Sends a request and returns with the head of the response. Dropping the future, or the body,
    /// gives up the request.
    pub(super) async fn send(
        &self,
        request: Request<WasiBody>,
        timeouts: Timeouts,
    ) -> Result<Response<WasiBody>, Error> {
        if request.uri().authority().is_none() {
            return Err(Error::HttpRequestUriInvalid);
        }
        if let Some(size) = beyond_limits(request.headers()) {
            return Err(Error::HttpRequestHeaderSectionSize(Some(size)));
        }
        let is_http2 = self.is_http2(&request);
        let pool = self.pool(is_http2);
        let flight = Flight::new(&self.flying);
        let (mut parts, body) = request.into_parts();
        let (body, broken) = RequestBody::new(body, self.tasks.clone());
        parts.version = Version::HTTP_11;
        accept_trailers(&mut parts, is_http2);
        let request = Request::from_parts(parts, body);
        let copy = Copy::of(&request);
        let answer = match self.exchange(&pool, request, timeouts).await {
            Err(Unanswered::Failed(error)) => match copy.filter(|copy| copy.may_follow(&error)) {
                Some(copy) => self.exchange(&pool, copy.request(), timeouts).await,
                None => Err(Unanswered::Failed(error)),
            },
            answer => answer,
        };
        let response = answer.map_err(|unanswered| unanswered.told(&broken))?;
        if let Some(size) = beyond_limits(response.headers()) {
            return Err(Error::HttpResponseHeaderSectionSize(Some(size)));
        }
        if let Some(answers) = response.extensions().get::<Answers>() {
            answers.count();
        }
        let budget = self.host_budget();
        let head = budget.take(Held::Fields, fields_bytes(response.headers()));
        let head = head.map_err(|exceeded| Error::InternalError(Some(exceeded.to_string())))?;
        Ok(response.map(|body| {
            let body = ResponseBody::new(body, timeouts.between_bytes, flight, head);
            MeteredBody::new(body, budget).boxed_unsync()
        }))
    }

    async fn exchange(
        &self,
        pool: &Pool,
        mut request: Request<RequestBody>,
        timeouts: Timeouts,
    ) -> Result<Response<Incoming>, Unanswered> {
        let mut connection = capture_connection(&mut request);
        let mut answering = pin!(pool.request(request));
        let connected = timeout(timeouts.connect, async {
            connection.wait_for_connection_metadata().await;
        });
        tokio::select! {
            biased;
            answer = &mut answering => return answer.map_err(Unanswered::Failed),
            connected = connected => if connected.is_err() {
                return Err(Unanswered::Timeout(self.no_connection()));
            },
        }
        match timeout(timeouts.first_byte, answering).await {
            Ok(answer) => answer.map_err(Unanswered::Failed),
            Err(_) => Err(Unanswered::Timeout(Error::ConnectionReadTimeout)),
        }
    }

    /// Returns the error for a connection that was not available in time.
    fn no_connection(&self) -> Error {
        match self.is_full() {
            true => Error::ConnectionLimitReached,
            false => Error::ConnectionTimeout,
        }
    }

    /// Returns whether all connections are in use or kept.
    pub(super) fn is_full(&self) -> bool {
        self.connector.places.available_permits() == 0
    }

    /// Returns the pool for a request's connection. If there is no place for one more, connections
    /// that are kept for other requests are closed.
    fn pool(&self, is_http2: bool) -> Pool {
        let mut idle = None;
        let mut pools = self.pools.lock();
        if self.is_full() && self.flying.load(Ordering::Relaxed) < self.limits.connections {
            let empty = Pools::new(&self.connector, self.limits, &self.tasks);
            idle = Some(std::mem::replace(&mut *pools, empty));
        }
        let pool = match is_http2 {
            true => pools.http2.clone(),
            false => pools.negotiated.clone(),
        };
        drop(pools);
        // This closes the kept connections without holding the lock.
        drop(idle);
        pool
    }

    /// Returns whether the server is assumed to speak HTTP/2 with prior knowledge: for gRPC
    /// requests, and where the manifest says so. Over TLS the version is negotiated.
    fn is_http2(&self, request: &Request<WasiBody>) -> bool {
        let uri = request.uri();
        if uri.scheme() == Some(&Scheme::HTTPS) {
            return false;
        }
        let is_service = |port| {
            self.connector.ways.http2_ports.contains(&port) && uri.host().is_some_and(is_own)
        };
        is_grpc(request.headers()) || is_service(uri.port_u16().unwrap_or(80))
    }
}

/// Returns the size of a head in bytes if it is too large or has too many fields.
fn beyond_limits(headers: &HeaderMap) -> Option<u32> {
    check_head(headers).err()?;
    Some(u32::try_from(head_size(headers)).unwrap_or(u32::MAX))
}

/// Announces that trailers are accepted. Servers of HTTP/1.1 and of gRPC expect this (RFC 9110,
/// section 10.1.4).
fn accept_trailers(head: &mut http::request::Parts, is_http2: bool) {
    let trailers = HeaderValue::from_static("trailers");
    head.headers.entry(header::TE).or_insert(trailers);
    if !is_http2 && head.uri.scheme() == Some(&Scheme::HTTP) {
        let te = HeaderValue::from_static("te");
        head.headers.insert(header::CONNECTION, te);
    }
}

// === impl Pools ===

impl Pools {
    fn new(connector: &Connector, limits: Limits, tasks: &Tasks) -> Self {
        let mut builder = legacy::Client::builder(tasks.clone());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(limits.idle)
            .pool_idle_timeout(limits.idle_timeout)
            .http1_max_buf_size(HEAD_BUFFER)
            .http1_max_headers(MAX_FIELDS)
            .http2_max_header_list_size(MAX_HEAD_LIST)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW);
        Self {
            negotiated: builder.build(connector.clone()),
            http2: builder.http2_only(true).build(connector.clone()),
        }
    }
}

// === impl Tasks ===

impl Tasks {
    pub(super) fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        // Outside of a runtime, which happens during shutdown, there is nothing to run for.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(self.0.clone().run_until_cancelled_owned(work));
        }
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, work: F) {
        // The token owns the task, and ends all of them.
        tokio::spawn(self.0.clone().run_until_cancelled_owned(work));
    }
}

// === impl Flight ===

impl Flight {
    fn new(flying: &Arc<AtomicUsize>) -> Self {
        flying.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(flying))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Copy ===

impl Copy {
    /// Copies a request that may reach a server twice because it is idempotent and has no body.
    fn of(request: &Request<RequestBody>) -> Option<Self> {
        let has_length = request.headers().contains_key(header::CONTENT_LENGTH);
        let method = request.method();
        let is_whole = request.body().is_end_stream();
        let is_get = [Method::GET, Method::HEAD].contains(method) && !has_length;
        if !method.is_idempotent() || !(is_whole || is_get) {
            return None;
        }
        let mut copy = Request::new(());
        *copy.method_mut() = method.clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.version_mut() = request.version();
        *copy.headers_mut() = request.headers().clone();
        Some(Self {
            head: copy.into_parts().0,
            is_whole_by_http1_alone: !is_whole,
        })
    }

    /// Returns whether the request may be repeated: the connection was used before, and was closed
    /// by a server that may not have seen the request (RFC 9110, section 9.2.2).
    fn may_follow(&self, error: &legacy::Error) -> bool {
        let Some(connection) = error.connect_info() else {
            return false;
        };
        let mut extras = Extensions::new();
        connection.get_extras(&mut extras);
        let is_used = extras.get::<Answers>().is_some_and(Answers::any);
        let is_whole = !(self.is_whole_by_http1_alone && connection.is_negotiated_h2());
        is_used && is_whole && failure::is_dropped(error)
    }

    fn request(self) -> Request<RequestBody> {
        Request::from_parts(self.head, RequestBody::empty())
    }
}

// === impl Unanswered ===

impl Unanswered {
    fn told(self, broken: &Broken) -> Error {
        match self {
            Self::Failed(error) => broken.take().unwrap_or_else(|| failure::of_request(&error)),
            Self::Timeout(error) => error,
        }
    }
}
