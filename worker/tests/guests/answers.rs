//! Valid and invalid answers of components of both WASI versions, over both versions of HTTP: what
//! the client gets, what the log says, and what happens to work after an answer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use warren_model::{
    route::Route,
    spec::{Component, Reuse},
};
use warren_worker::{
    http::listener,
    ingress::Router,
    runtime::{ComponentHandle, ComponentRuntime},
};

use super::bench::{Bench, PATIENCE, component, service};

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];
const OLD: &str = "p2.localhost";
const NEW: &str = "p3.localhost";
/// The same component as [`NEW`], but with instances that serve several requests.
const SHARED: &str = "shared.localhost";
const ALL: [&str; 3] = [OLD, NEW, SHARED];

/// An ingress whose routes lead to `answers`, `p3-answers`, and `p3-answers` again with `reuse`.
struct Site {
    bench: Bench,
    components: Vec<Arc<ComponentRuntime>>,
    address: std::net::SocketAddr,
    _ingress: AbortOnDropHandle<()>,
}

/// The response that a client got.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    /// `None` if the body broke off.
    body: Option<Bytes>,
}

/// A client with a separate connection.
struct Client {
    response: Response<Incoming>,
    _connection: AbortOnDropHandle<()>,
}

impl Site {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl Fn(&mut Component)) -> Self {
        let mut bench = Bench::new();
        let mut components = [
            component("p2", "answers"),
            component("p3", "p3-answers"),
            component("shared", "p3-answers"),
        ];
        components[2].reuse = Some(Reuse {
            requests: 100,
            concurrency: 10,
        });
        components.iter_mut().for_each(change);
        let prepared = bench
            .prepare(service("web", &["8080"]), components.to_vec())
            .await;
        let router = Router::new();
        let routes = ALL.iter().zip(&prepared.components);
        let routes = routes.map(|(host, component)| {
            let target = Arc::new(ComponentHandle(Arc::clone(component)));
            (Route::parse(host, "/").unwrap(), target as _)
        });
        router.set("r", routes.collect());
        router.set_ready("r", true);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = listener::serve(listener, router, CancellationToken::new(), PATIENCE);
        bench.refused.close();
        Self {
            bench,
            components: prepared.components,
            address,
            _ingress: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    /// Sends a request and waits for the head of its answer.
    async fn begin(&self, version: Version, method: Method, url: &str) -> hyper::Result<Client> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        // Make a client that goes away reset its connection: after an end of stream it might still
        // wait for the answer.
        stream.set_zero_linger().unwrap();
        let io = TokioIo::new(stream);
        let (host, path) = url.split_once('/').unwrap();
        let request = Request::builder().method(method).version(version);
        let request = match version {
            Version::HTTP_2 => request.uri(format!("http://{url}")),
            _ => request.uri(format!("/{path}")).header("host", host),
        };
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let (response, connection) = if version == Version::HTTP_2 {
            let mut client = http2::Builder::new(TokioExecutor::new());
            client.max_header_list_size(1 << 20);
            let (mut sender, connection) = client.handshake(io).await.unwrap();
            let connection = tokio::spawn(async move { drop(connection.await) });
            let response = timeout(PATIENCE, sender.send_request(request)).await;
            (response, connection)
        } else {
            let mut client = http1::Builder::new();
            client.max_headers(1000).max_buf_size(1 << 20);
            let (mut sender, connection) = client.handshake(io).await.unwrap();
            let connection = tokio::spawn(async move { drop(connection.await) });
            let response = timeout(PATIENCE, sender.send_request(request)).await;
            (response, connection)
        };
        let response = response.unwrap_or_else(|_| panic!("{url} {version:?}: no answer"));
        Ok(Client {
            response: response?,
            _connection: AbortOnDropHandle::new(connection),
        })
    }

    async fn ask(&self, version: Version, method: Method, url: &str) -> Reply {
        let client = self.begin(version, method, url).await;
        let client = client.unwrap_or_else(|error| panic!("{url} {version:?}: {error:?}"));
        let (head, body) = client.response.into_parts();
        let body = timeout(PATIENCE, body.collect()).await.unwrap();
        Reply {
            status: head.status,
            headers: head.headers,
            body: body.ok().map(|body| body.to_bytes()),
        }
    }

    async fn get(&self, version: Version, url: &str) -> Reply {
        self.ask(version, Method::GET, url).await
    }

    /// Returns whether an answer begins with 200 and breaks off. HTTP/2 may reset a stream before
    /// it sends the head.
    async fn is_broken(&self, version: Version, url: &str) -> bool {
        match self.begin(version, Method::GET, url).await {
            Ok(client) => {
                assert_eq!(client.response.status(), 200, "{url} {version:?}");
                let body = timeout(PATIENCE, client.response.into_body().collect()).await;
                body.unwrap().is_err()
            }
            Err(_) => version == Version::HTTP_2,
        }
    }

