//! Bounds on how much is done at once and how long a single answer may take, and the end of streams
//! at shutdown.
//!
//! A call counts among those that are worked on once its request has arrived completely. Until then
//! it waits among others, and the longest waiting one makes room for newer ones.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt as _, StreamBody};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};
use tower::{Layer, Service};
use warren_model::admission::{Full, Peer, Share, Shares};

use super::{
    arrival::Arrivals,
    methods::{Methods, Shape},
};
use crate::{
    grpc::error,
    listen::{self, ClientLimits, Connection, UnderWay},
};

/// Bounded by the fleet's own places, not by this layer.
const SESSION: &str = "/warren.v1.FleetService/Session";
/// The calls of workers.
const OF_WORKERS: [&str; 3] = [
    SESSION,
    "/warren.v1.FleetService/PushLogs",
    "/warren.v1.ArtifactService/Pull",
];

#[derive(Clone)]
pub struct LimitsLayer(Arc<Bounded>);

struct Bounded {
    methods: Arc<Methods>,
    arrivals: Arrivals,
    unary: Shares,
    streams: Shares,
    worker_streams: Shares,
    timeout: Duration,
    shutdown: CancellationToken,
}

#[derive(Clone)]
pub struct Limits<S> {
    inner: S,
    bounded: Arc<Bounded>,
}

type Answer = http::Response<Body>;

/// What a call holds until its last byte.
struct Held {
    _share: Option<Share>,
    _under_way: Option<UnderWay>,
}

// === impl LimitsLayer ===

impl LimitsLayer {
    /// Streams end when `shutdown` is cancelled; single answers are finished.
    pub fn new(methods: Arc<Methods>, limits: &ClientLimits, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Bounded {
            methods,
            arrivals: Arrivals::new(limits),
            unary: Shares::new(limits.unary),
            streams: Shares::new(limits.streams),
            worker_streams: Shares::new(limits.worker_streams),
            timeout: limits.unary_timeout,
            shutdown,
        }))
    }
}

impl<S> Layer<S> for LimitsLayer {
    type Service = Limits<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Limits {
            inner,
            bounded: self.0.clone(),
        }
    }
}

// === impl Limits ===

impl<S, B> Service<http::Request<B>> for Limits<S>
where
    S: Service<http::Request<Body>, Response = Answer, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let ready = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, ready);
        let bounded = self.bounded.clone();
        let request = request.map(Body::new);
        Box::pin(async move {
            let answer = bounded.answer(inner, request).await;
            Ok(answer.unwrap_or_else(Status::into_http))
        })
    }
}

// === impl Bounded ===

impl Bounded {
    async fn answer<S>(&self, mut inner: S, request: http::Request<Body>) -> Result<Answer, Status>
    where
        S: Service<http::Request<Body>, Response = Answer, Error = Infallible>,
    {
        let path = request.uri().path();
        let shape = self.methods.shape(path);
        let (is_session, of_worker) = (path == SESSION, OF_WORKERS.contains(&path));
        let connection = request.extensions().get::<Connection>().cloned();
        if let Some(connection) = connection.as_ref().filter(|_| !of_worker) {
            connection.refuses_clients()?;
        }
        let peer = connection.as_ref().map(Connection::peer);
        let asked = asked_timeout(request.headers());
        let request = match shape {
            Shape::ClientStream => self.arrivals.metered(request, peer),
            Shape::Unary | Shape::ServerStream => {
                let arrives = self.arrivals.whole(request, peer);
                let within = asked.unwrap_or(Duration::MAX);
                let arrived = tokio::time::timeout(within, arrives).await;
                arrived.unwrap_or_else(|_| Err(late(within)))?
            }
        };
        let share = match (shape, of_worker) {
            (Shape::Unary, _) => Some(take(&self.unary, "calls", peer)?),
            // The fleet admits a session once its worker has said Hello.
            _ if is_session => None,
            (_, true) => Some(take(&self.worker_streams, "streams of workers", peer)?),
            (_, false) => Some(take(&self.streams, "streams", peer)?),
        };
        let under_way = match connection.filter(|_| !is_session) {
            Some(connection) => Some(connection.begin()?),
            None => None,
        };
        let held = Held {
            _share: share,
            _under_way: under_way,
        };
        let answer = inner.call(request);
        match shape {
            Shape::Unary => {
                let timeout = asked.map_or(self.timeout, |asked| asked.min(self.timeout));
                unary(answer, held, timeout).await
            }
            Shape::ServerStream | Shape::ClientStream => {
                stream(answer, held, self.shutdown.clone()).await
            }
        }
    }
}

