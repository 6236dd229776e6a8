//! Clients that hold a limited resource and do nothing with it.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{net::TcpStream, task::JoinSet};
use warren_tests::{Cluster, Dev, Lab, eventually};

use super::{Zoo, tail};

/// The program as it was just built, and where tests write.
const PROGRAM: &str = env!("CARGO_BIN_EXE_warren-under-test");
const SCRATCH: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/warren-tests");

/// The places of each listener, and how many clients want one.
const PLACES: usize = 40;
const CLIENTS: usize = 150;
/// Pings keep their connections from looking dead.
const PING: Duration = Duration::from_millis(200);

/// One that speaks HTTP/2, and asks for nothing.
async fn pings(to: String) {
    let stream = TcpStream::connect(to).await.unwrap();
    let mut client = http2::Builder::new(TokioExecutor::new());
    client
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_while_idle(true);
    let handshake = client.handshake::<_, Empty<Bytes>>(TokioIo::new(stream));
    // However it ends: what counts is that others are served.
    if let Ok((_held, connection)) = handshake.await {
        let _ = connection.await;
    }
}

/// More of them than there are places, at each listener of the control plane and of the worker.
#[tokio::test]
async fn clients_that_only_ping() {
    let places = PLACES.to_string();
    let flags = [
        "--max-connections",
        &places,
        "--max-connections-per-peer",
        &places,
    ];
    let zoo = Zoo::open_with(&flags, &flags).await;
    let control = zoo.cluster.control.url.trim_start_matches("http://");
    let listeners = [
        zoo.cluster.http().to_string(),
        zoo.cluster.workers[0].listen.to_string(),
        control.to_owned(),
    ];
    let mut clients = JoinSet::new();
    for listener in listeners.iter().cycle().take(listeners.len() * CLIENTS) {
        clients.spawn(pings(listener.clone()));
    }
    // Whoever came too late for a place got one all the same: others had to leave.
    for _ in 0..listeners.len() * (CLIENTS - PLACES) {
        let left = tokio::time::timeout(Duration::from_secs(60), clients.join_next()).await;
        left.expect("one has to leave").unwrap().unwrap();
    }
    zoo.goes_on().await;
    let url = format!("http://{}", zoo.cluster.workers[0].listen);
    zoo.cluster
        .lab
        .warren(&["health", "--server", &url])
        .await
        .ok();
    zoo.close().await;
}

/// The usual soft limit of descriptors is less than what clients may have.
#[tokio::test]
async fn every_process_raises_its_descriptor_limit() {
    fs::create_dir_all(SCRATCH).unwrap();
    let scratch = tempfile::tempdir_in(SCRATCH).unwrap();
    let program = scratch.path().join("warren");
    let script = format!("#!/bin/sh\nulimit -Sn 200 && exec '{PROGRAM}' \"$@\"\n");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let lab = || Lab::new(program.to_str().unwrap(), SCRATCH);
    let cluster = Cluster::start(lab(), 1).await;
    let dev_lab = lab();
    let dev = Dev::start(&dev_lab, &[]).await;
    let servers = [&cluster.control.process, &cluster.workers[0].process];
    for process in servers.into_iter().chain([&dev.process]) {
        let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
        let files = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let words: Vec<_> = files.unwrap().split_whitespace().collect();
        assert_eq!(words[3], words[4], "{limits}");
    }
    for process in servers {
        eventually("its log says so", async || {
            let log = process.stderr();
            let said = log.contains("raised the soft limit of open files");
            if said { Ok(()) } else { Err(tail(&log)) }
        })
        .await;
    }
}
