//! Tests of services that speak HTTP/2.

use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Bytes, Frame, Incoming},
    client::conn,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;

use super::*;

type Client = conn::http2::SendRequest<Full<Bytes>>;

impl Rig {
    /// Returns a client with one HTTP/2 connection to the ingress.
    async fn http2(&self) -> Client {
        let io = TokioIo::new(self.client().await);
        let executor = TokioExecutor::new();
        let (client, connection) = conn::http2::handshake(executor, io).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

/// Echoes each request's body with trailers, on every connection. Reports each connection, the path
/// of each request when it arrives, and `gone PATH` when it was given up. A request for `/wait` is
/// never answered.
fn serve(mut listener: Listener) -> mpsc::UnboundedReceiver<String> {
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(stream) = listener.accept().await {
            let _ = tell.send("connection".to_owned());
            let tell = tell.clone();
            let service = service_fn(move |request| echo(request, tell.clone()));
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    told
}

struct Gone(String, mpsc::UnboundedSender<String>);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = self.1.send(format!("gone {}", self.0));
    }
}

async fn echo(
    request: Request<Incoming>,
    tell: mpsc::UnboundedSender<String>,
) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().to_string();
    let _ = tell.send(path.clone());
    if path.ends_with("/wait") {
        let _gone = Gone(path, tell);
        std::future::pending::<()>().await;
    }
    let (parts, body) = request.into_parts();
    let te = parts.headers.get(header::TE).cloned();
    let data = body.collect().await?.to_bytes();
    let frames = [
        Ok(Frame::data(data)),
        Ok(Frame::trailers(HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("0"),
        )]))),
    ];
    let body = http_body_util::StreamBody::new(futures::stream::iter(frames));
    let mut response = Response::new(Body::new(body));
    if let Some(te) = te {
        response.headers_mut().insert("x-te", te);
    }
    Ok(response)
}

fn request(uri: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::post(uri)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::from(body))
        .unwrap()
}

#[tokio::test]
async fn grpc_goes_through_whatever_the_routes_protocol() {
    for host in ["a.localhost", "b.localhost"] {
        let rig = Rig::start(QUICK).await;
        let mut told = serve(rig.listen());
        let mut client = rig.http2().await;
        for _ in 0..3 {
            let sent = client.send_request(request(&format!("http://{host}/x"), "hello"));
            let response = within(sent).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()["x-te"], "trailers");
            let body = within(response.into_body().collect()).await.unwrap();
            assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
            assert_eq!(body.to_bytes(), "hello");
        }
        let target = format!("http://{host}/x");
        let wanted = ["connection", &target, &target, &target];
        for wanted in wanted {
            assert_eq!(told.recv().await.unwrap(), wanted, "all on one connection");
        }
    }
}

#[tokio::test]
async fn a_client_of_http1_reaches_a_service_of_http2() {
    let rig = Rig::start(QUICK).await;
    let _told = serve(rig.listen());
    let answer = rig
        .ask("POST / HTTP/1.1\r\nHost: b.localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\n5\r\nhello\r\n0\r\n"), "{answer}");
}

/// The service has sent its answer and reads no more. However much of the request was already sent,
/// the client gets the answer.
#[tokio::test]
async fn an_answer_before_the_end_of_a_request_is_whole_though_the_service_closes() {
    let long = "x".repeat(200_000);
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    for _ in 0..20 {
        let io = TokioIo::new(rig.client().await);
        let handshake = conn::http2::handshake(TokioExecutor::new(), io);
        let (mut client, connection) = handshake.await.unwrap();
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        // This body has no end.
        let chunk = Bytes::from(vec![b'u'; 16 << 10]);
        let frames =
            futures::stream::repeat_with(move || Ok::<_, io::Error>(Frame::data(chunk.clone())));
        let body = http_body_util::StreamBody::new(frames);
        let request = Request::post("http://a.localhost/").body(body).unwrap();
        let sent = tokio::spawn(async move { client.send_request(request).await });
        let mut guest = accept(&mut listener).await;
        head(&mut guest).await;
        let length = long.len();
        let answer = format!("HTTP/1.1 413 X\r\nContent-Length: {length}\r\n\r\n{long}");
        write(&mut guest, &answer).await;
        drop(guest);
        let response = within(sent).await.unwrap().unwrap();
        assert_eq!(response.status(), 413);
        let body = within(response.into_body().collect()).await.unwrap();
        assert_eq!(body.to_bytes(), long.as_bytes());
        drop(connection);
    }
}

#[tokio::test]
async fn a_crowd_shares_few_connections() {
    let rig = Rig::start(QUICK).await;
    let mut told = serve(rig.listen());
    let mut waiting = Vec::new();
    for _ in 0..150 {
        let mut client = rig.http2().await;
        waiting.push(tokio::spawn(async move {
            client
                .send_request(request("http://b.localhost/wait", ""))
                .await
        }));
    }
    let (mut connections, mut requests) = (0, 0);
    while requests < 150 {
        match within(told.recv()).await.unwrap().as_str() {
            "connection" => connections += 1,
            _ => requests += 1,
        }
    }
    assert_eq!(connections, 2);
    for request in waiting {
        request.abort();
    }
}

