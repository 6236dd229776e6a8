//! The limits of one request: a place, time and bytes. Requests go through the ingress, over both
//! versions of HTTP, to guests of both WASI versions and to a service.

mod sizes;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{channel::mpsc, future::join_all};
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use warren_model::{
    name::{Name, WorkloadId},
    route::Route,
    spec::{BodyLimits, Component, RouteProtocol},
};
use warren_worker::{
    http::{HttpTarget, listener},
    ingress::{PortLimits, Router, ServicePort, ServiceTarget},
    runtime::{ComponentHandle, ComponentRuntime},
};

use super::bench::{Bench, PATIENCE, Running, component, service};

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// An ingress with components at `p2.localhost` and `p3.localhost`, and a service at
/// `web.localhost`.
struct Site {
    bench: Bench,
    components: Vec<Arc<ComponentRuntime>>,
    address: SocketAddr,
    _service: Running,
    _ingress: AbortOnDropHandle<()>,
}

/// A request whose body the test sends step by step, and its answer.
struct Exchange {
    /// Dropping it ends the body.
    body: Option<mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>>,
    response: AbortOnDropHandle<hyper::Result<Response<Incoming>>>,
    _connection: AbortOnDropHandle<()>,
}

impl Site {
    async fn start(change: impl Fn(&mut Component), bodies: BodyLimits) -> Self {
        let bench = Bench::new();
        let (mut p2, mut p3) = (component("p2", "http-echo"), component("p3", "p3-http"));
        for component in [&mut p2, &mut p3] {
            component.bodies = bodies;
            change(component);
        }
        let prepared = bench.prepare(service("web", &["8080"]), vec![p2, p3]).await;
        let running = Running::of(prepared.service.unwrap());
        bench.listens(8080).await;
        let router = Router::new();
        let route = |host: &str| Route::parse(host, "/").unwrap();
        let mut routes: Vec<(Route, Arc<dyn HttpTarget>)> = Vec::new();
        for (host, component) in ["p2.localhost", "p3.localhost"]
            .iter()
            .zip(&prepared.components)
        {
            let target = Arc::new(ComponentHandle(Arc::clone(component)));
            routes.push((route(host), target));
        }
        let workload = WorkloadId {
            namespace: Name::parse("default").unwrap(),
            name: Name::parse("site").unwrap(),
        };
        let limits = PortLimits {
            bodies,
            ..PortLimits::default()
        };
        let (network, log) = (bench.context.network.clone(), bench.context.log.clone());
        let number = 8080.try_into().unwrap();
        let port = ServicePort::new(&workload, number, network, limits, log);
        for (host, protocol) in [
            ("web.localhost", RouteProtocol::Http1),
            ("web2.localhost", RouteProtocol::H2c),
        ] {
            let port = Arc::clone(&port);
            routes.push((route(host), Arc::new(ServiceTarget { port, protocol })));
        }
        router.set("r", routes);
        router.set_ready("r", true);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = listener::serve(listener, router, CancellationToken::new(), PATIENCE);
        Self {
            bench,
            components: prepared.components,
            address,
            _service: running,
            _ingress: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    /// Sends a request over a separate connection. The test sends a body if `length` promises one.
    async fn begin(
        &self,
        version: Version,
        method: Method,
        url: &str,
        length: Option<u64>,
    ) -> Exchange {
        let stream = TcpStream::connect(self.address).await.unwrap();
        // A dropped client resets its connection: after an end of stream it might still read.
        stream.set_zero_linger().unwrap();
        let io = TokioIo::new(stream);
        let (host, path) = url.split_once('/').unwrap();
        let (body, frames) = mpsc::unbounded();
        let has_body = method == Method::POST;
        let mut request = Request::builder().method(method).version(version);
        request = match version {
            Version::HTTP_2 => request.uri(format!("http://{url}")),
            _ => request.uri(format!("/{path}")).header("host", host),
        };
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let request = request.body(StreamBody::new(frames)).unwrap();
        let body = has_body.then_some(body);
        let (response, connection) = if version == Version::HTTP_2 {
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.unwrap();
            let connection = tokio::spawn(async move { drop(connection.await) });
            let response = tokio::spawn(async move { sender.send_request(request).await });
            (response, connection)
        } else {
            let (mut sender, connection) = http1::handshake(io).await.unwrap();
            let connection = tokio::spawn(async move { drop(connection.await) });
            let response = tokio::spawn(async move { sender.send_request(request).await });
            (response, connection)
        };
        Exchange {
            body,
            response: AbortOnDropHandle::new(response),
            _connection: AbortOnDropHandle::new(connection),
        }
    }

    async fn get(&self, url: &str) -> (StatusCode, Bytes) {
        let exchange = self.begin(Version::HTTP_11, Method::GET, url, None).await;
        exchange.answer().await.unwrap()
    }
}

impl Exchange {
    fn send(&self, bytes: impl Into<Bytes>) {
        let body = self.body.as_ref().unwrap();
        // The other side may no longer accept the body.
        let _ = body.unbounded_send(Ok(Frame::data(bytes.into())));
    }

    async fn head(&mut self) -> Response<Incoming> {
        let response = timeout(PATIENCE, &mut self.response).await.unwrap();
        response.unwrap().unwrap()
    }

    /// Returns the status and the body, or `None` if the answer broke off.
    async fn answer(mut self) -> Option<(StatusCode, Bytes)> {
        self.body = None;
        let response = timeout(PATIENCE, &mut self.response).await.unwrap();
        let response = response.unwrap().ok()?;
        let status = response.status();
        let body = timeout(PATIENCE, response.into_body().collect()).await;
        Some((status, body.unwrap().ok()?.to_bytes()))
    }
}

/// Starts a guest that holds its place until its request's body ends, and waits until it runs.
async fn held(site: &Site, host: &str, version: Version) -> (Exchange, Response<Incoming>) {
    let mut exchange = site
        .begin(version, Method::POST, &format!("{host}/echo"), None)
        .await;
    exchange.send("held");
    let response = exchange.head().await;
    assert_eq!(response.status(), 200);
    (exchange, response)
}

const BOTH: [&str; 2] = ["p2.localhost", "p3.localhost"];

/// Sends two requests while a guest holds the only place: one gets a 503, the one returned waits.
async fn waiting(site: &Site, version: Version, url: &str) -> Exchange {
    let mut one = site.begin(version, Method::GET, url, None).await;
    let mut other = site.begin(version, Method::GET, url, None).await;
    let first = async {
        tokio::select! {
            refused = &mut one.response => (refused, other),
            refused = &mut other.response => (refused, one),
        }
    };
    let (refused, waiting) = timeout(PATIENCE, first).await.unwrap();
    let refused = refused.unwrap().unwrap();
    assert_eq!(refused.status(), 503, "{url} {version:?}");
    assert_eq!(refused.headers()["retry-after"], "1");
    waiting
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_requests_as_may_run_wait_for_a_place_and_further_ones_are_refused() {
    let site = Site::start(|c| c.concurrency = 1, BodyLimits::default()).await;
    for host in BOTH {
        for version in VERSIONS {
            let first = held(&site, host, version).await;
            let second = waiting(&site, version, &format!("{host}/")).await;
            drop(first);
            let (status, body) = second.answer().await.unwrap();
            assert_eq!((status, body), (StatusCode::OK, "hello\n".into()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_go_away_leave_the_queue_and_those_that_wait_too_long_get_an_answer() {
    let quick = Duration::from_millis(600);
    let site = Site::start(
        |c| {
            c.concurrency = 1;
            if c.name.as_str() == "p3" {
                c.timeout = quick;
            }
        },
        BodyLimits::default(),
    )
    .await;
    for version in VERSIONS {
        let first = held(&site, "p2.localhost", version).await;
        // Each takes the only place in the queue, which is free only if the previous one left it.
        for _ in 0..5 {
            let waits = async {
                loop {
                    let mut one = site
                        .begin(version, Method::GET, "p2.localhost/", None)
                        .await;
                    if timeout(Duration::from_millis(300), &mut one.response)
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            };
            timeout(PATIENCE, waits).await.unwrap();
        }
        drop(first);
        let free = async {
            while site.get("p2.localhost/").await.0 != 200 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, free).await.unwrap();

        // Its time limit counts from its arrival; counted from when it runs, it would suffice.
        let _first = held(&site, "p3.localhost", version).await;
        let waiting = site
            .begin(version, Method::GET, "p3.localhost/wait?400", None)
            .await;
        let (status, _) = waiting.answer().await.unwrap();
        assert!(status == 503 || status == 504, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_answers_waiting_requests_and_a_stop_ends_them() {
    let site = Site::start(|c| c.concurrency = 1, BodyLimits::default()).await;
    for (host, component) in BOTH.into_iter().zip(&site.components) {
        let url = format!("{host}/");
        let first = held(&site, host, Version::HTTP_11).await;
        let second = waiting(&site, Version::HTTP_11, &url).await;
        let mut drain = std::pin::pin!(component.drain());
        assert!(futures::poll!(&mut drain).is_pending());
        assert_eq!(site.get(&url).await.0, 503);
        drop(first);
        let (status, _) = second.answer().await.unwrap();
        assert_eq!(status, 200, "it arrived before the drain");
        timeout(PATIENCE, drain).await.unwrap();
        // Further requests are refused, although the queue is empty.
        assert_eq!(site.get(&url).await.0, 503);
    }

    let site = Site::start(|c| c.concurrency = 1, BodyLimits::default()).await;
    for (host, component) in BOTH.into_iter().zip(&site.components) {
        let _first = held(&site, host, Version::HTTP_11).await;
        let second = waiting(&site, Version::HTTP_11, &format!("{host}/")).await;
        component.stop();
        assert_eq!(second.answer().await.unwrap().0, 503, "{host}");
    }
}

/// A body whose bytes arrive one by one ends with the time limit, while others are served.
#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_end_in_time_and_do_not_delay_others() {
    let limit = Duration::from_secs(3);
    let site = Site::start(|c| c.timeout = limit, BodyLimits::default()).await;
    let mut slow = Vec::new();
    for (host, version) in BOTH
        .into_iter()
        .flat_map(|host| VERSIONS.map(|v| (host, v)))
    {
        for _ in 0..16 {
            let mut exchange = site
                .begin(version, Method::POST, &format!("{host}/echo"), None)
                .await;
            slow.push(tokio::spawn(async move {
                let began = Instant::now();
                exchange.send("x");
                let response = exchange.head().await;
                if response.status() == 504 {
                    return (true, began.elapsed());
                }
                let mut body = response.into_body();
                let ended = async {
                    loop {
                        tokio::select! {
                            frame = body.frame() => match frame {
                                Some(Ok(_)) => {}
                                Some(Err(_)) => return true,
                                None => return false,
                            },
                            () = sleep(Duration::from_millis(50)) => exchange.send("x"),
                        }
                    }
                };
                let broken = timeout(PATIENCE, ended).await.unwrap();
                (broken, began.elapsed())
            }));
        }
    }
    let mut answers = 0;
    while !slow.iter().all(tokio::task::JoinHandle::is_finished) {
        for host in BOTH {
            let began = Instant::now();
            assert_eq!(site.get(&format!("{host}/")).await.0, 200);
            assert!(began.elapsed() < limit, "{host}: {:?}", began.elapsed());
            answers += 1;
        }
    }
    assert!(answers > 4, "{answers} answers in the meantime");
    for ended in join_all(slow).await {
        let (broken, took) = ended.unwrap();
        assert!(broken, "an incomplete body looked complete");
        assert!(took < limit * 10, "{took:?}");
    }
}

/// A client that stops within its request's head holds a connection and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_does_not_affect_others() {
    let site = Site::start(|_| {}, BodyLimits::default()).await;
    let mut clients = Vec::new();
    for begin in [
        "",
        "G",
        "GET / HTTP/1.1\r\nHost: p2.loc",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        for _ in 0..16 {
            let mut client = TcpStream::connect(site.address).await.unwrap();
            client.write_all(begin.as_bytes()).await.unwrap();
            clients.push(client);
        }
    }
    for _ in 0..10 {
        assert_eq!(site.get("p2.localhost/").await.0, 200);
    }
    for mut client in clients {
        let early = timeout(Duration::ZERO, client.read_u8()).await;
        // An HTTP/2 server sends first.
        assert!(early.is_err() || early.unwrap().is_ok());
    }
}
