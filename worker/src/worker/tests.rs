#![allow(clippy::unwrap_used)]

use tokio::sync::oneshot;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus as Told, health_client::HealthClient,
};
use warren_proto::v1::session_request::Message;

use super::*;
use crate::agent::testing::Control;

fn config(data: &tempfile::TempDir, control: &str) -> Config {
    Config {
        control: vec![control.to_owned()],
        name: Some("worker-1".to_owned()),
        labels: BTreeMap::new(),
        data: data.path().to_owned(),
        cache: None,
        cache_limit: 1 << 30,
        memory: Some(1 << 30),
        compile: CompileSettings::in_process(),
        logs: DiskLimits::default(),
        volumes: Vec::new(),
        allow_host_loopback: false,
        advertise: None,
        insecure: false,
        trusted_proxies: Vec::new(),
        publish_allow: Vec::new(),
        connections: Bounds::of(16),
        longest_grace: None,
        stop_keeps: Duration::ZERO,
    }
}

#[test]
fn the_ingress_is_where_others_reach_the_machine() {
    for (local, address, expected) in [
        (
            "127.0.0.1:8000",
            "http://10.0.0.7:7701",
            "http://127.0.0.1:8000",
        ),
        (
            "0.0.0.0:8000",
            "http://10.0.0.7:7701",
            "http://10.0.0.7:8000",
        ),
        (
            "[::]:8000",
            "http://w1.example:7701",
            "http://w1.example:8000",
        ),
        (
            "[::]:8000",
            "http://[fd00::1]:7701",
            "http://[fd00::1]:8000",
        ),
    ] {
        let local = local.parse().unwrap();
        assert_eq!(http_address(local, address), expected);
    }
}

async fn refused(config: Config) -> String {
    match Worker::open(config).await {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn odd_settings_are_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let good = config(&dir, "http://127.0.0.1:1");
    let none = Config {
        control: vec![],
        ..good.clone()
    };
    assert!(refused(none).await.contains("--control"));
    let name = Config {
        name: Some("Not a label".to_owned()),
        ..good.clone()
    };
    assert!(refused(name).await.contains("Not a label"));
    let labels = Config {
        labels: BTreeMap::from([("a b".into(), "c".into())]),
        ..good.clone()
    };
    assert!(refused(labels).await.contains("labels[a b]"));
    let logs = Config {
        logs: DiskLimits {
            replica: 1000,
            ..DiskLimits::default()
        },
        ..good.clone()
    };
    assert!(refused(logs).await.contains("at least 256KiB"));
    let _held = Worker::open(good.clone()).await.unwrap();
    assert!(refused(good).await.contains("in use by another worker"));
}

#[tokio::test]
async fn an_address_that_others_cannot_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let serve = |insecure| {
        let config = Config {
            insecure,
            ..config(&dir, "http://127.0.0.1:1")
        };
        async {
            let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let listen = TcpListener::bind("0.0.0.0:0").await.unwrap();
            let worker = Worker::open(config).await.unwrap();
            worker
                .serve(http, listen, std::future::ready(()))
                .await
                .unwrap_err()
                .to_string()
        }
    };
    let text = serve(false).await;
    assert!(text.contains("--insecure"), "{text}");
    let text = serve(true).await;
    assert!(text.contains("--advertise"), "{text}");
}

#[tokio::test]
async fn serves_from_its_first_session_and_stops_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut control = Control::start().await;
    let worker = Worker::open(config(&dir, &control.url)).await.unwrap();
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listen.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(worker.serve(http, listen, async { stopped.await.unwrap() }));

    let mut health = HealthClient::new(endpoint(&url).unwrap().connect().await.unwrap());
    let watch = health.watch(HealthCheckRequest::default()).await.unwrap();
    let mut watch = watch.into_inner();
    let mut status = async || watch.message().await.unwrap().unwrap().status();
    assert_eq!(status().await, Told::NotServing);
    let (mut peer, hello) = control.welcome(1).await;
    assert_eq!((hello.name.as_str(), hello.address), ("worker-1", url));
    assert_eq!(status().await, Told::Serving);

    stop.send(()).unwrap();
    assert_eq!(status().await, Told::NotServing);
    while let Some(message) = peer.receive().await {
        if let Message::Heartbeat(beat) = message {
            peer.ack(beat.sequence).await;
        }
    }
    drop(peer);
    serving.await.unwrap().unwrap();
}