#[tokio::test]
async fn only_a_request_that_is_given_up_is_reset() {
    let rig = Rig::start(QUICK).await;
    let mut told = serve(rig.listen());
    let mut client = rig.http2().await;
    let mut other = rig.http2().await;
    let waits = tokio::spawn(async move {
        let _ = client
            .send_request(request("http://b.localhost/wait", ""))
            .await;
    });
    for wanted in ["connection", "http://b.localhost/wait"] {
        assert_eq!(within(told.recv()).await.unwrap(), wanted);
    }
    waits.abort();
    assert_eq!(
        within(told.recv()).await.unwrap(),
        "gone http://b.localhost/wait"
    );
    let response = within(other.send_request(request("http://b.localhost/x", "x")))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(within(told.recv()).await.unwrap(), "http://b.localhost/x");
}

#[tokio::test]
async fn idle_connections_are_closed_and_opened_again() {
    let limits = PortLimits {
        idle_timeout: Duration::from_millis(50),
        ..QUICK
    };
    let rig = Rig::start(limits).await;
    let mut told = serve(rig.listen());
    for _ in 0..2 {
        let mut client = rig.http2().await;
        let sent = client.send_request(request("http://b.localhost/x", "x"));
        within(within(sent).await.unwrap().into_body().collect())
            .await
            .unwrap();
        assert_eq!(within(told.recv()).await.unwrap(), "connection");
        assert_eq!(within(told.recv()).await.unwrap(), "http://b.localhost/x");
        rig.is_quiet().await;
    }
}

#[tokio::test]
async fn a_service_that_does_not_speak_http2_is_reported() {
    let rig = Rig::start(QUICK).await;
    let mut listener = rig.listen();
    let mut client = rig
        .send("GET / HTTP/1.1\r\nHost: b.localhost\r\nConnection: close\r\n\r\n")
        .await;
    let mut guest = accept(&mut listener).await;
    write(
        &mut guest,
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let answer = rest(&mut client).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("did not answer in HTTP/2"), "{answer}");
}

/// Answers each request with this head and body, on every connection.
fn serve_response(mut listener: Listener, head: http::response::Builder, body: &'static str) {
    let response = head.body(()).unwrap();
    tokio::spawn(async move {
        while let Ok(stream) = listener.accept().await {
            let response = response.clone();
            let service = service_fn(move |_| {
                let body = Full::new(Bytes::from_static(body.as_bytes()));
                let response = response.clone().map(|()| body);
                async move { Ok::<_, std::convert::Infallible>(response) }
            });
            let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server.max_send_buf_size(1 << 20);
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
}

#[tokio::test]
async fn responses_that_are_not_valid_become_a_502_with_the_reason() {
    let fields = |count| {
        let head = Response::builder();
        (0..count).fold(head, |head, n| head.header(format!("x-{n}"), "v"))
    };
    let field = |bytes| Response::builder().header("x-large", "v".repeat(bytes));
    let lengths = |lengths: [&str; 2]| {
        let head = Response::builder();
        lengths
            .into_iter()
            .fold(head, |head, n| head.header("content-length", n))
    };
    for (head, words) in [
        // Either h2 or this ingress refuses it.
        (lengths(["2", "3"]), "port 80 of the service"),
        (fields(201), "at most 200 fields are passed on"),
        (field(65_600), "at most 65536 bytes are passed on"),
        (field(200_000), "at most 65536 bytes are passed on"),
    ] {
        let rig = Rig::start(QUICK).await;
        serve_response(rig.listen(), head, "ok");
        let answer = rig.ask(&GET.replace("a.localhost", "b.localhost")).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert!(answer.contains(words), "{answer}");
    }
    for head in [fields(190), field(65_000)] {
        let rig = Rig::start(QUICK).await;
        serve_response(rig.listen(), head, "ok");
        let answer = rig.ask(&GET.replace("a.localhost", "b.localhost")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[tokio::test]
async fn draining_waits_for_streams() {
    let rig = Rig::start(QUICK).await;
    let mut told = serve(rig.listen());
    let mut client = rig.http2().await;
    let waits = tokio::spawn(async move {
        client
            .send_request(request("http://b.localhost/wait", ""))
            .await
    });
    for _ in 0..2 {
        within(told.recv()).await.unwrap();
    }
    let drained = tokio::spawn({
        let port = Arc::clone(&rig.port);
        async move { port.drain().await }
    });
    tokio::task::yield_now().await;
    assert!(!drained.is_finished());
    rig.service.end(warren_net::End::Aborted);
    let response = within(waits).await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    within(drained).await.unwrap();
}
