#![allow(clippy::unwrap_used)]

mod answer;
mod ends;
mod places;

use std::future;

use bytes::Bytes;
use http::{StatusCode, Version, uri::Authority};
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::{body::Frame, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use warren_model::route::Route;

use super::*;
use crate::{
    http::{Admission, HttpTarget, RequestMeta, plain_text},
    ingress::Router,
};

/// Reports the requests that reach it, and answers when a test allows it.
struct Echo {
    reached: mpsc::UnboundedSender<()>,
    open: Arc<Semaphore>,
}

impl HttpTarget for Echo {
    fn admit(&self) -> Option<Admission> {
        Some(Admission::default())
    }

    fn call(
        &self,
        _: Admission,
        request: Request<ClientBody>,
        meta: RequestMeta,
    ) -> BoxFuture<'static, Response<Body>> {
        let _ = self.reached.send(());
        let open = Arc::clone(&self.open);
        Box::pin(async move {
            let _permit = open.acquire().await;
            let header = |name: &str| {
                let all = request.headers().get_all(name).iter();
                all.map(|v| v.to_str().unwrap())
                    .collect::<Vec<_>>()
                    .join("|")
            };
            let text = format!(
                "{} {} for={} proto={} host={} peer={}",
                meta.authority.as_ref().map_or("", Authority::as_str),
                request.uri().path(),
                header("x-forwarded-for"),
                header("x-forwarded-proto"),
                header("x-forwarded-host"),
                meta.peer.ip(),
            );
            plain_text(StatusCode::OK, text)
        })
    }
}

struct Fixture {
    address: SocketAddr,
    router: Router,
    reached: mpsc::UnboundedReceiver<()>,
    open: Arc<Semaphore>,
    draining: CancellationToken,
    serving: JoinHandle<()>,
}

impl Fixture {
    /// Starts a listener with one route, `a.localhost/api`, whose replica is ready.
    async fn start(drain: Duration) -> Self {
        Self::within(Limits::default(), drain).await
    }

    async fn within(limits: Limits, drain: Duration) -> Self {
        Self::in_front(limits, drain, |router| router).await
    }

    async fn in_front<F: Front>(
        limits: Limits,
        drain: Duration,
        front: impl FnOnce(Router) -> F,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (router, draining) = (Router::new(), CancellationToken::new());
        let (sender, reached) = mpsc::unbounded_channel();
        let open = Arc::new(Semaphore::new(100));
        let echo = Arc::new(Echo {
            reached: sender,
            open: Arc::clone(&open),
        });
        router.set(
            "r",
            vec![(Route::parse("a.localhost", "/api").unwrap(), echo)],
        );
        router.set_ready("r", true);
        let serving = tokio::spawn(serve_within(
            limits,
            listener,
            front(router.clone()),
            draining.clone(),
            drain,
        ));
        Self {
            address,
            router,
            reached,
            open,
            draining,
            serving,
        }
    }

    /// Returns everything that the ingress sends in response to these bytes, until it closes the
    /// connection.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_request_reaches_its_route_and_says_where_it_came_from() {
    let fixture = Fixture::start(HOUR).await;
    let answer = fixture
        .raw("GET /api/x?q HTTP/1.1\r\nHost: A.localhost:8000\r\nConnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.ends_with(
            "A.localhost:8000 /api/x for=127.0.0.1 proto=http host=A.localhost:8000 peer=127.0.0.1\n"
        ),
        "{answer}"
    );
}

#[tokio::test]
async fn fields_that_a_client_sends_about_itself_are_replaced() {
    let fixture = Fixture::start(HOUR).await;
    let answer = fixture
        .raw(
            "GET /api HTTP/1.1\r\nHost: a.localhost\r\nX-Forwarded-For: 10.0.0.1\r\nx-forwarded-for: 10.0.0.2\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert!(
        answer.contains("for=127.0.0.1 proto=http host=a.localhost "),
        "{answer}"
    );
}

#[tokio::test]
async fn answers_without_a_guest_are_short_text() {
    let fixture = Fixture::start(HOUR).await;
    for (request, status, text) in [
        (
            "GET /other HTTP/1.1\r\nHost: a.localhost\r\n",
            404,
            "host `a.localhost` and path `/other`",
        ),
        (
            "GET /api HTTP/1.1\r\nHost: b.localhost\r\n",
            404,
            "host `b.localhost`",
        ),
        ("GET /api HTTP/1.0\r\n", 404, "path `/api`"),
        ("GET /api HTTP/1.1\r\n", 400, "no Host"),
        (
            "GET /api HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
            400,
            "more than one Host",
        ),
        ("GET /api HTTP/1.1\r\nHost: a b\r\n", 400, "not a host"),
        (
            "CONNECT a.localhost:80 HTTP/1.1\r\nHost: a.localhost\r\n",
            501,
            "proxy",
        ),
        (
            "GET http://a.localhost/api HTTP/1.1\r\nHost: b.localhost\r\n",
            200,
            "a.localhost /api",
        ),
        (
            "GET http://a.localhost:80/api HTTP/1.1\r\nHost: b.localhost\r\n",
            200,
            "a.localhost:80 /api for=127.0.0.1 proto=http host=a.localhost:80 ",
        ),
        (
            "GET http://me:secret@a.localhost:80/api HTTP/1.1\r\nHost: a.localhost\r\n",
            400,
            "leave out what is before the `@`",
        ),
        (
            "GET /api HTTP/1.1\r\nHost: me@a.localhost\r\n",
            400,
            "leave out what is before the `@`",
        ),
    ] {
        let answer = fixture
            .raw(&format!("{request}Connection: close\r\n\r\n"))
            .await;
        assert_eq!(answer[9..12], status.to_string(), "{request}");
        assert!(answer.contains("content-type: text/plain"), "{answer}");
        assert!(answer.contains(text), "{answer}");
    }
    fixture.router.set_ready("r", false);
    let answer = fixture
        .raw("GET /api HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"),
        "{answer}"
    );
}

