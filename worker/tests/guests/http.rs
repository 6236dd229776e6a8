//! HTTP from the ingress to services: real servers in guests, correct and faulty ones.

use std::{net::SocketAddr, num::NonZeroU16, sync::Arc, time::Duration};

use futures::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use warren_model::{
    name::{Name, WorkloadId},
    route::Route,
    spec::RouteProtocol,
};
use warren_net::Counts;
use warren_worker::{
    http::{HttpTarget, listener},
    ingress::{PortLimits, Router, ServicePort, ServiceTarget},
    runtime::ComponentHandle,
};

use super::bench::{Bench, PATIENCE, Running, component, service};

/// A guest that listens on port 8080, and an ingress whose routes `a.localhost` and `b.localhost`
/// lead to it, the second over HTTP/2.
struct Site {
    bench: Bench,
    running: Running,
    port: Arc<ServicePort>,
    address: SocketAddr,
    _ingress: AbortOnDropHandle<()>,
}

impl Site {
    async fn start(guest: &str) -> Self {
        let bench = Bench::new();
        let running = bench.start(guest, &["8080"]).await;
        bench.listens(8080).await;
        let limits = PortLimits {
            head_timeout: Duration::from_secs(2),
            ..PortLimits::default()
        };
        let workload = WorkloadId {
            namespace: Name::parse("default").unwrap(),
            name: Name::parse("site").unwrap(),
        };
        let number = NonZeroU16::new(8080).unwrap();
        let (network, log) = (bench.context.network.clone(), bench.context.log.clone());
        let port = ServicePort::new(&workload, number, network, limits, log);
        let router = Router::new();
        let mut routes: Vec<(Route, Arc<dyn HttpTarget>)> = Vec::new();
        for (host, protocol) in [
            ("a.localhost", RouteProtocol::Http1),
            ("b.localhost", RouteProtocol::H2c),
        ] {
            let port = Arc::clone(&port);
            let target = Arc::new(ServiceTarget { port, protocol });
            routes.push((Route::parse(host, "/").unwrap(), target));
        }
        router.set("r", routes);
        router.set_ready("r", true);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = listener::serve(listener, router, CancellationToken::new(), PATIENCE);
        Self {
            bench,
            running,
            port,
            address,
            _ingress: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    async fn send(&self, request: &str) -> TcpStream {
        let mut client = TcpStream::connect(self.address).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }

    /// Sends a request and returns everything received until the connection is closed or reset.
    async fn ask(&self, request: &str) -> String {
        let mut client = self.send(request).await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, client.read_to_end(&mut answer))
            .await
            .unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, host: &str, path: &str) -> String {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ))
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hyper_server_in_a_guest_answers_over_both_versions() {
    let site = Site::start("web").await;
    for (host, version) in [("a.localhost", "HTTP/1.1"), ("b.localhost", "HTTP/2.0")] {
        let answer = site.get(host, "/where?q").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains(&format!("{version} from 192.0.0.8:")),
            "{answer}"
        );
        assert!(answer.contains("x-forwarded-for: 127.0.0.1"), "{answer}");
        assert!(answer.contains(host), "{answer}");

        let body = "x".repeat(1 << 20);
        let answer = site
            .ask(&format!(
                "POST /count HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await;
        assert!(answer.ends_with("\r\n\r\n1048576"), "{answer}");
        assert!(site.get(host, "/empty").await.starts_with("HTTP/1.1 204 "));
        let answer = site
            .ask(&format!(
                "POST /echo HTTP/1.1\r\nHost: {host}\r\nTE: trailers\r\nConnection: close, TE\r\n\
                 Transfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n"
            ))
            .await;
        assert!(
            answer.contains("5\r\nhello\r\n0\r\nx-sum: 7\r\n"),
            "{answer}"
        );
    }
    site.running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_client_talks_to_a_guest() {
    let site = Site::start("web").await;
    let stream = TcpStream::connect(site.address).await.unwrap();
    let (mut socket, response) = tokio_tungstenite::client_async("ws://a.localhost/ws", stream)
        .await
        .unwrap();
    assert_eq!(response.status(), 101);
    let large = "y".repeat(300_000);
    for text in ["one", "two", &large] {
        socket.send(Message::text(text)).await.unwrap();
        let back = timeout(PATIENCE, socket.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(back.into_text().unwrap(), text);
    }
    socket.close(None).await.unwrap();
    while let Some(message) = timeout(PATIENCE, socket.next()).await.unwrap() {
        assert!(message.unwrap().is_close());
    }
    site.bench.saw("ws: closed").await;

    // When the service ends, the connection ends too, and not cleanly.
    let stream = TcpStream::connect(site.address).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://a.localhost/ws", stream)
        .await
        .unwrap();
    site.running.kill().await;
    let broken = timeout(PATIENCE, socket.next()).await.unwrap();
    assert!(broken.is_none_or(|message| message.is_err()));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_one_by_one_and_stop_when_the_client_goes_away() {
    let site = Site::start("web").await;
    for host in ["a.localhost", "b.localhost"] {
        let request = format!("GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let mut client = site.send(&request).await;
        let mut seen = String::new();
        while !seen.contains("data: 3\n") {
            let mut bytes = [0; 1024];
            let n = timeout(PATIENCE, client.read(&mut bytes))
                .await
                .unwrap()
                .unwrap();
            assert!(n > 0, "{seen}");
            seen += std::str::from_utf8(&bytes[..n]).unwrap();
        }
        let told = site.bench.lines().await.len();
        drop(client);
        site.bench
            .saw_after(told, "events: the client is gone")
            .await;
    }
    site.running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn early_and_broken_answers_reach_the_client_as_they_are() {
    let site = Site::start("web").await;
    for host in ["a.localhost", "b.localhost"] {
        let request =
            format!("POST /early HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\nbegun");
        let mut client = site.send(&request).await;
        let mut answer = [0; 12];
        timeout(PATIENCE, client.read_exact(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413", "{host}");

        let answer = site.get(host, "/half").await;
        let whole = answer.ends_with("0\r\n\r\n");
        assert!(
            answer.contains("content-length: 100") && !whole,
            "{host}: {answer}"
        );
        let answer = site.get(host, "/slow?60000").await;
        assert!(answer.starts_with("HTTP/1.1 504 "), "{host}: {answer}");
    }
    site.running.kill().await;
}

/// A component's listener would disappear with its request, so it is refused, and the workload's
/// owner is told what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_listens_is_refused_by_name() {
    let mut bench = Bench::new();
    let api = component("api", "http-echo");
    let prepared = bench.prepare(service("web", &["8080"]), vec![api]).await;
    let router = Router::new();
    let target = Arc::new(ComponentHandle(Arc::clone(&prepared.components[0])));
    router.set(
        "r",
        vec![(Route::parse("a.localhost", "/").unwrap(), target)],
    );
    router.set_ready("r", true);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let _serving = AbortOnDropHandle::new(tokio::spawn(listener::serve(
        listener,
        router,
        CancellationToken::new(),
        PATIENCE,
    )));
    for _ in 0..3 {
        let mut client = TcpStream::connect(address).await.unwrap();
        let request =
            "GET /bind/127.0.0.1:9000 HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n";
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, client.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert!(answer.contains("error PermissionDenied"), "{answer}");
    }
    let refusal = bench.refused.try_recv().unwrap().to_string();
    for part in [
        "component `api`",
        "bind TCP 127.0.0.1:9000",
        "move the listener into the service",
    ] {
        assert!(refusal.contains(part), "{refusal}");
    }
    assert!(bench.refused.try_recv().is_err(), "it is reported once");
}

#[tokio::test(flavor = "multi_thread")]
async fn faulty_servers_only_affect_their_own_requests() {
    let site = Site::start("bad-http").await;
    for (path, status, text) in [
        ("/garbage", 502, "did not answer in HTTP/1.1"),
        ("/mid-head", 502, "closed the connection before it answered"),
        ("/never", 504, "did not begin to answer within 2s"),
        ("/huge", 502, "its head is too large"),
        ("/many", 502, "its head is too large"),
        ("/unasked", 502, "it switched protocols unasked"),
        ("/too-long", 200, "\r\n\r\nhello"),
        ("/two-lengths", 200, "hello"),
        ("/old", 200, "until the end"),
        // It depends on timing whether the bytes before the end arrive.
        ("/short", 200, ""),
        ("/close", 200, "ok"),
        ("/fine", 200, "ok"),
    ] {
        let answer = site.get("a.localhost", path).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
        assert!(answer.contains(text), "{path}: {answer}");
        assert!(!answer.contains("more"), "{path}: {answer}");
        // The next request is answered in any case.
        let answer = site.get("a.localhost", "/fine").await;
        assert!(answer.ends_with("\r\n\r\nok"), "after {path}: {answer}");
    }
    timeout(PATIENCE, site.port.drain()).await.unwrap();
    site.running.kill().await;
    assert_eq!(site.bench.context.network.counts(), Counts::default());
}
