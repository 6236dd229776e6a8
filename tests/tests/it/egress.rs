//! Guests reach nothing outside their workload unless it is allowed.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use warren_tests::{Cluster, eventually, guest};

use crate::{cluster, http_echo, lab};

/// A listener on this machine's own loopback, which a guest has no business with.
async fn machine() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn connect(cluster: &Cluster, address: &str) -> String {
    let path = format!("/connect/{address}");
    cluster.get("echo.localhost", &path).await.text()
}

/// Whether somebody has connected: what has been refused never arrives.
fn untouched(listener: TcpListener) -> bool {
    let listener = listener.into_std().unwrap();
    let accepted = listener.accept();
    accepted.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn egress_is_denied_by_default() {
    let cluster = Cluster::start_with(lab(), 1, &[], &["--allow-host-loopback"]).await;
    cluster.apply(&http_echo("")).await;
    let (listener, address) = machine().await;
    // 127.0.0.1 is the workload's own, where nobody listens.
    let own = connect(&cluster, &address.to_string()).await;
    assert!(own.starts_with("error ConnectionRefused"), "{own}");
    let port = address.port();
    for outside in [
        format!("host.warren.internal:{port}"),
        format!("192.0.0.8:{port}"),
        "192.0.2.1:80".to_owned(),
        "[2001:db8::1]:80".to_owned(),
    ] {
        let answer = connect(&cluster, &outside).await;
        assert!(answer.starts_with("error "), "{outside}: {answer}");
        assert!(!answer.contains("ConnectionRefused"), "{outside}: {answer}");
    }
    assert!(untouched(listener));
}

#[tokio::test]
async fn egress_to_host_loopback_needs_the_manifest_and_the_worker() {
    let (listener, address) = machine().await;
    let host = format!("host.warren.internal:{}", address.port());
    let allowed = http_echo(&format!("  egress: [ \"{host}\" ]\n"));

    let refusing = cluster(1).await;
    refusing.apply(&allowed).await;
    let answer = connect(&refusing, &host).await;
    assert!(answer.starts_with("error PermissionDenied"), "{answer}");

    let allowing = Cluster::start_with(lab(), 1, &[], &["--allow-host-loopback"]).await;
    allowing.apply(&allowed).await;
    assert_eq!(connect(&allowing, &host).await, "ok\n");
    let (_, client) = listener.accept().await.unwrap();
    assert!(client.ip().is_loopback());
    // What is named is one port, and the name does not open the address that it stands for to
    // others.
    let (other, other_address) = machine().await;
    let other_host = format!("host.warren.internal:{}", other_address.port());
    let answer = connect(&allowing, &other_host).await;
    assert!(answer.starts_with("error PermissionDenied"), "{answer}");
    assert!(untouched(other) && untouched(listener));
}

#[tokio::test]
async fn no_guest_reaches_warrens_own_listeners() {
    let cluster = Cluster::start_with(lab(), 2, &[], &["--allow-host-loopback"]).await;
    let everything = "  egress: [ \"host.warren.internal:*\", \"0.0.0.0/0:*\", \"[::/0]:*\" ]\n";
    cluster.apply(&http_echo(everything)).await;
    let (listener, address) = machine().await;
    let other = format!("host.warren.internal:{}", address.port());
    assert_eq!(connect(&cluster, &other).await, "ok\n");
    drop(listener);
    // The guest's own worker and the other one, which it hears of from the control plane.
    for worker in &cluster.workers {
        let listen = format!("host.warren.internal:{}", worker.listen.port());
        let answer = connect(&cluster, &listen).await;
        assert!(answer.starts_with("error PermissionDenied"), "{answer}");
        let fetch = format!("/fetch?http://{listen}/healthz");
        let answer = cluster.get("echo.localhost", &fetch).await;
        assert!(!answer.text().starts_with("ok"), "{answer:?}");
        // The users' own traffic is not Warren's.
        let http = format!("host.warren.internal:{}", worker.http.port());
        assert_eq!(connect(&cluster, &http).await, "ok\n");
    }
    let control: SocketAddr = cluster.control.url["http://".len()..].parse().unwrap();
    let control = format!("host.warren.internal:{}", control.port());
    let answer = connect(&cluster, &control).await;
    assert!(answer.starts_with("error PermissionDenied"), "{answer}");
    eventually("the reason is reported to the owner", async || {
        let events = cluster.warren(&["events", "echo"]).await.ok();
        match events.contains("Warren itself listens on") {
            true => Ok(()),
            false => Err(events),
        }
    })
    .await;
}

#[tokio::test]
async fn a_service_has_grants_of_its_own() {
    let cluster = Cluster::start_with(lab(), 1, &[], &["--allow-host-loopback"]).await;
    let (listener, address) = machine().await;
    let host = format!("host.warren.internal:{}", address.port());
    let guest = guest("std-net");
    let once = |name: &str, egress: &str| {
        format!(
            "name: {name}\nreplicas: 1\nservice:\n  component: {guest}\n  args: [ connect, \"{host}\" ]\n  \
             restart: {{ policy: never }}\n{egress}"
        )
    };
    cluster.apply(&once("without", "")).await;
    let said = cluster.warren(&["logs", "without"]).await.ok();
    // The name is not resolved, so there is no address whose use could be denied.
    let refused = " service | error Uncategorized: failed to lookup address information";
    assert!(said.contains(refused), "{said}");
    let egress = format!("  egress: [ \"{host}\" ]\n");
    cluster.apply(&once("with", &egress)).await;
    let said = cluster.warren(&["logs", "with"]).await.ok();
    assert!(said.contains(" service | ok "), "{said}");
    listener.accept().await.unwrap();
    assert!(untouched(listener));
}
