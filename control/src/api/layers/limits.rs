//! Bounds on how much is done at once and how long a single answer may take, and the end of streams at shutdown.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body::Body as _;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::{Layer, Service};

use super::methods::Methods;
use crate::api::error;

/// Single-answer RPCs at once.
const UNARY_AT_ONCE: usize = 1024;
/// Streams at once: watches, sessions of workers, logs.
const STREAMS_AT_ONCE: usize = 8192;
/// The longest that a single-answer RPC may take.
const UNARY_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct LimitsLayer {
    methods: Arc<Methods>,
    unary: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    timeout: Duration,
    shutdown: CancellationToken,
}

#[derive(Clone)]
pub struct Limits<S> {
    inner: S,
    layer: LimitsLayer,
}

// === impl LimitsLayer ===

impl LimitsLayer {
    /// Streams end when `shutdown` is cancelled; single answers are finished.
    pub fn new(methods: Arc<Methods>, shutdown: CancellationToken) -> Self {
        Self {
            methods,
            unary: Arc::new(Semaphore::new(UNARY_AT_ONCE)),
            streams: Arc::new(Semaphore::new(STREAMS_AT_ONCE)),
            timeout: UNARY_TIMEOUT,
            shutdown,
        }
    }
}

impl<S> Layer<S> for LimitsLayer {
    type Service = Limits<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Limits {
            inner,
            layer: self.clone(),
        }
    }
}

// === impl Limits ===

impl<S, B> Service<http::Request<B>> for Limits<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let streaming = self.layer.methods.is_streaming(request.uri().path());
        let places = if streaming {
            &self.layer.streams
        } else {
            &self.layer.unary
        };
        let Ok(permit) = places.clone().try_acquire_owned() else {
            let status = error::exhausted(
                "requests",
                "the control plane has too many requests at once",
            );
            return Box::pin(std::future::ready(Ok(status.into_http())));
        };
        let asked = asked_timeout(request.headers());
        let timeout = asked.map_or(self.layer.timeout, |asked| asked.min(self.layer.timeout));
        let answer = self.inner.call(request);
        if streaming {
            Box::pin(stream(answer, permit, self.layer.shutdown.clone()))
        } else {
            Box::pin(unary(answer, permit, timeout))
        }
    }
}

/// What the client's `grpc-timeout` says: up to eight digits and a unit, as in gRPC over HTTP/2.
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

async fn unary<E>(
    answer: impl Future<Output = Result<http::Response<Body>, E>>,
    permit: OwnedSemaphorePermit,
    timeout: Duration,
) -> Result<http::Response<Body>, E> {
    let answer = tokio::time::timeout(timeout, answer).await;
    drop(permit);
    answer.unwrap_or_else(|_| {
        let message = format!("not done within {timeout:?}");
        Ok(error::late(message).into_http())
    })
}

/// Holds the stream's place until its last byte, and ends it with a status that tells clients to come back.
async fn stream<E>(
    answer: impl Future<Output = Result<http::Response<Body>, E>>,
    permit: OwnedSemaphorePermit,
    shutdown: CancellationToken,
) -> Result<http::Response<Body>, E> {
    let response = tokio::select! {
        biased;
        response = answer => response?,
        () = shutdown.cancelled() => return Ok(error::ending().into_http()),
    };
    // A response that is already at its end carries its status in the headers (gRPC's
    // Trailers-Only), and gRPC's C core reads that status only where the headers end the stream:
    // any body around it would take the status away.
    if response.body().is_end_stream() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let frames = futures::stream::unfold(Some((body, permit, shutdown)), |held| async move {
        let (mut body, permit, shutdown) = held?;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {
                let mut trailers = http::HeaderMap::new();
                // An error means that the message is no header text, and ours is.
                let _ = error::ending().add_header(&mut trailers);
                Some((Ok(http_body::Frame::trailers(trailers)), None))
            }
            frame = body.frame() => frame.map(|frame| (frame, Some((body, permit, shutdown)))),
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
    use tonic::{Code, Status};
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    const UNARY: &str = "/warren.v1.WorkloadService/Get";
    const STREAM: &str = "/warren.v1.WorkloadService/Watch";

    fn layer(shutdown: &CancellationToken) -> LimitsLayer {
        let methods = Methods::of(&[warren_proto::FILE_DESCRIPTOR_SET]).unwrap();
        LimitsLayer {
            unary: Arc::new(Semaphore::new(1)),
            streams: Arc::new(Semaphore::new(1)),
            ..LimitsLayer::new(Arc::new(methods), shutdown.clone())
        }
    }

    fn request(path: &str) -> http::Request<()> {
        http::Request::builder().uri(path).body(()).unwrap()
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
        let slow = service_fn(move |_: http::Request<()>| {
            let opened = opened.clone();
            async move {
                opened.notified().await;
                Ok::<_, Infallible>(http::Response::new(Body::empty()))
            }
        });
        let service = layer(&CancellationToken::new()).layer(slow);
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
    async fn a_single_answer_has_its_time() {
        let never = service_fn(|_: http::Request<()>| {
            std::future::pending::<Result<http::Response<Body>, Infallible>>()
        });
        let mut layer = layer(&CancellationToken::new());
        layer.timeout = Duration::from_millis(1);
        let service = layer.layer(never);
        let late = service.oneshot(request(UNARY)).await.unwrap();
        assert_eq!(code(late.headers()), Some(Code::DeadlineExceeded));
    }

    #[tokio::test]
    async fn a_client_may_ask_for_less_time() {
        let never = service_fn(|_: http::Request<()>| {
            std::future::pending::<Result<http::Response<Body>, Infallible>>()
        });
        let service = layer(&CancellationToken::new()).layer(never);
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
        let endless = service_fn(|_: http::Request<()>| async {
            let body = StreamBody::new(futures::stream::pending::<
                Result<http_body::Frame<bytes::Bytes>, Status>,
            >());
            Ok::<_, Infallible>(http::Response::new(Body::new(body)))
        });
        let shutdown = CancellationToken::new();
        let service = layer(&shutdown).layer(endless);
        let mut stream = service.clone().oneshot(request(STREAM)).await.unwrap();
        let refused = service.oneshot(request(STREAM)).await.unwrap();
        assert_eq!(code(refused.headers()), Some(Code::ResourceExhausted));

        shutdown.cancel();
        let last = stream.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(code(last.trailers_ref().unwrap()), Some(Code::Unavailable));
        assert!(stream.body_mut().frame().await.is_none());
    }
}
