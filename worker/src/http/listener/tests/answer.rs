//! Tests of answers as clients of both versions see them, whatever produced them.

use std::{
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
};

use http::{HeaderValue, header};
use hyper::body::Body as HttpBody;

use super::{
    ends::{PATIENCE, Server, frames, text},
    *,
};

/// Returns what a client of each version sees: the status, the body, and whether it was complete.
async fn seen(server: &Server, method: &str, path: &str) -> [(u16, String, bool); 2] {
    let stream = TokioIo::new(server.connect().await);
    let (mut client, connection) = conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "a");
    let answer = client.send_request(request.body(Empty::<Bytes>::new()).unwrap());
    let first = read(time::timeout(PATIENCE, answer).await.unwrap().unwrap()).await;
    let stream = TokioIo::new(server.connect().await);
    let (mut client, connection) = conn::http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(format!("http://a{path}"));
    let answer = client.send_request(request.body(Empty::<Bytes>::new()).unwrap());
    let second = read(time::timeout(PATIENCE, answer).await.unwrap().unwrap()).await;
    [first, second]
}

async fn read<B>(response: Response<B>) -> (u16, String, bool)
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    let whole = loop {
        match time::timeout(PATIENCE, body.frame()).await.unwrap() {
            None => break true,
            Some(Err(_)) => break false,
            Some(Ok(frame)) => bytes.extend(frame.into_data().unwrap_or_default()),
        }
    };
    (
        head.status.as_u16(),
        String::from_utf8(bytes).unwrap(),
        whole,
    )
}

#[tokio::test]
async fn an_answer_ends_as_its_head_announced_or_breaks_off() {
    let server = Server::start(async |request: Request<ClientBody>| {
        let (status, length, body) = match request.uri().path() {
            "/fails-at-once" => (200, None, frames(&[None])),
            "/fails" => (200, None, frames(&[Some("part"), None])),
            "/short" => (200, Some(9), frames(&[Some("part")])),
            "/empty" => (200, Some(9), frames(&[])),
            "/long" => (200, Some(3), frames(&[Some("ok\n"), Some("more")])),
            "/exact" => (200, Some(4), frames(&[Some("pa"), Some(""), Some("rt")])),
            "/103" => (103, None, frames(&[Some("hint")])),
            "/101" => (101, None, frames(&[])),
            "/204" => (204, Some(4), frames(&[Some("part")])),
            _ => (304, Some(4), frames(&[Some("part")])),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(length) = length {
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        response
    })
    .await;
    for (method, path, status, body, whole) in [
        ("GET", "/fails-at-once", 200, "", false),
        ("GET", "/fails", 200, "part", false),
        ("GET", "/short", 200, "part", false),
        ("GET", "/empty", 200, "", false),
        ("GET", "/long", 200, "ok\n", false),
        ("GET", "/exact", 200, "part", true),
        ("HEAD", "/exact", 200, "", true),
        ("HEAD", "/short", 200, "", true),
        ("GET", "/103", 502, "103", true),
        ("GET", "/101", 502, "101", true),
        ("GET", "/204", 204, "", true),
        ("GET", "/304", 304, "", true),
    ] {
        for (version, seen) in seen(&server, method, path).await.into_iter().enumerate() {
            // A client of HTTP/1.1 waits only for the announced bytes of an answer that is too
            // long.
            let whole = whole || path == "/long" && version == 0;
            assert_eq!(
                (seen.0, seen.2),
                (status, whole),
                "{method} {path}: {seen:?}"
            );
            assert!(seen.1.contains(body), "{method} {path}: {seen:?}");
            assert!(
                !body.is_empty() || seen.1.is_empty(),
                "{method} {path}: {seen:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_rest_of_a_complete_answer_is_read_to_its_end() {
    struct Slow {
        given: bool,
        gate: BoxFuture<'static, ()>,
        ended: Arc<AtomicUsize>,
    }
    impl HttpBody for Slow {
        type Data = Bytes;
        type Error = crate::http::BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            if !self.given {
                self.given = true;
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"done")))));
            }
            std::task::ready!(self.gate.as_mut().poll(cx));
            self.ended.fetch_add(1, Ordering::Relaxed);
            Poll::Ready(None)
        }
    }
    let (gate, ended) = (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default());
    let (open, seen) = (Arc::clone(&gate), Arc::clone(&ended));
    let server = Server::start(move |_| {
        let (open, ended) = (Arc::clone(&open), Arc::clone(&seen));
        async move {
            let gate = Box::pin(async move {
                let _permit = open.acquire().await;
            });
            let body = Slow {
                given: false,
                gate,
                ended,
            };
            let response = Response::builder().header(header::CONTENT_LENGTH, 4);
            response.body(body.boxed_unsync()).unwrap()
        }
    })
    .await;
    let answer = server
        .ask(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            false,
        )
        .await;
    assert!(answer.ends_with("done"), "{answer}");
    assert_eq!(ended.load(Ordering::Relaxed), 0);
    gate.add_permits(1);
    let end = async {
        while ended.load(Ordering::Relaxed) == 0 {
            time::sleep(Duration::from_millis(5)).await;
        }
    };
    time::timeout(PATIENCE, end).await.unwrap();
}

#[tokio::test]
async fn one_limit_of_heads_applies_to_every_version() {
    let server = Server::start(async |request: Request<ClientBody>| {
        let mut response = text("ok");
        if request.uri().path() == "/huge" {
            let value = HeaderValue::try_from("h".repeat(MAX_HEAD as usize)).unwrap();
            response.headers_mut().insert("x-huge", value);
        }
        response
    })
    .await;
    for answer in seen(&server, "GET", "/huge").await {
        assert!(answer.0 == 502 && answer.1.contains("65536"), "{answer:?}");
    }
    // The limit does not depend on what is before the head in the same buffer.
    let head = |size| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "y".repeat(size)
        )
    };
    for size in [60_000, 66_000, 70_000, 90_000, 110_000] {
        for before in [0, 1, 10_000, 60_000] {
            let requests = head(before)
                + &head(size)
                + "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            let answer = server.ask(requests.as_bytes(), false).await;
            let refused = answer.matches("HTTP/1.1 431 ").count();
            assert_eq!(
                refused,
                usize::from(size > 65_000),
                "{size} after {before}: {answer}"
            );
            assert_eq!(
                answer.matches("HTTP/1.1 200 ").count(),
                3 - refused,
                "{answer}"
            );
        }
    }
}
