#![allow(clippy::unwrap_used)]

use std::{
    num::NonZeroU16,
    sync::atomic::{AtomicU16, Ordering},
};

use bytes::Bytes;
use futures::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tonic_health::{ServingStatus, server::health_reporter};
use warren_model::spec::ProbeCheck;
use warren_net::{Listener, NetLimits, Scope};

use super::*;

const PORT: NonZeroU16 = NonZeroU16::new(8080).unwrap();

fn probe(check: ProbeCheck) -> Probe {
    Probe {
        check,
        interval: Duration::from_millis(20),
        timeout: Duration::from_millis(200),
        failure_threshold: 1,
        success_threshold: 1,
        start_period: Duration::ZERO,
    }
}

fn http_probe() -> Probe {
    probe(ProbeCheck::Http {
        port: PORT,
        path: "/healthz?full".into(),
    })
}

fn grpc_probe(service: &str) -> Probe {
    probe(ProbeCheck::Grpc {
        port: PORT,
        service: service.into(),
    })
}

fn network() -> Network {
    Network::new(NetLimits::default())
}

fn listen(scope: &Scope) -> Listener {
    let bound = scope.bind(([127, 0, 0, 1], PORT.get()).into()).unwrap();
    bound.listen(8).unwrap()
}

/// Answers every GET with the status that is set; 0 is never answered.
fn http_server(scope: &Scope, status: &Arc<AtomicU16>) {
    let mut listener = listen(scope);
    let status = Arc::clone(status);
    tokio::spawn(async move {
        while let Ok(stream) = listener.accept().await {
            let status = Arc::clone(&status);
            let service = service_fn(move |request: Request<Incoming>| {
                let status = Arc::clone(&status);
                async move {
                    assert_eq!(request.uri(), "/healthz?full");
                    assert_eq!(request.headers()["host"], "localhost");
                    let code = status.load(Ordering::SeqCst);
                    if code == 0 {
                        std::future::pending::<()>().await;
                    }
                    let mut response = Response::new(Full::new(Bytes::from_static(b"body")));
                    *response.status_mut() = StatusCode::from_u16(code).unwrap();
                    Ok::<_, std::convert::Infallible>(response)
                }
            });
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(served);
        }
    });
}

fn unhealthy(why: &str) -> Verdict {
    Verdict::Unhealthy(format!("failed: {why}"))
}

async fn next(prober: &mut Prober) -> Verdict {
    let soon = Duration::from_secs(20);
    let verdict = tokio::time::timeout(soon, prober.changed()).await;
    verdict.expect("a verdict comes soon")
}

#[tokio::test]
async fn by_tcp() {
    let network = network();
    let scope = network.scope();
    let probe = probe(ProbeCheck::Tcp { port: PORT });
    let mut prober = Prober::new(&network, &probe);
    let listener = listen(&scope);
    assert_eq!(next(&mut prober).await, Verdict::Healthy);
    drop(listener);
    let (began, refused) = (
        prober.answered,
        "connect to TCP port 8080: nothing listens there",
    );
    assert_eq!(next(&mut prober).await, unhealthy(refused));
    assert!(prober.answered - began >= probe.interval);
    let _again = listen(&scope);
    assert_eq!(next(&mut prober).await, Verdict::Healthy);
}

#[tokio::test]
async fn a_service_that_begins_to_listen_is_checked_at_once() {
    let network = network();
    let scope = network.scope();
    let seldom = Probe {
        interval: Duration::from_secs(3600),
        ..probe(ProbeCheck::Tcp { port: PORT })
    };
    let mut prober = Prober::new(&network, &seldom);
    // The first check is too early and does not count.
    assert_eq!(prober.changed().now_or_never(), None);
    assert!(!prober.early);
    let _listener = listen(&scope);
    assert_eq!(next(&mut prober).await, Verdict::Healthy);
}

