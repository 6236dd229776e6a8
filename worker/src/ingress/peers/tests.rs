//! Tests with workers that forward to each other. Each has an ingress and a `--listen` address with
//! real sockets; the guests are simulated.

#![allow(clippy::unwrap_used)]

mod claims;
mod ends;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header, uri::Authority};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use warren_model::route::Route;
use warren_proto::v1;

use super::*;
use crate::health::Health;
use crate::{
    http::{
        Admission, Body, ClientBody, HttpTarget, RequestMeta, forwarded::TrustedProxies, listener,
        plain_text,
    },
    ingress::{Ingress, Router, router::Choice},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A guest that describes the request that it received, after reading the whole body.
struct Guest {
    name: &'static str,
    asked: AtomicUsize,
    /// The ways in which it ends the next requests.
    moods: Mutex<Vec<Mood>>,
}

enum Mood {
    /// Its worker dies with the request.
    Die(CancellationToken),
    Forge,
}

impl HttpTarget for Guest {
    fn admit(&self) -> Option<Admission> {
        Some(Admission::default())
    }

    fn call(
        &self,
        _: Admission,
        request: Request<ClientBody>,
        meta: RequestMeta,
    ) -> BoxFuture<'static, Response<Body>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (name, mood) = (self.name, self.moods.lock().pop());
        Box::pin(async move {
            match mood {
                Some(Mood::Die(worker)) => {
                    worker.cancel();
                    std::future::pending::<()>().await;
                }
                Some(Mood::Forge) => return wire::unserved(),
                None => {}
            }
            let (head, body) = request.into_parts();
            let size = body.collect().await.map_or(0, |body| body.to_bytes().len());
            let mut text = format!(
                "{name} {} {} {} {size}",
                head.method,
                head.uri.path(),
                meta.authority.as_ref().map_or("", Authority::as_str)
            );
            let mut fields = Vec::new();
            for (name, value) in &head.headers {
                let name = name.as_str();
                if name.starts_with("x") || name.starts_with("warren-") || name == "forwarded" {
                    fields.push(format!(" {name}={}", value.to_str().unwrap()));
                }
            }
            // The order must not depend on the way that the request took.
            fields.sort();
            text += &fields.concat();
            plain_text(StatusCode::OK, text)
        })
    }
}

struct Worker {
    name: &'static str,
    http: SocketAddr,
    listen: SocketAddr,
    router: Router,
    fleet: Arc<FleetRoutes>,
    guest: Arc<Guest>,
    /// Ends the worker like `kill -9`.
    kill: CancellationToken,
    _serving: [AbortOnDropHandle<()>; 2],
}

impl Worker {
    /// Starts a worker with a guest to which no route leads yet.
    async fn start(name: &'static str) -> Self {
        Self::start_behind(name, &[]).await
    }

    /// Starts a worker behind proxies that it trusts.
    async fn start_behind(name: &'static str, proxies: &[&str]) -> Self {
        let (http, listen) = tokio::join!(
            TcpListener::bind("127.0.0.1:0"),
            TcpListener::bind("127.0.0.1:0")
        );
        let (http, listen) = (http.unwrap(), listen.unwrap());
        let (http_address, listen_address) =
            (http.local_addr().unwrap(), listen.local_addr().unwrap());
        let router = Router::new();
        let fleet = FleetRoutes::new(name, router.clone());
        let (kill, never) = (CancellationToken::new(), CancellationToken::new());
        let front = ClusterFront::new(router.clone(), Health::new().await);
        let ingress = Ingress {
            router: router.clone(),
            proxies: TrustedProxies::new(proxies.iter().map(|net| net.parse().unwrap())),
        };
        let listening = listener::serve(listen, front, never.clone(), PATIENCE);
        let killed = kill.clone();
        let listening = tokio::spawn(async move {
            tokio::select! {
                () = listening => {}
                () = killed.cancelled() => {}
            }
        });
        let serving = tokio::spawn(listener::serve(http, ingress, never, PATIENCE));
        Self {
            name,
            http: http_address,
            listen: listen_address,
            router,
            fleet,
            guest: Arc::new(Guest {
                name,
                asked: AtomicUsize::new(0),
                moods: Mutex::default(),
            }),
            kill,
            _serving: [listening, serving].map(AbortOnDropHandle::new),
        }
    }

    /// Adds a ready replica with this route.
    fn runs(&self, host: &str, path: &str) {
        let target: Arc<dyn HttpTarget> = Arc::clone(&self.guest) as _;
        let route = Route::parse(host, path).unwrap();
        self.router.set(path, vec![(route, target)]);
        self.router.set_ready(path, true);
    }

    fn place(&self) -> v1::RoutePlace {
        v1::RoutePlace {
            worker: self.name.to_owned(),
            address: format!("http://{}", self.listen),
        }
    }

