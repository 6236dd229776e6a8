//! Tests of how an answer and its connection end.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    task::Poll,
};

use h2::Reason;
use http_body_util::Full;

use super::*;
use crate::http::listener::{
    exchange::{Budget, Unread},
    socket::Socket,
};

const SIZE: usize = 3_000_000;
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Answers as the test requires, and counts requests that were given up.
#[derive(Clone)]
struct Played {
    answer: Arc<dyn Fn(Request<ClientBody>) -> BoxFuture<'static, Response<Body>> + Send + Sync>,
    given_up: Arc<AtomicUsize>,
}

struct Running(Option<Arc<AtomicUsize>>);

impl Running {
    fn answered(&mut self) {
        self.0 = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(given_up) = self.0.take() {
            given_up.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Front for Played {
    fn answer(
        &self,
        request: Request<ClientBody>,
        _: &Client,
    ) -> BoxFuture<'static, Response<Body>> {
        let (answer, mut running) = (
            (self.answer)(request),
            Running(Some(Arc::clone(&self.given_up))),
        );
        Box::pin(async move {
            let response = answer.await;
            running.answered();
            response
        })
    }
}

pub(super) struct Server {
    address: SocketAddr,
    given_up: Arc<AtomicUsize>,
    draining: CancellationToken,
    serving: JoinHandle<()>,
}

impl Server {
    pub async fn start<F>(answer: impl Fn(Request<ClientBody>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (given_up, draining) = (Arc::<AtomicUsize>::default(), CancellationToken::new());
        let front = Played {
            answer: Arc::new(move |request| Box::pin(answer(request))),
            given_up: Arc::clone(&given_up),
        };
        let serving = tokio::spawn(serve(listener, front, draining.clone(), HOUR));
        Self {
            address,
            given_up,
            draining,
            serving,
        }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends the whole request, then reads until the connection ends.
    pub async fn ask(&self, request: &[u8], half_close: bool) -> String {
        let mut client = self.connect().await;
        client.write_all(request).await.unwrap();
        if half_close {
            client.shutdown().await.unwrap();
        }
        rest(&mut client).await
    }

    async fn http2(&self) -> h2::client::SendRequest<Bytes> {
        let (client, connection) = h2::client::handshake(self.connect().await).await.unwrap();
        tokio::spawn(connection);
        client.ready().await.unwrap()
    }
}

async fn rest(client: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = time::timeout(PATIENCE, client.read_to_end(&mut answer));
    read.await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

fn post(path: &str, size: usize, more: &str) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n{more}\r\n");
    let mut bytes = head.into_bytes();
    bytes.resize(bytes.len() + size, b'x');
    bytes
}

pub(super) fn text(text: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(text.into()).map_err(|never| match never {});
    Response::new(body.boxed_unsync())
}

/// Returns a body of these frames, which fails at `None`.
pub(super) fn frames(frames: &'static [Option<&'static str>]) -> Body {
    let frames = frames.iter().map(|frame| match frame {
        Some(data) => Ok(Frame::data(Bytes::from_static(data.as_bytes()))),
        None => Err("as played".into()),
    });
    StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_sends_first() {
    let server = Server::start(async |request: Request<ClientBody>| {
        drop(request);
        plain_text(StatusCode::PAYLOAD_TOO_LARGE, "too much")
    })
    .await;
    for more in ["", "Connection: close\r\n"] {
        let mut both = post("/", SIZE, more);
        if more.is_empty() {
            // The connection stays usable, with the next request after the body that was not read.
            both.extend(post("/", 3, "Connection: close\r\n"));
        }
        let answer = server.ask(&both, false).await;
        let count = answer.matches("HTTP/1.1 413 ").count();
        assert_eq!(count, if more.is_empty() { 2 } else { 1 }, "{answer}");
    }
    let mut chunked =
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..200 {
        chunked.extend(b"4000\r\n");
        chunked.resize(chunked.len() + 0x4000, b'x');
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    assert!(
        server
            .ask(&chunked, false)
            .await
            .starts_with("HTTP/1.1 413 ")
    );
    // Bytes that are not HTTP, and heads that are not read, may be followed by a body.
    for head in [
        "NONSENSE\r\n\r\n".to_owned(),
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "y".repeat(300_000)
        ),
    ] {
        let mut request = head.into_bytes();
        request.resize(request.len() + SIZE, b'x');
        let answer = server.ask(&request, false).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    // None of them delays the end.
    server.draining.cancel();
    time::timeout(PATIENCE, server.serving)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn an_early_answer_larger_than_all_buffers_reaches_such_a_client() {
    const LARGE: usize = 32 << 20;
    let server = Server::start(async |_| text(vec![b'y'; LARGE])).await;
    let request = post("/", LARGE, "Connection: close\r\n");
    let answer = server.ask(&request, false).await;
    assert!(
        answer.len() > LARGE && answer.ends_with("yyyy"),
        "{}",
        answer.len()
    );
}

#[tokio::test]
async fn a_client_that_waits_for_continue_is_not_asked_for_an_unwanted_body() {
    let server = Server::start(async |_| text("no")).await;
    let mut client = server.connect().await;
    let head =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 64];
    let count = client.read(&mut answer).await.unwrap();
    assert!(answer[..count].starts_with(b"HTTP/1.1 200 "));
}

#[tokio::test]
async fn http2_ends_an_unread_upload_without_an_error() {
    let server = Server::start(async |_| text("early")).await;
    let mut client = server.http2().await;
    let request = Request::post("http://a/").body(()).unwrap();
    let (response, mut upload) = client.send_request(request, false).unwrap();
    // The client would send for ever.
    let sending = future::poll_fn(|cx| {
        loop {
            if let Poll::Ready(reason) = upload.poll_reset(cx) {
                return Poll::Ready(reason.unwrap());
            }
            upload.reserve_capacity(16 << 10);
            match std::task::ready!(upload.poll_capacity(cx)) {
                Some(Ok(capacity)) => upload.send_data(vec![0; capacity].into(), false).unwrap(),
                _ => return Poll::Pending,
            }
        }
    });
    let (reason, response) = time::timeout(PATIENCE, futures::future::join(sending, response))
        .await
        .unwrap();
    assert_eq!(reason, Reason::NO_ERROR);
    let mut body = response.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "early");
    assert!(body.data().await.is_none() && body.is_end_stream());
}

#[tokio::test]
async fn a_client_that_has_half_closed_is_answered_and_one_that_is_gone_is_not() {
    let (open, arrived) = (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default());
    let (gate, count) = (Arc::clone(&open), Arc::clone(&arrived));
    let server = Server::start(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        let gate = Arc::clone(&gate);
        async move {
            let _permit = gate.acquire().await;
            text("late")
        }
    })
    .await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut waiting = server.connect().await;
    waiting.write_all(request).await.unwrap();
    waiting.shutdown().await.unwrap();
    let mut gone = server.connect().await;
    gone.write_all(request).await.unwrap();
    let both = async {
        while arrived.load(Ordering::Relaxed) < 2 {
            time::sleep(Duration::from_millis(5)).await;
        }
    };
    time::timeout(PATIENCE, both).await.unwrap();
    gone.set_zero_linger().unwrap();
    drop(gone);
    let noticed = async {
        while server.given_up.load(Ordering::Relaxed) == 0 {
            time::sleep(Duration::from_millis(5)).await;
        }
    };
    time::timeout(PATIENCE, noticed).await.unwrap();
    open.add_permits(1);
    let answer = rest(&mut waiting).await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "{answer}");
    assert_eq!(server.given_up.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_request_that_ends_too_early_is_the_clients_failure() {
    let server = Server::start(async |request: Request<ClientBody>| {
        match request.into_body().collect().await {
            Ok(_) => text("whole"),
            Err(_) => plain_text(StatusCode::INTERNAL_SERVER_ERROR, "a part"),
        }
    })
    .await;
    let mut request = post("/", 100, "");
    assert!(
        server
            .ask(&request, true)
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    request.truncate(request.len() - 1);
    let answer = server.ask(&request, true).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn the_kernel_probes_for_clients_that_have_disappeared() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    probe_silent_clients(&listener);
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (_client, accepted) = futures::future::join(connecting, listener.accept()).await;
    let (accepted, _) = accepted.unwrap();
    assert!(sockopt::socket_keepalive(&accepted).unwrap());
    assert_eq!(sockopt::tcp_keepidle(&accepted).unwrap(), KEEP_ALIVE);
    assert_eq!(sockopt::tcp_keepintvl(&accepted).unwrap(), KEEP_ALIVE);
}

/// Returns a client's socket, and the worker's side of it.
async fn pair() -> (TcpStream, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = futures::future::join(connecting, listener.accept()).await;
    (
        client.unwrap(),
        Socket::new(accepted.unwrap().0, Arc::default()),
    )
}

#[tokio::test]
async fn lingering_ends_with_the_client_the_budget_or_the_time() {
    let never = CancellationToken::new();
    let budget = |bytes, time| Budget::new(Unread { bytes, time });

    let (mut client, socket) = pair().await;
    client.write_all(&[0; 5000]).await.unwrap();
    client.shutdown().await.unwrap();
    time::timeout(PATIENCE, socket.linger(&budget(1 << 20, HOUR), &never))
        .await
        .unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "closed cleanly");

    let (mut client, socket) = pair().await;
    client.write_all(&[0; 5000]).await.unwrap();
    time::timeout(PATIENCE, socket.linger(&budget(1000, HOUR), &never))
        .await
        .unwrap();

    // This client sends for ever, a little at a time.
    for (time, draining) in [(Duration::from_millis(300), false), (HOUR, true)] {
        let (mut client, socket) = pair().await;
        let drip = async {
            while client.write_all(&[0]).await.is_ok() {
                time::sleep(Duration::from_millis(20)).await;
            }
        };
        let ending = CancellationToken::new();
        if draining {
            ending.cancel();
        }
        let (budget, linger) = (budget(1 << 20, time), socket);
        let lingering = async {
            linger.linger(&budget, &ending).await;
        };
        let both = futures::future::join(drip, lingering);
        time::timeout(PATIENCE, both).await.unwrap();
    }
}