fn take(shares: &Shares, what: &str, peer: Option<Peer>) -> Result<Share, Status> {
    shares.take(peer, 1).map_err(|full| exhausted(what, full))
}

/// Returns RESOURCE_EXHAUSTED with the limit.
pub fn exhausted(what: &str, full: Full) -> Status {
    error::exhausted(what, listen::at_capacity(what, full))
}

/// Reads the client's `grpc-timeout`: up to eight digits and a unit, as in gRPC over HTTP/2.
fn asked_timeout(headers: &http::HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.saturating_mul(3600)),
        "M" => Duration::from_secs(number.saturating_mul(60)),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

async fn unary(
    answer: impl Future<Output = Result<Answer, Infallible>>,
    held: Held,
    timeout: Duration,
) -> Result<Answer, Status> {
    let answer = tokio::time::timeout(timeout, answer).await;
    drop(held);
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Err(_) => Err(late(timeout)),
    }
}

fn late(timeout: Duration) -> Status {
    error::late(format!("not done within {timeout:?}"))
}

/// Holds the stream's place until its last byte, and ends it at shutdown with a status that lets
/// clients come back.
async fn stream(
    answer: impl Future<Output = Result<Answer, Infallible>>,
    held: Held,
    shutdown: CancellationToken,
) -> Result<Answer, Status> {
    let response = tokio::select! {
        biased;
        Ok(response) = answer => response,
        () = shutdown.cancelled() => return Err(error::ending()),
    };
    // A response that is already at its end carries its status in the headers (gRPC's
    // Trailers-Only), and gRPC's C core reads that status only where the headers end the stream:
    // any body around it would take the status away.
    if response.body().is_end_stream() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let frames = futures::stream::unfold(Some((body, held, shutdown)), |held| async move {
        let (mut body, held, shutdown) = held?;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {
                let mut trailers = http::HeaderMap::new();
                // This fails only if the message is not header text, and ours is.
                let _ = error::ending().add_header(&mut trailers);
                Some((Ok(http_body::Frame::trailers(trailers)), None))
            }
            frame = body.frame() => frame.map(|frame| (frame, Some((body, held, shutdown)))),
        }
    });
    Ok(http::Response::from_parts(
        parts,
        Body::new(StreamBody::new(frames)),
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::convert::Infallible;

    use tokio::sync::Notify;
    use tonic::Code;
    use tower::{ServiceExt as _, service_fn};
    use warren_model::admission::Bounds;

    use super::*;

    const UNARY: &str = "/warren.v1.WorkloadService/Get";
    const STREAM: &str = "/warren.v1.WorkloadService/Watch";

    fn limits() -> ClientLimits {
        let one = Bounds::of(1);
        ClientLimits {
            unary: one,
            streams: one,
            arriving: one,
            ..ClientLimits::default()
        }
    }

    fn layer(limits: &ClientLimits, shutdown: &CancellationToken) -> LimitsLayer {
        let methods = Methods::of(&[warren_proto::FILE_DESCRIPTOR_SET]).unwrap();
        LimitsLayer::new(Arc::new(methods), limits, shutdown.clone())
    }

    fn request(path: &str) -> http::Request<Body> {
        http::Request::builder()
            .uri(path)
            .body(Body::empty())
            .unwrap()
    }

    /// A request of which no byte arrives.
    fn half_open(path: &str) -> http::Request<Body> {
        let never = futures::stream::pending::<Result<http_body::Frame<Bytes>, Status>>();
        request(path).map(|_| Body::new(StreamBody::new(never)))
    }

    fn code(headers: &http::HeaderMap) -> Option<Code> {
        headers
            .get("grpc-status")
            .map(|status| Code::from_bytes(status.as_bytes()))
    }

    #[tokio::test]
    async fn what_is_too_much_is_refused_at_once_and_admitted_later() {
        let gate = Arc::new(Notify::new());
        let opened = gate.clone();
        let slow = service_fn(move |_: http::Request<Body>| {
            let opened = opened.clone();
            async move {
                opened.notified().await;
                Ok::<_, Infallible>(http::Response::new(Body::empty()))
            }
        });
        let service = layer(&limits(), &CancellationToken::new()).layer(slow);
        let mut first = std::pin::pin!(service.clone().oneshot(request(UNARY)));
        assert!(futures::poll!(first.as_mut()).is_pending());
        let refused = service.clone().oneshot(request(UNARY)).await.unwrap();
        assert_eq!(code(refused.headers()), Some(Code::ResourceExhausted));

        gate.notify_one();
        assert_eq!(code(first.await.unwrap().headers()), None);
        gate.notify_one();
        let admitted = service.oneshot(request(UNARY)).await.unwrap();
        assert_eq!(code(admitted.headers()), None);
    }

    #[tokio::test]
    async fn what_has_not_arrived_keeps_nothing_that_has_from_its_place() {
        let answers = service_fn(|_: http::Request<Body>| async {
            Ok::<_, Infallible>(http::Response::new(Body::empty()))
        });
        let service = layer(&limits(), &CancellationToken::new()).layer(answers);
        for path in [UNARY, STREAM] {
            let mut first = std::pin::pin!(service.clone().oneshot(half_open(path)));
            assert!(futures::poll!(first.as_mut()).is_pending());
            let answered = service.clone().oneshot(request(path)).await.unwrap();
            assert_eq!(code(answered.headers()), None);
            // Of the requests that have not arrived, the one that has waited for longest is ended.
            let mut second = std::pin::pin!(service.clone().oneshot(half_open(path)));
            assert!(futures::poll!(second.as_mut()).is_pending());
            let gone = first.await.unwrap();
            assert_eq!(code(gone.headers()), Some(Code::ResourceExhausted));
            let answered = service.clone().oneshot(request(path)).await.unwrap();
            assert_eq!(code(answered.headers()), None);
        }
    }

    #[tokio::test]
    async fn a_request_has_its_time_to_arrive() {
        let unreached = service_fn(|_: http::Request<Body>| {
            std::future::ready(Ok::<_, Infallible>(http::Response::new(Body::empty())))
        });
        let limits = ClientLimits {
            arrival: Duration::from_millis(1),
            ..limits()
        };
        let service = layer(&limits, &CancellationToken::new()).layer(unreached);
        for path in [UNARY, STREAM] {
            let late = service.clone().oneshot(half_open(path)).await.unwrap();
            assert_eq!(code(late.headers()), Some(Code::DeadlineExceeded));
        }
    }

    #[tokio::test]
    async fn a_single_answer_has_its_time() {
        let never = service_fn(|_: http::Request<Body>| {
            std::future::pending::<Result<http::Response<Body>, Infallible>>()
        });
        let limits = ClientLimits {
            unary_timeout: Duration::from_millis(1),
            ..limits()
        };
        let service = layer(&limits, &CancellationToken::new()).layer(never);
        let late = service.oneshot(request(UNARY)).await.unwrap();
        assert_eq!(code(late.headers()), Some(Code::DeadlineExceeded));
    }

    #[tokio::test]
    async fn a_client_may_ask_for_less_time() {
        let never = service_fn(|_: http::Request<Body>| {
            std::future::pending::<Result<http::Response<Body>, Infallible>>()
        });
        let service = layer(&limits(), &CancellationToken::new()).layer(never);
        let mut request = request(UNARY);
        let timeout = http::HeaderValue::from_static("1m");
        request.headers_mut().insert("grpc-timeout", timeout);
        let late = service.oneshot(request).await.unwrap();
        assert_eq!(code(late.headers()), Some(Code::DeadlineExceeded));
    }

    #[test]
    fn the_asked_timeout_is_read_in_every_unit() {
        for (text, expected) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("4S", Some(Duration::from_secs(4))),
            ("5m", Some(Duration::from_millis(5))),
            ("6u", Some(Duration::from_micros(6))),
            ("7n", Some(Duration::from_nanos(7))),
            ("", None),
            ("S", None),
            ("1x", None),
            ("-1S", None),
        ] {
            let mut headers = http::HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(asked_timeout(&headers), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn a_stream_holds_its_place_and_ends_at_the_shutdown() {
        let endless = service_fn(|_: http::Request<Body>| async {
            let body = StreamBody::new(futures::stream::pending::<
                Result<http_body::Frame<Bytes>, Status>,
            >());
            Ok::<_, Infallible>(http::Response::new(Body::new(body)))
        });
        let shutdown = CancellationToken::new();
        let service = layer(&limits(), &shutdown).layer(endless);
        let mut stream = service.clone().oneshot(request(STREAM)).await.unwrap();
        let refused = service.oneshot(request(STREAM)).await.unwrap();
        assert_eq!(code(refused.headers()), Some(Code::ResourceExhausted));

        shutdown.cancel();
        let last = stream.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(code(last.trailers_ref().unwrap()), Some(Code::Unavailable));
        assert!(stream.body_mut().frame().await.is_none());
    }
}
