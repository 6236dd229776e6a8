//! Tests of what a request claims: to be forwarded, to come from a proxy, to be for a user.

use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

/// Sends one HTTP/2 request, and returns its status and text.
async fn ask_http2(to: SocketAddr, uri: &str, fields: &[(&str, &str)]) -> (StatusCode, String) {
    let stream = TcpStream::connect(to).await.unwrap();
    let client = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = client.await.unwrap();
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut request = Request::get(uri).version(http::Version::HTTP_2);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let answer = timeout(PATIENCE, sender.send_request(request)).await;
    let (head, body) = answer.unwrap().unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, String::from_utf8(body.to_vec()).unwrap())
}

/// Sends the request by both versions of HTTP, which must be answered alike.
async fn ask_both(to: SocketAddr, host: &str, path: &str, fields: &[(&str, &str)]) -> String {
    let lines: String = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}Connection: close\r\n\r\n");
    let answer = ask(to, &request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let (status, text) = ask_http2(to, &format!("http://{host}{path}"), fields).await;
    assert_eq!(head[9..12], *status.as_str(), "{answer} {text}");
    assert_eq!(body, text);
    format!("{} {text}", status.as_str())
}

#[tokio::test]
async fn a_route_that_a_request_names_must_be_one_of_its_host_and_path() {
    let worker = Worker::start("w1").await;
    worker.runs("admin.localhost", "/");
    worker.runs("a.localhost", "/api");
    for (host, path, route, status) in [
        ("admin.localhost", "/x", "admin.localhost/", "200"),
        ("ADMIN.localhost:80", "/", "admin.localhost/", "200"),
        ("a.localhost", "/api/x", "a.localhost/api", "200"),
        // These have another host or another path.
        ("a.localhost", "/x", "admin.localhost/", "400"),
        ("a.localhost", "/apix", "a.localhost/api", "400"),
        ("a.localhost", "/", "a.localhost/api", "400"),
        ("evil.localhost", "/api", "a.localhost/api", "400"),
        ("a.localhost", "/api", "nonsense", "400"),
        // This route has no replica here.
        ("b.localhost", "/", "b.localhost/", "503"),
        // User information does not get around the check.
        ("admin.localhost@a.localhost", "/", "a.localhost/", "400"),
    ] {
        let before = worker.asked();
        let answer = ask_both(worker.listen, host, path, &[("warren-route", route)]).await;
        assert!(
            answer.starts_with(status),
            "{host}{path} by {route}: {answer}"
        );
        let reached = worker.asked() - before;
        assert_eq!(reached > 0, status == "200", "{host}{path} by {route}");
    }
}

#[tokio::test]
async fn claims_of_a_client_are_removed_whichever_worker_answers() {
    let (own, other) = (Worker::start("w1").await, Worker::start("w2").await);
    other.runs("a.localhost", "/");
    own.hears(1, "a.localhost", "/", &[&other]);
    let forged = [
        ("warren-route", "b.localhost/"),
        ("warren-client", "10.0.0.1:5"),
        ("warren-unserved", "1"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("x-forwarded-for", "10.0.0.2"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "admin.localhost"),
        ("X-Forwarded-Port", "443"),
        ("Forwarded", "for=10.0.0.1;proto=https"),
        ("X-Real-IP", "10.0.0.1"),
        ("x_forwarded_for", "10.0.0.1"),
    ];
    let through = ask_both(own.http, "a.localhost:8000", "/x", &forged).await;
    own.runs("a.localhost", "/");
    let direct = ask_both(own.http, "a.localhost:8000", "/x", &forged).await;
    let ours = "GET /x a.localhost:8000 0 forwarded=for=127.0.0.1;host=\"a.localhost:8000\";proto=http \
                x-forwarded-for=127.0.0.1 x-forwarded-host=a.localhost:8000 x-forwarded-port=8000 \
                x-forwarded-proto=http\n";
    assert_eq!(through, format!("200 w2 {ours}"));
    assert_eq!(direct, format!("200 w1 {ours}"));
    assert!(own.asked() > 0 && other.asked() > 0);
}

#[tokio::test]
async fn fields_of_a_trusted_proxy_arrive_whichever_worker_answers() {
    let (own, other) = (
        Worker::start_behind("w1", &["10.0.0.0/8", "127.0.0.0/8"]).await,
        Worker::start("w2").await,
    );
    other.runs("a.localhost", "/");
    own.hears(1, "a.localhost", "/", &[&other]);
    let said = [
        ("warren-client", "10.0.0.1:5"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "www.example"),
        ("X-Forwarded-Port", "443"),
        ("Forwarded", "for=203.0.113.9;proto=https"),
    ];
    let through = ask_both(own.http, "a.localhost", "/x", &said).await;
    own.runs("a.localhost", "/");
    let direct = ask_both(own.http, "a.localhost", "/x", &said).await;
    let continued = "GET /x a.localhost 0 \
                     forwarded=for=203.0.113.9;proto=https, for=127.0.0.1;host=\"a.localhost\";proto=http \
                     x-forwarded-for=203.0.113.9, 127.0.0.1 x-forwarded-host=www.example \
                     x-forwarded-port=443 x-forwarded-proto=https\n";
    assert_eq!(through, format!("200 w2 {continued}"));
    assert_eq!(direct, format!("200 w1 {continued}"));
}

#[tokio::test]
async fn a_user_before_the_host_is_refused() {
    let worker = Worker::start("w1").await;
    worker.runs("a.localhost", "/");
    for host in ["user@a.localhost", "user:secret@a.localhost:80"] {
        let answer = ask_both(worker.http, host, "/", &[]).await;
        assert!(answer.starts_with("400"), "{host}: {answer}");
        let absolute = format!(
            "GET http://{host}/ HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n"
        );
        let answer = worker.ask(&absolute).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{host}: {answer}");
    }
    assert_eq!(worker.asked(), 0);
    assert!(worker.get("/@x").await.starts_with("HTTP/1.1 200 "));
}