    /// Sends it one route, and the workers that serve the route.
    fn hears(&self, version: u64, host: &str, path: &str, places: &[&Self]) {
        self.fleet.learn(v1::FleetRoutes {
            version,
            complete: version == 1,
            routes: vec![v1::RoutePlaces {
                route: Some(v1::Route {
                    host: host.to_owned(),
                    path: path.to_owned(),
                }),
                places: places.iter().map(|worker| worker.place()).collect(),
            }],
            removed: Vec::new(),
        });
    }

    /// Returns the other workers that requests for this host are forwarded to.
    fn remote(&self, host: &str) -> Arc<Remote> {
        match self.router.choose(host, "/") {
            Choice::Other(remote) => remote,
            _ => panic!("requests for {host} are not forwarded"),
        }
    }

    async fn ask(&self, request: &str) -> String {
        ask(self.http, request).await
    }

    async fn get(&self, path: &str) -> String {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n");
        self.ask(&request).await
    }

    fn asked(&self) -> usize {
        self.guest.asked.load(Ordering::Relaxed)
    }
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = timeout(PATIENCE, client.read_to_string(&mut answer));
    read.await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn a_worker_without_a_replica_forwards_to_one_that_has_it() {
    let (first, second) = (Worker::start("w1").await, Worker::start("w2").await);
    second.runs("a.localhost", "/");
    assert!(first.get("/x").await.starts_with("HTTP/1.1 404 "));
    first.hears(1, "a.localhost", "/", &[]);
    let answer = first.get("/x").await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"),
        "{answer}"
    );

    first.hears(2, "a.localhost", "/", &[&first, &second]);
    let answer = first
        .ask(
            "POST /x?y HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\nWarren-Route: b.localhost/\r\n\
             Warren-Client: 10.0.0.1:5\r\nX-Forwarded-For: 10.9.8.7\r\nContent-Length: 5\r\n\r\nhello",
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("w2 POST /x a.localhost 5"), "{answer}");
    // Only the worker that the client connected to adds the fields.
    assert!(
        answer.contains("x-forwarded-for=127.0.0.1 x-forwarded-host=a.localhost"),
        "{answer}"
    );
    assert!(!answer.contains("10.9.8.7"), "{answer}");
    assert!(answer.contains("x-forwarded-host=a.localhost"), "{answer}");
    assert!(!answer.contains("127.0.0.1, 127.0.0.1"), "{answer}");
    assert!(!answer.contains("warren-"), "{answer}");

    // The worker's own replicas take precedence.
    first.runs("a.localhost", "/");
    assert!(first.get("/x").await.contains("w1 GET /x"));
    // Another worker with a longer route is the exception.
    second.runs("a.localhost", "/api");
    first.hears(3, "a.localhost", "/api", &[&second]);
    assert!(first.get("/api/x").await.contains("w2 GET /api/x"));
    first.router.set_ready("/", false);
    assert!(
        first.get("/x").await.contains("w2 GET /x"),
        "its own is not ready"
    );
    // Removed routes are gone, and routes that the message does not mention stay.
    first.fleet.learn(v1::FleetRoutes {
        version: 4,
        removed: vec![v1::Route {
            host: "a.localhost".into(),
            path: "/api".into(),
        }],
        ..v1::FleetRoutes::default()
    });
    assert!(
        first.get("/api/x").await.contains("w2 GET /api/x"),
        "the route of / has it"
    );
    // An outdated message is ignored.
    first.hears(2, "a.localhost", "/", &[]);
    assert!(first.get("/x").await.contains("w2 GET /x"));
}

#[tokio::test]
async fn nothing_is_forwarded_twice() {
    let (first, second) = (Worker::start("w1").await, Worker::start("w2").await);
    // Each worker believes that the other one has the replica.
    for worker in [&first, &second] {
        worker.hears(1, "a.localhost", "/", &[&first, &second]);
    }
    for worker in [&first, &second] {
        let answer = worker.get("/").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(!answer.contains("warren-"), "{answer}");
    }
    // Another route of the same host must not answer.
    second.runs("a.localhost", "/");
    first.hears(2, "a.localhost", "/api", &[&second]);
    let answer = first.get("/api").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(second.asked(), 0);
    // A client cannot use the other listener to get around the routes of this worker, nor to reach
    // another worker.
    let asked = ask(
        first.listen,
        "GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\nWarren-Route: a.localhost/\r\n\r\n",
    );
    assert!(asked.await.starts_with("HTTP/1.1 503 "));
    let plain = "GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n";
    ask(second.listen, plain).await;
    assert_eq!(second.asked(), 0, "it was not marked as forwarded");
}

