//! Tests of which error code a guest sees for which failure.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::policy::tests::dns::Dns;

/// Returns the code by its name in `wasi:http`.
fn code(error: &Error) -> String {
    let text = format!("{error:?}");
    let end = text.find(['(', ' ', '{']).unwrap_or(text.len());
    text[..end].to_owned()
}

async fn failed(client: &Client, url: &str, timeouts: Timeouts) -> String {
    let sending = async {
        let response = client.send(get(url), timeouts).await?;
        response.into_body().collect().await
    };
    match within(sending).await {
        Ok(_) => "answered".to_owned(),
        Err(error) => code(&error),
    }
}

#[tokio::test]
async fn a_missing_connection_has_the_code_of_its_cause() {
    let dns = Dns::start(&[
        ("inside.example", "127.0.0.1", 60),
        ("link.example", "169.254.169.254", 60),
        ("null.example", "0.0.0.0", 60),
    ])
    .await;
    dns.zone.lock().broken.push("broken.example");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let egress = [
        "inside.example:*",
        "link.example:*",
        "null.example:*",
        "broken.example:*",
        "missing.example:*",
        "192.0.2.0/24:81",
        "host.warren.internal:*",
    ];
    let rig = Rig::with(&egress, Resolver::servers([dns.address]), Limits::default());
    let host = format!("http://host.warren.internal:{port}/");
    for (url, expected) in [
        // No listener exists.
        ("http://localhost/", "ConnectionRefused"),
        ("http://127.0.0.9:80/", "ConnectionRefused"),
        ("http://[::1]/", "ConnectionRefused"),
        ("http://inside.example/", "ConnectionRefused"),
        (host.as_str(), "ConnectionRefused"),
        // The policy refuses the name, the address or the port.
        ("http://other.example/", "HttpRequestDenied"),
        ("http://198.51.100.1/", "HttpRequestDenied"),
        ("http://192.0.2.1:80/", "HttpRequestDenied"),
        ("https://192.0.2.1/", "HttpRequestDenied"),
        ("http://169.254.169.254/", "HttpRequestDenied"),
        // The name is allowed, but leads to an address that no name may lead to.
        ("http://link.example/", "DestinationIpProhibited"),
        ("http://null.example/", "DestinationIpProhibited"),
        // The name has no address.
        ("http://missing.example/", "DnsError"),
        ("http://broken.example/", "DnsError"),
        ("http://a_b..example/", "HttpRequestUriInvalid"),
    ] {
        assert_eq!(
            failed(&rig.client, url, timeouts()).await,
            expected,
            "{url}"
        );
    }
    let without = Request::get("/path")
        .body(get("http://a/").into_body())
        .unwrap();
    let answer = rig.client.send(without, timeouts()).await;
    assert!(matches!(answer, Err(Error::HttpRequestUriInvalid)));
}

#[tokio::test]
async fn each_timeout_has_its_own_code() {
    let rig = Rig::new(&[]);
    let short = Duration::from_millis(50);
    // A listener whose backlog is full and stays full.
    let bound = rig.scope.bind("127.0.0.1:81".parse().unwrap()).unwrap();
    let _full = bound.listen(1).unwrap();
    let mut held = Vec::new();
    loop {
        let mut connecting = Box::pin(
            rig.scope
                .connect(None, "127.0.0.1:81".parse().unwrap())
                .unwrap(),
        );
        match futures::FutureExt::now_or_never(&mut connecting) {
            Some(stream) => held.push(stream.unwrap()),
            None => break,
        }
    }
    let connect = Timeouts {
        connect: short,
        ..timeouts()
    };
    let told = failed(&rig.client, "http://localhost:81/", connect).await;
    assert_eq!(told, "ConnectionTimeout");

    let _server = rig.serve(80);
    let first_byte = Timeouts {
        first_byte: short,
        ..timeouts()
    };
    let told = failed(&rig.client, "http://localhost/slow", first_byte).await;
    assert_eq!(told, "ConnectionReadTimeout");

    let mut listener = rig.listen("127.0.0.1:82");
    let _server = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap();
        let _request = stream.read(&mut [0; 1024]).await.unwrap();
        let part = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart";
        stream.write_all(part).await.unwrap();
        std::future::pending::<()>().await;
    }));
    let between = Timeouts {
        between_bytes: short,
        ..timeouts()
    };
    let response = within(rig.client.send(get("http://localhost:82/"), between)).await;
    let mut body = response.unwrap().into_body();
    let part = within(body.frame()).await.unwrap().unwrap();
    assert_eq!(part.into_data().unwrap(), "part");
    // The timeout does not cover the time that the guest itself takes.
    tokio::time::sleep(short * 2).await;
    let waiting = tokio::time::Instant::now();
    let error = within(body.frame()).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error:?}");
    assert!(waiting.elapsed() >= short);
}