#[tokio::test]
async fn http2_without_tls_is_spoken() {
    let fixture = Fixture::start(HOUR).await;
    let stream = TcpStream::connect(fixture.address).await.unwrap();
    let (mut client, connection) =
        conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://a.localhost/api")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(
        (response.version(), response.status()),
        (Version::HTTP_2, StatusCode::OK)
    );
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"a.localhost /api"), "{body:?}");
    fixture.draining.cancel();
    fixture.serving.await.unwrap();
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn draining_lets_requests_finish_and_takes_no_more() {
    let mut fixture = Fixture::start(HOUR).await;
    let closed = Arc::clone(&fixture.open)
        .acquire_many_owned(100)
        .await
        .unwrap();
    let mut stream = TcpStream::connect(fixture.address).await.unwrap();
    stream
        .write_all(b"GET /api HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
        .await
        .unwrap();
    // A connection that waits for its next request does not keep the ingress open.
    let _idle = TcpStream::connect(fixture.address).await.unwrap();
    fixture.reached.recv().await.unwrap();
    fixture.draining.cancel();
    drop(closed);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    fixture.serving.await.unwrap();
    assert!(TcpStream::connect(fixture.address).await.is_err());
}

#[tokio::test]
async fn draining_cuts_requests_that_take_too_long() {
    let mut fixture = Fixture::start(Duration::from_millis(50)).await;
    let _closed = Arc::clone(&fixture.open)
        .acquire_many_owned(100)
        .await
        .unwrap();
    let mut stream = TcpStream::connect(fixture.address).await.unwrap();
    stream
        .write_all(b"GET /api HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
        .await
        .unwrap();
    fixture.reached.recv().await.unwrap();
    fixture.draining.cancel();
    fixture.serving.await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap_or_default(), 0);
}

/// Heads of either version arrive byte by byte, or not at all. Each connection is cut in time, and
/// others are answered in the meantime.
#[tokio::test]
async fn a_head_that_does_not_end_in_time_is_cut_off() {
    let limits = Limits {
        head_timeout: Duration::from_millis(700),
        ..Limits::default()
    };
    let fixture = Fixture::within(limits, HOUR).await;
    let mut slow = Vec::new();
    for (first, rest) in [
        ("", ""),
        (
            "",
            "GET /api HTTP/1.1\r\nHost: a.localhost\r\nX-Very-Long-Field-That-Never-Comes-To-Its-End: ",
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
    ] {
        for _ in 0..8 {
            let mut client = TcpStream::connect(fixture.address).await.unwrap();
            slow.push(tokio::spawn(async move {
                client.write_all(first.as_bytes()).await.unwrap();
                let (mut from, mut to) = client.into_split();
                let drip = async {
                    for byte in rest.bytes().chain(std::iter::repeat(b'x')) {
                        time::sleep(Duration::from_millis(50)).await;
                        // If the other side has closed it, reading shows that.
                        if rest.is_empty() || to.write_all(&[byte]).await.is_err() {
                            future::pending::<()>().await;
                        }
                    }
                };
                let ended = async {
                    let mut answer = Vec::new();
                    let _ = from.read_to_end(&mut answer).await;
                };
                tokio::select! {
                    () = drip => {}
                    () = ended => {}
                }
            }));
        }
    }
    let request = "GET /api HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n";
    let mut answers = 0;
    while !slow.iter().all(JoinHandle::is_finished) {
        assert!(fixture.raw(request).await.starts_with("HTTP/1.1 200 "));
        answers += 1;
        time::sleep(Duration::from_millis(10)).await;
        assert!(answers < 6_000, "some were not cut");
    }
    assert!(answers > 5, "{answers} answers in the meantime");
}

/// A body that reports when it is dropped, and never ends.
struct Endless(mpsc::UnboundedSender<()>);

impl HttpTarget for Endless {
    fn admit(&self) -> Option<Admission> {
        Some(Admission::default())
    }

    fn call(
        &self,
        _: Admission,
        _: Request<ClientBody>,
        _: RequestMeta,
    ) -> BoxFuture<'static, Response<Body>> {
        let told = Dropped(self.0.clone());
        let chunks = futures::stream::repeat_with(move || {
            let _held = &told;
            Ok(Frame::data(Bytes::from_static(&[0; 16 << 10])))
        });
        let body = StreamBody::new(chunks).boxed_unsync();
        Box::pin(future::ready(Response::new(body)))
    }
}

struct Dropped(mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_off() {
    let limits = Limits {
        stall_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let fixture = Fixture::within(limits, HOUR).await;
    let (dropped, mut told) = mpsc::unbounded_channel();
    let route = Route::parse("endless.localhost", "/").unwrap();
    fixture
        .router
        .set("e", vec![(route, Arc::new(Endless(dropped)))]);
    fixture.router.set_ready("e", true);
    let mut client = TcpStream::connect(fixture.address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: endless.localhost\r\n\r\n")
        .await
        .unwrap();
    time::timeout(Duration::from_secs(60), told.recv())
        .await
        .unwrap()
        .unwrap();
    drop(client);
}
