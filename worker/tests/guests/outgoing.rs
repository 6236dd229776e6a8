//! HTTP requests that guests send: to their own service, to destinations that they may not reach,
//! and how connections are reused.

use std::{collections::HashSet, net::SocketAddr, num::NonZeroU16, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use warren_model::{
    route::Route,
    spec::{RouteProtocol, Service, ServiceRoute},
};
use warren_worker::{
    http::{HttpTarget, listener},
    ingress::Router,
    runtime::{ComponentHandle, Prepared},
};

use super::bench::{Bench, PATIENCE, Running, component, service};

/// A workload whose components fetch URLs on request: `old.localhost` with WASI 0.2,
/// `new.localhost` with 0.3.
struct Site {
    bench: Bench,
    prepared: Prepared,
    running: Running,
    address: SocketAddr,
    _ingress: AbortOnDropHandle<()>,
}

impl Site {
    async fn start(service: Service) -> Self {
        let bench = Bench::new();
        let components = vec![component("old", "http-echo"), component("new", "p3-http")];
        let prepared = bench.prepare(service, components).await;
        let running = Running::of(Arc::clone(prepared.service.as_ref().unwrap()));
        bench.listens(8080).await;
        let router = Router::new();
        let targets = prepared.components.iter().map(|component| {
            let host = format!("{}.localhost", component.name());
            let target: Arc<dyn HttpTarget> = Arc::new(ComponentHandle(Arc::clone(component)));
            (Route::parse(&host, "/").unwrap(), target)
        });
        router.set("r", targets.collect());
        router.set_ready("r", true);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = listener::serve(listener, router, CancellationToken::new(), PATIENCE);
        Self {
            bench,
            prepared,
            running,
            address,
            _ingress: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    /// Sends a request, of which the first line and what follows the host are given, and returns
    /// the whole answer.
    async fn ask(&self, host: &str, line: &str, rest: &str) -> String {
        let mut client = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{rest}");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let reading = client.read_to_end(&mut answer);
        let _ = timeout(PATIENCE, reading).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn fetch(&self, host: &str, url: &str) -> String {
        self.ask(host, &format!("GET /fetch?{url}"), "\r\n").await
    }
}

/// Returns the client port that the service saw.
fn port(answer: &str) -> u16 {
    let (_, rest) = answer.split_once(" from 127.0.0.1:").unwrap();
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap();
    rest[..end].parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_a_component_share_its_connection_to_the_service() {
    let site = Site::start(service("web", &["8080"])).await;
    let mut ports = HashSet::new();
    for host in ["old.localhost", "new.localhost"] {
        let mut of_component = HashSet::new();
        for n in 0..5 {
            let url = format!("http://localhost:8080/where?{n}");
            let answer = site.fetch(host, &url).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
            assert!(
                answer.contains(&format!("GET /where?{n} HTTP/1.1 ")),
                "{answer}"
            );
            of_component.insert(port(&answer));
        }
        assert_eq!(of_component.len(), 1, "{host}");
        ports.extend(of_component);
    }
    assert_eq!(ports.len(), 2, "each component has a separate connection");
    // One instance sends one request after the other, each with an empty body that ends late.
    let line = "GET /fetch/20?http://localhost:8080/empty";
    let answer = site.ask("old.localhost", line, "\r\n").await;
    assert!(answer.contains(" us\n"), "{answer}");

    // A restarted service is reached over a new connection.
    site.running.kill().await;
    let again = Running::of(Arc::clone(site.prepared.service.as_ref().unwrap()));
    site.bench.listens(8080).await;
    let running = Site {
        running: again,
        ..site
    };
    for host in ["old.localhost", "new.localhost"] {
        let answer = running.fetch(host, "http://localhost:8080/").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
        assert!(!ports.contains(&port(&answer)), "{host}: {answer}");
    }
    running.running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_uses_http2_and_trailers_arrive() {
    let site = Site::start(service("web", &["8080"])).await;
    let told = "HTTP/2.0 from 127.0.0.1:";
    let grpc = "Content-Type: application/grpc\r\n";
    let line = "GET /fetch?http://localhost:8080/s/m";
    let old = site
        .ask("old.localhost", line, &format!("{grpc}\r\n"))
        .await;
    assert!(old.contains(told), "{old}");
    let line = "GET /fetch-grpc?http://localhost:8080/s/m";
    let new = site.ask("new.localhost", line, "\r\n").await;
    assert!(new.contains(told), "{new}");

    // The body and the trailers after it go from the client to the service and back.
    let line = "POST /fetch?http://localhost:8080/echo";
    let body = "TE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
                5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n";
    for head in [grpc, ""] {
        let answer = site
            .ask("old.localhost", line, &format!("{head}{body}"))
            .await;
        assert!(answer.contains("hello\r\n"), "{answer}");
        assert!(answer.contains("0\r\nx-sum: 7\r\n"), "{answer}");
    }
    site.running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_the_manifest_calls_h2c_gets_http2() {
    let mut web = service("web", &["8080"]);
    web.routes = vec![ServiceRoute {
        route: Route::parse("h2.localhost", "/").unwrap(),
        port: NonZeroU16::new(8080).unwrap(),
        protocol: RouteProtocol::H2c,
    }];
    let site = Site::start(web).await;
    for host in ["old.localhost", "new.localhost"] {
        let answer = site.fetch(host, "http://127.0.0.1:8080/").await;
        assert!(
            answer.contains("HTTP/2.0 from 127.0.0.1:"),
            "{host}: {answer}"
        );
    }
    site.running.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_get_the_reason_as_an_error_code() {
    let mut site = Site::start(service("web", &["8080"])).await;
    for (url, options, code) in [
        ("http://localhost:9/", "", "ConnectionRefused"),
        ("http://192.0.2.1/", "", "HttpRequestDenied"),
        ("https://example.com/", "", "HttpRequestDenied"),
        ("http://host.warren.internal/", "", "HttpRequestDenied"),
        (
            "http://localhost:8080/slow?60000",
            "X-First-Byte: 50\r\n",
            "ConnectionReadTimeout",
        ),
    ] {
        let line = format!("GET /fetch?{url}");
        let answer = site
            .ask("old.localhost", &line, &format!("{options}\r\n"))
            .await;
        let told = format!("error ErrorCode::{code}\n");
        assert!(answer.contains(&told), "{url}: {answer}");
    }
    // The answer begins normally, and then nothing arrives for longer than the guest waits.
    let line = "GET /fetch?http://localhost:8080/events";
    let between = "X-Between-Bytes: 1\r\n\r\n";
    let answer = site.ask("old.localhost", line, between).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        !answer.ends_with("0\r\n\r\n"),
        "an incomplete answer must not look complete: {answer}"
    );

    let mut refused = Vec::new();
    while let Ok(refusal) = site.bench.refused.try_recv() {
        refused.push(refusal.to_string());
    }
    for part in [
        "component `old` was not allowed to connect to TCP 192.0.2.1:80",
        "component `old` was not allowed to look up example.com",
        "component `old` was not allowed to look up host.warren.internal",
    ] {
        let told = refused.iter().filter(|told| told.contains(part)).count();
        assert_eq!(told, 1, "{part}: {refused:?}");
    }
    site.running.kill().await;
}