    /// Runs `look` for each host with each version of HTTP.
    async fn each(hosts: &[&'static str], look: impl AsyncFn(&'static str, Version)) {
        for host in hosts {
            for version in VERSIONS {
                look(host, version).await;
            }
        }
    }

    async fn lines(&self) -> usize {
        self.bench.lines().await.len()
    }
}

impl Reply {
    fn text(&self) -> &str {
        let body = self.body.as_ref().expect("a whole body");
        std::str::from_utf8(body).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_place_of_an_answer_appears_only_in_the_log() {
    let site = Site::start().await;
    Site::each(&ALL, async |host, version| {
        let before = site.lines().await;
        let reply = site.get(version, &format!("{host}/error")).await;
        assert_eq!(reply.status, 500, "{host} {version:?}");
        assert!(reply.text().contains("answered with an error"), "{reply:?}");
        assert!(!reply.text().contains("the reason"), "{reply:?}");
        let words = "answered with an error: internal error: the reason of the guest";
        site.bench.saw_after(before, words).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_answer_is_reported_to_the_client_and_in_the_log() {
    let site = Site::start().await;
    Site::each(&[OLD], async |host, version| {
        let before = site.lines().await;
        let reply = site.get(version, &format!("{host}/nothing")).await;
        assert_eq!(reply.status, 500);
        assert!(reply.text().contains("without an answer"), "{reply:?}");
        let words = "returned without an answer";
        site.bench.saw_after(before, words).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_not_valid_http_becomes_a_502_with_the_reason() {
    let site = Site::start().await;
    Site::each(&ALL, async |host, version| {
        for (path, words) in [
            ("status/100/x", "status is 100 Continue"),
            ("status/101/x", "status is 101 Switching Protocols"),
            ("status/103/x", "status is 103 Early Hints"),
            ("status/199/x", "status is 199"),
            ("fields/201", "at most 200 fields"),
            ("field/65600", "at most 65536 bytes"),
        ] {
            let before = site.lines().await;
            let reply = site.get(version, &format!("{host}/{path}")).await;
            assert_eq!(reply.status, 502, "{host}/{path} {version:?}: {reply:?}");
            assert!(reply.text().contains(words), "{host}/{path}: {reply:?}");
            site.bench.saw_after(before, words).await;
        }
        for path in [
            "status/200/fine",
            "status/599/fine",
            "fields/200",
            "field/65000",
        ] {
            let reply = site.get(version, &format!("{host}/{path}")).await;
            assert!(
                ![500, 502].contains(&reply.status.as_u16()),
                "{path}: {reply:?}"
            );
            assert!(reply.body.is_some(), "{host}/{path} {version:?}");
        }
    })
    .await;
    Site::each(&[OLD], async |host, version| {
        let reply = site.get(version, &format!("{host}/bare/5")).await;
        assert_eq!(reply.status, 502);
        assert!(
            reply.text().contains("is 5, and it has no body"),
            "{reply:?}"
        );
        assert_eq!(
            site.get(version, &format!("{host}/bare/0")).await.text(),
            ""
        );
        let reply = site.get(version, &format!("{host}/status/999/own")).await;
        assert_eq!((reply.status.as_u16(), reply.text()), (999, "own"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_differs_from_its_content_length_does_not_look_complete() {
    let site = Site::start().await;
    Site::each(&ALL, async |host, version| {
        for (path, words) in [
            ("length/10/4", "body ended after 4 of the 10 bytes"),
            ("length/10/0", "body ended after 0 of the 10 bytes"),
            ("length/4/10", "longer than its content-length of 4 bytes"),
            ("length/100000/99999", "after 99999 of the 100000 bytes"),
        ] {
            let before = site.lines().await;
            let is_broken = site.is_broken(version, &format!("{host}/{path}")).await;
            assert!(is_broken, "{host}/{path} {version:?}");
            site.bench.saw_after(before, words).await;
        }
        // Everything that was promised has arrived, and the rest is discarded.
        for path in ["length/5/5", "pieces/5/10", "pieces/5/5"] {
            let reply = site.get(version, &format!("{host}/{path}")).await;
            assert_eq!(reply.text(), "xxxxx", "{host}/{path} {version:?}");
        }
        let reply = site.get(version, &format!("{host}/length/0/0")).await;
        assert_eq!(reply.text(), "");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_finished_does_not_look_complete() {
    let site = Site::with(|component| component.timeout = Duration::from_secs(3)).await;
    Site::each(&ALL, async |host, version| {
        for (path, words) in [
            ("drop", "its answer broke off"),
            ("trap", "invocation failed: it trapped"),
            ("hang", "it did not finish its answer within 3s"),
            ("leave", "its answer"),
            ("trailer/70000", "its trailers are too large"),
        ] {
            let before = site.lines().await;
            let is_broken = site.is_broken(version, &format!("{host}/{path}")).await;
            assert!(is_broken, "{host}/{path} {version:?}");
            site.bench.saw_after(before, words).await;
        }
        let reply = site.get(version, &format!("{host}/trailer/10")).await;
        assert_eq!(reply.text(), "a part", "{host} {version:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_body_have_none_whatever_the_guest_writes() {
    let site = Site::start().await;
    Site::each(&ALL, async |host, version| {
        let before = site.lines().await;
        let url = format!("{host}/length/5000/5000");
        let reply = site.ask(version, Method::HEAD, &url).await;
        assert_eq!((reply.status.as_u16(), reply.text()), (200, ""));
        assert_eq!(
            reply.headers["content-length"], "5000",
            "{host} {version:?}"
        );
        for status in [204, 304] {
            let url = format!("{host}/status/{status}/body");
            let reply = site.get(version, &url).await;
            assert_eq!((reply.status.as_u16(), reply.text()), (status, ""), "{url}");
        }
        let url = format!("{host}/then/chunked/1");
        let reply = site.ask(version, Method::HEAD, &url).await;
        assert_eq!((reply.status.as_u16(), reply.text()), (200, ""));
        site.bench.saw_after(before, "worked after chunked").await;
        let said = site.bench.lines().await.split_off(before);
        let failed = said.iter().find(|line| {
            ["invocation failed", "write:", "finish:"]
                .iter()
                .any(|words| line.contains(words))
        });
        assert_eq!(failed, None, "{host} {version:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_has_answered_finishes_its_work() {
    let site = Site::start().await;
    Site::each(&ALL, async |host, version| {
        for how in ["length", "chunked", "empty", "trailers", "error"] {
            let before = site.lines().await;
            let url = format!("{host}/then/{how}/300");
            let reply = site.get(version, &url).await;
            let wanted = match how {
                "empty" => 204,
                "error" => 500,
                _ => 200,
            };
            assert_eq!(reply.status, wanted, "{url} {version:?}");
            assert!(reply.body.is_some(), "{url} {version:?}");
            let words = format!("worked after {how}");
            site.bench.saw_after(before, &words).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_after_an_answer_ends_with_the_timeout_and_holds_its_place_until_then() {
    let limit = Duration::from_secs(3);
    let site = Site::with(|component| {
        component.timeout = limit;
        component.concurrency = 1;
    })
    .await;
    Site::each(&ALL, async |host, version| {
        for how in ["length", "chunked"] {
            let before = site.lines().await;
            let began = Instant::now();
            let reply = site.get(version, &format!("{host}/then/{how}/spin")).await;
            let answered = began.elapsed();
            assert_eq!(reply.text(), "answered\n", "{host} {how} {version:?}");
            // The request waits for the only place; on a slow machine it may time out while
            // waiting.
            let next = site.get(version, &format!("{host}/status/200/next")).await;
            assert!(
                began.elapsed() > limit.min(answered + limit / 2) || next.status == 503,
                "{host} {how} {version:?}: {:?}",
                began.elapsed()
            );
            let words = "had answered, but was still running after 3s";
            site.bench.saw_after(before, words).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_after_an_answer_appears_only_in_the_log() {
    let site = Site::start().await;
    Site::each(&ALL, async |host, version| {
        let before = site.lines().await;
        let reply = site.get(version, &format!("{host}/then/length/trap")).await;
        assert_eq!(reply.text(), "answered\n", "{host} {version:?}");
        site.bench.saw_after(before, "it trapped").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_work_after_an_answer_and_a_stop_ends_it() {
    let site = Site::start().await;
    for (host, component) in ALL.into_iter().zip(&site.components) {
        let before = site.lines().await;
        let url = format!("{host}/then/length/1000");
        assert_eq!(site.get(Version::HTTP_11, &url).await.text(), "answered\n");
        timeout(PATIENCE, component.drain()).await.unwrap();
        let said = site.bench.lines().await.split_off(before);
        let worked = said.iter().any(|line| line.contains("worked after length"));
        assert!(worked, "{host}: {said:?}");
    }
    let site = Site::start().await;
    for (host, component) in ALL.into_iter().zip(&site.components) {
        let before = site.lines().await;
        let url = format!("{host}/then/length/20000");
        assert_eq!(site.get(Version::HTTP_11, &url).await.text(), "answered\n");
        component.stop();
        site.bench
            .saw_after(before, "its replica is stopping")
            .await;
        timeout(PATIENCE, component.drain()).await.unwrap();
        let said = site.bench.lines().await.split_off(before);
        assert!(!said.iter().any(|line| line.contains("worked")), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_end_of_an_answer_ends_its_guest() {
    let site = Site::with(|component| {
        component.timeout = Duration::from_secs(3600);
        component.concurrency = 1;
    })
    .await;
    Site::each(&ALL, async |host, version| {
        let client = site
            .begin(version, Method::GET, &format!("{host}/hang"))
            .await
            .unwrap();
        assert_eq!(client.response.status(), 200);
        drop(client);
        // The guest holds the only place for as long as it lives.
        let reply = site.get(version, &format!("{host}/status/200/next")).await;
        assert_eq!(reply.text(), "next", "{host} {version:?}");
    })
    .await;
}