#[tokio::test]
async fn by_http() {
    let network = network();
    let scope = network.scope();
    let status = Arc::new(AtomicU16::new(204));
    http_server(&scope, &status);
    let mut prober = Prober::new(&network, &http_probe());
    assert_eq!(next(&mut prober).await, Verdict::Healthy);
    let get = "GET /healthz?full on port 8080";
    for (code, why) in [
        (503, "it answered 503 Service Unavailable"),
        (404, "it answered 404 Not Found"),
        (0, "no answer within 200ms"),
    ] {
        status.store(code, Ordering::SeqCst);
        assert_eq!(next(&mut prober).await, unhealthy(&format!("{get}: {why}")));
        // A redirection counts as a success.
        status.store(301, Ordering::SeqCst);
        assert_eq!(next(&mut prober).await, Verdict::Healthy);
    }
    // Every check has used and closed a separate connection.
    let closed = async {
        while network.counts().sockets > 1 {
            tokio::task::yield_now().await;
        }
    };
    let closed = tokio::time::timeout(Duration::from_secs(20), closed).await;
    assert!(closed.is_ok(), "{:?}", network.counts());
}

#[tokio::test]
async fn by_http_of_a_service_that_speaks_another_protocol() {
    let network = network();
    let scope = network.scope();
    let mut listener = listen(&scope);
    tokio::spawn(async move {
        while let Ok(mut stream) = listener.accept().await {
            use tokio::io::AsyncWriteExt as _;
            stream.write_all(b"220 mail ready\r\n").await.unwrap();
        }
    });
    let mut prober = Prober::new(&network, &http_probe());
    prober.early = false;
    let Verdict::Unhealthy(why) = next(&mut prober).await else {
        panic!("the service does not speak HTTP");
    };
    assert!(
        why.starts_with("failed: GET /healthz?full on port 8080: "),
        "{why}"
    );
}

#[tokio::test]
async fn by_grpc() {
    let network = network();
    let scope = network.scope();
    let (reporter, server) = health_reporter();
    let mut listener = listen(&scope);
    tokio::spawn(async move {
        while let Ok(stream) = listener.accept().await {
            let service = TowerToHyperService::new(server.clone());
            let http2 = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http2.serve_connection(TokioIo::new(stream), service));
        }
    });
    let mut whole = Prober::new(&network, &grpc_probe(""));
    assert_eq!(next(&mut whole).await, Verdict::Healthy);
    let mut one = Prober::new(&network, &grpc_probe("shop.v1.Cart"));
    one.early = false;
    let unknown = "gRPC health of `shop.v1.Cart` on port 8080: NotFound, service not registered";
    assert_eq!(next(&mut one).await, unhealthy(unknown));
    reporter
        .set_service_status("shop.v1.Cart", ServingStatus::Serving)
        .await;
    assert_eq!(next(&mut one).await, Verdict::Healthy);
    reporter
        .set_service_status("shop.v1.Cart", ServingStatus::NotServing)
        .await;
    let refused = "gRPC health of `shop.v1.Cart` on port 8080: it answered NOT_SERVING";
    assert_eq!(next(&mut one).await, unhealthy(refused));
}

/// However often a guest opens and closes listeners, there is a pause before an early check.
#[tokio::test]
async fn early_checks_have_a_pause_between_them() {
    let network = network();
    let scope = network.scope();
    let seldom = Probe {
        interval: Duration::from_secs(3600),
        ..http_probe()
    };
    let mut prober = Prober::new(&network, &seldom);
    let mut answers = vec![prober.answered];
    let opening = async {
        while answers.len() < 4 {
            drop(listen(&scope));
            assert_eq!(prober.changed().now_or_never(), None);
            if answers.last() != Some(&prober.answered) {
                answers.push(prober.answered);
            }
            tokio::task::yield_now().await;
        }
    };
    let opened = tokio::time::timeout(Duration::from_secs(20), opening).await;
    opened.expect("the service is checked again");
    for pair in answers[1..].windows(2) {
        assert!(pair[1] - pair[0] >= EARLIEST, "{answers:?}");
    }
}

/// Early checks do not delay the next regular one.
#[tokio::test]
async fn a_guest_that_only_opens_and_closes_listeners_is_unhealthy() {
    let network = network();
    let scope = network.scope();
    // Much longer than the pause between early checks.
    let seldom = Probe {
        interval: EARLIEST * 50,
        ..http_probe()
    };
    let mut prober = Prober::new(&network, &seldom);
    let flapping = async {
        loop {
            drop(listen(&scope));
            tokio::task::yield_now().await;
        }
    };
    let verdict = tokio::select! {
        verdict = next(&mut prober) => verdict,
        () = flapping => unreachable!("the loop never ends"),
    };
    assert!(matches!(verdict, Verdict::Unhealthy(_)), "{verdict:?}");
}