#[tokio::test]
async fn a_request_is_offered_to_the_next_worker_if_that_does_no_harm() {
    let workers = [
        Worker::start("w1").await,
        Worker::start("w2").await,
        Worker::start("w3").await,
    ];
    let [first, second, third] = &workers;
    // One worker no longer has a replica.
    third.runs("a.localhost", "/");
    first.hears(1, "a.localhost", "/", &[second, third]);
    for _ in 0..4 {
        assert!(first.get("/").await.contains("w3 GET /"));
    }
    // One worker cannot be reached.
    second.kill.cancel();
    // The request that finds the connection broken is sent once more.
    assert!(first.get("/").await.contains("w3 GET /"));
    for _ in 0..4 {
        let answer = first.ask("POST / HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
        assert!(answer.await.contains("w3 POST / a.localhost 2"));
    }
    // Fields that a guest forges are not trusted.
    third.guest.moods.lock().push(Mood::Forge);
    let answer = first.get("/").await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && !answer.contains("warren-"),
        "{answer}"
    );
    assert_eq!(third.asked(), 10);
}

#[tokio::test]
async fn a_request_whose_worker_dies_is_sent_again_or_fails() {
    for (method, status) in [(Method::GET, 200), (Method::PUT, 200), (Method::POST, 502)] {
        let workers = [
            Worker::start("w1").await,
            Worker::start("w2").await,
            Worker::start("w3").await,
        ];
        let [first, second, third] = &workers;
        for worker in [second, third] {
            worker.runs("a.localhost", "/");
        }
        first.hears(1, "a.localhost", "/", &[second, third]);
        // They take turns: one of two requests dies with the second worker.
        second
            .guest
            .moods
            .lock()
            .push(Mood::Die(second.kill.clone()));
        let request =
            format!("{method} / HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n");
        let answers = [first.ask(&request).await, first.ask(&request).await];
        assert!(second.kill.is_cancelled(), "{method}: it was asked");
        let expected = format!("HTTP/1.1 {status} ");
        let any = answers.iter().any(|answer| answer.starts_with(&expected));
        let all = answers.iter().all(|answer| answer.starts_with(&expected));
        assert!(
            if status == 200 { all } else { any && !all },
            "{method}: {answers:?}"
        );
    }
}

#[tokio::test]
async fn a_request_that_kills_every_worker_is_sent_twice_at_most() {
    let workers = [
        Worker::start("w1").await,
        Worker::start("w2").await,
        Worker::start("w3").await,
        Worker::start("w4").await,
    ];
    let [first, others @ ..] = &workers;
    for worker in others {
        worker.runs("a.localhost", "/");
        worker
            .guest
            .moods
            .lock()
            .push(Mood::Die(worker.kill.clone()));
    }
    first.hears(1, "a.localhost", "/", &[&others[0], &others[1], &others[2]]);
    let answer = first.get("/").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!(others.iter().map(Worker::asked).sum::<usize>(), 2);
}

#[tokio::test]
async fn requests_go_to_the_one_with_the_fewest_and_share_few_connections() {
    let workers = [
        Worker::start("w1").await,
        Worker::start("w2").await,
        Worker::start("w3").await,
    ];
    let [first, second, third] = &workers;
    for worker in [second, third] {
        worker.runs("a.localhost", "/");
    }
    first.hears(1, "a.localhost", "/", &[second, third]);
    for _ in 0..20 {
        first.get("/").await;
    }
    assert_eq!((second.asked(), third.asked()), (10, 10), "they take turns");
    // Requests whose bodies do not end stay with the worker that they were sent to.
    let mut open = Vec::new();
    for _ in 0..10 {
        let mut client = TcpStream::connect(first.http).await.unwrap();
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 9\r\n\r\nx")
            .await
            .unwrap();
        open.push(client);
        let arrived = async {
            while second.asked() + third.asked() < 20 + open.len() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, arrived).await.unwrap();
    }
    assert_eq!((second.asked(), third.asked()), (15, 15));
    // The worker is forgotten with its routes.
    first.hears(1, "b.localhost", "/", &[second]);
    let remote = first.remote("b.localhost");
    assert_eq!(
        remote.next(&[]).unwrap().burden().1,
        5,
        "the same worker as before"
    );
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_with_it() {
    let (first, second) = (Worker::start("w1").await, Worker::start("w2").await);
    second.runs("a.localhost", "/");
    first.hears(1, "a.localhost", "/", &[&second]);
    let mut client = TcpStream::connect(first.http).await.unwrap();
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 9\r\n\r\nx")
        .await
        .unwrap();
    let remote = first.remote("a.localhost");
    let peer = remote.next(&[]).unwrap();
    let until = async |requests| {
        while peer.burden().1 != requests {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, until(1)).await.unwrap();
    drop(client);
    timeout(PATIENCE, until(0)).await.unwrap();
}

#[tokio::test]
async fn http2_clients_are_forwarded_too() {
    let (first, second) = (Worker::start("w1").await, Worker::start("w2").await);
    second.runs("a.localhost", "/");
    first.hears(1, "a.localhost", "/", &[&second]);
    let stream = TcpStream::connect(first.http).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let body = http_body_util::Full::new(Bytes::from_static(b"abc"));
    let request = Request::post("http://a.localhost/x")
        .header(header::TE, "trailers")
        .body(body);
    let response = sender.send_request(request.unwrap()).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.starts_with("w2 POST /x a.localhost 3"), "{text}");
}
