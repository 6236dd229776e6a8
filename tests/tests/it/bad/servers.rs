//! Servers that are unreachable, are not control planes, or stop in the middle of a call.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use tokio::net::TcpListener;
use warren_tests::{Lab, within};

use super::{refused_quietly, stand_in::StandIn};
use crate::{cluster, lab};

const LIST: [&str; 2] = ["get", "workloads"];

/// What a client command says of the servers that it is told to ask.
async fn told(lab: &Lab, servers: &str, words: &[&str]) -> String {
    let command = [&LIST[..], &["--server", servers]].concat();
    let words = [words, &["--server"]].concat();
    refused_quietly(lab.warren(&command).await, &words)
}

#[tokio::test]
async fn a_server_that_is_not_a_control_plane_is_named() {
    let cluster = cluster(1).await;
    let (lab, worker) = (&cluster.lab, &cluster.workers[0]);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);

    let (http, listen) = (
        format!("http://{}", worker.http),
        format!("http://{}", worker.listen),
    );
    let ingress = told(lab, &http, &[&http, "not a control plane"]).await;
    assert!(ingress.contains("web server"), "{ingress}");
    told(
        lab,
        &listen,
        &[&listen, "it is a worker, not a control plane"],
    )
    .await;
    let tls = tls_server().await;
    told(lab, &tls, &[&tls, "it answered with TLS"]).await;
    let nobody = format!("http://{address}");
    let words = [
        "cannot reach a control plane",
        &nobody,
        "connection refused",
        "`warren dev`",
    ];
    told(lab, &nobody, &words).await;
    let unknown = "http://control.invalid:7700";
    told(lab, unknown, &[unknown, "name"]).await;

    // Each of them is told when none of them is one, and passed over when one is.
    let all = [nobody.as_str(), &tls, &listen, &http];
    let words = [
        "cannot reach a control plane",
        &format!("at {nobody}: connection refused, nor at {tls}: "),
        "TLS",
        &format!("nor at {listen}: it is a worker, not a control plane"),
        &format!("nor at {http}: "),
        "start one with `warren control`",
    ];
    told(lab, &all.join(","), &words).await;
    let with_one = [&all[..], &[&cluster.control.url]].concat().join(",");
    let command = [&LIST[..], &["--server", &with_one]].concat();
    lab.warren(&command).await.ok();
    // A worker can be asked for its health all the same.
    let health = ["health", "--server", &format!("{tls},{listen}")];
    assert_eq!(lab.warren(&health).await.ok(), "SERVING\n");
}

/// A server that speaks TLS and has no certificate for anybody.
async fn tls_server() -> String {
    #[derive(Debug)]
    struct None;
    impl ResolvesServerCert for None {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Option::None
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(None));
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Ends with the test's runtime.
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Nobody gets in.
            let _ = acceptor.accept(stream).await;
        }
    });
    url
}

#[tokio::test]
async fn a_silent_server_is_waited_for_within_bounds_and_passed_over() {
    let (silent, good) = tokio::join!(cluster(0), cluster(0));
    silent.control.process.pause();
    let both = format!("{},{}", silent.control.url, good.control.url);
    let command = [&LIST[..], &["--server", &both]].concat();
    let words = [&*silent.control.url, "did not answer within 10s"];
    let alone = told(&good.lab, &silent.control.url, &words);
    let (answer, _) = tokio::join!(good.lab.warren(&command), alone);
    answer.ok();
    silent.control.process.resume();
    silent.warren(&LIST).await.ok();
}

#[tokio::test]
async fn a_server_that_goes_away_in_the_middle_is_named() {
    let lab = lab();
    let server = StandIn::start("0.0.9", &[], "WorkloadService/List");
    let command = [&LIST[..], &["--server", &server.url]].concat();
    let mut asking = lab.start("asking", lab.command(&command));
    server.called("WorkloadService/List").await;
    let url = server.url.clone();
    drop(server);
    let status = within("its end", asking.ended()).await;
    assert_eq!(status.code(), Some(1));
    let told = asking.stderr();
    let words = format!("the connection to {url} broke");
    assert!(told.contains(&words), "{told}");
}