#[tokio::test]
async fn invalid_responses_have_the_code_of_their_fault() {
    let many = "x: y\r\n".repeat(201);
    let large = format!("x: {}\r\n", "y".repeat(65_600));
    let long = format!("x: {}\r\n", "y".repeat(1 << 20));
    for (answer, expected) in [
        ("nonsense\r\n\r\n", "HttpProtocolError"),
        ("HTTP/1.1 200 OK\r\ncontent-le", "ConnectionTerminated"),
        ("", "ConnectionTerminated"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart",
            "HttpResponseIncomplete",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\npa",
            "HttpResponseIncomplete",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
            "HttpProtocolError",
        ),
        (
            &format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
            "HttpResponseHeaderSectionSize",
        ),
        // The first bytes are sent with the rest, and separately.
        (
            &format!("HTTP/1.1 200 OK\r\n{large}\r\n"),
            "HttpResponseHeaderSectionSize",
        ),
        (
            &format!("HTTP/1.1 200 OK\r\n{large}\r\n{large}"),
            "HttpResponseHeaderSectionSize",
        ),
        (
            &format!("HTTP/1.1 200 OK\r\n{long}\r\n"),
            "HttpResponseHeaderSectionSize",
        ),
    ] {
        let rig = Rig::new(&[]);
        let mut listener = rig.listen("127.0.0.1:80");
        let bytes = answer.to_owned();
        let server = tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap();
            let _request = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(bytes.as_bytes()).await;
        });
        let told = failed(&rig.client, "http://localhost/", timeouts()).await;
        let shown = &answer[..answer.len().min(60)];
        assert_eq!(told, expected, "{shown:?}");
        within(server).await.unwrap();
    }
}

#[tokio::test]
async fn heads_pass_up_to_their_limits() {
    let many = "x: y\r\n".repeat(200);
    let large = format!("x: {}\r\n", "y".repeat(65_000));
    for fields in [many, large] {
        let rig = Rig::new(&[]);
        let mut listener = rig.listen("127.0.0.1:80");
        let server = tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap();
            let _request = stream.read(&mut [0; 1024]).await.unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\nfine");
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        assert_eq!(text(&rig.client, "http://localhost/").await, "fine");
        within(server).await.unwrap();
    }
    let rig = Rig::new(&[]);
    let server = rig.serve(80);
    let mut request = get("http://localhost/");
    let value = "y".repeat(65_600).parse().unwrap();
    request.headers_mut().insert("x-large", value);
    let refused = rig.client.send(request, timeouts()).await;
    assert!(
        matches!(
            refused,
            Err(Error::HttpRequestHeaderSectionSize(Some(65_639)))
        ),
        "{:?}",
        refused.map(drop)
    );
    assert_eq!(server.connections(), 0);
}

/// The server has sent its answer and takes no more. However much of the request was already sent,
/// the guest gets the answer.
#[tokio::test]
async fn an_answer_that_comes_before_the_request_has_ended_is_whole() {
    let rig = Rig::new(&[]);
    let mut listener = rig.listen("127.0.0.1:80");
    let long = "x".repeat(200_000);
    let server = AbortOnDropHandle::new(tokio::spawn({
        let long = long.clone();
        async move {
            loop {
                let mut stream = listener.accept().await.unwrap();
                let _request = stream.read(&mut [0; 1024]).await.unwrap();
                let length = long.len();
                let answer = format!("HTTP/1.1 413 X\r\ncontent-length: {length}\r\n\r\n{long}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    }));
    for _ in 0..20 {
        let (to, from) = frames::<Error>();
        let chunk = Bytes::from(vec![b'u'; 16 << 10]);
        let sends = AbortOnDropHandle::new(tokio::spawn(async move {
            while to.send(Ok(Frame::data(chunk.clone()))).await.is_ok() {}
        }));
        let request = Request::post("http://localhost/").body(from.boxed_unsync());
        let response = within(rig.client.send(request.unwrap(), timeouts()))
            .await
            .unwrap();
        assert_eq!(response.status(), 413);
        let body = within(response.into_body().collect()).await.unwrap();
        assert_eq!(body.to_bytes(), long.as_bytes());
        // The rest of the request is not read.
        within(sends).await.unwrap();
    }
    drop(server);
}

#[tokio::test]
async fn a_body_that_the_guest_breaks_off_is_reported_with_its_own_error() {
    let rig = Rig::new(&[]);
    let server = rig.serve(80);
    let (to, from) = frames::<Error>();
    let body = from.boxed_unsync();
    let request = Request::post("http://localhost/slow").body(body).unwrap();
    let sending = tokio::spawn({
        let client = Arc::clone(&rig.client);
        async move { client.send(request, timeouts()).await.map(drop) }
    });
    within(to.send(Ok(Frame::data("part".into()))))
        .await
        .unwrap();
    until(|| server.connections() == 1).await;
    let broken = Err(Error::HttpRequestBodySize(Some(4)));
    within(to.send(broken)).await.unwrap();
    let told = within(sending).await.unwrap();
    assert!(
        matches!(told, Err(Error::HttpRequestBodySize(Some(4)))),
        "{told:?}"
    );
}
