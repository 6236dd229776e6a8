//! What requests and files may take of the worker's own memory and descriptors, whatever guests and
//! clients do.

use std::{fs, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use warren_tests::{Cluster, Worker, eventually, guest, within};

use crate::cluster;

/// Requests of each kind that are held at once.
const HELD: usize = 64;
/// What one of them may cost beside its guest's own memory, in bytes: a chunk of 64 KiB on each
/// side of each hand-over.
const EACH: usize = 512 << 10;

/// Memory that the process has at present, in bytes.
fn resident(worker: &Worker) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", worker.process.id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kibibytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes << 10
}

fn descriptors(worker: &Worker) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", worker.process.id()));
    open.unwrap().count()
}

/// A download whose client has its head and reads no further.
async fn unread(cluster: &Cluster, host: &str, path: &str) -> TcpStream {
    let mut client = TcpStream::connect(cluster.http()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    within("the head", client.read_exact(&mut head))
        .await
        .unwrap();
    assert_eq!(&head, b"HTTP/1.1 200", "{host}{path}");
    client
}

/// An upload of which nobody takes more.
async fn untaken(cluster: &Cluster, host: &str, path: &str) -> TcpStream {
    let mut client = TcpStream::connect(cluster.http()).await.unwrap();
    let length = 1_u64 << 30;
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let chunk = vec![b'x'; 64 << 10];
    let mut sent = 0;
    // The kernel's buffers are full when nothing went for a while.
    while let Ok(written) = timeout(Duration::from_millis(100), client.write(&chunk)).await {
        sent += written.expect("the worker holds it open");
        assert!(sent < 64 << 20, "{host}{path} takes everything");
    }
    client
}

#[tokio::test]
async fn unread_bodies_cost_the_worker_little() {
    let cluster = cluster(1).await;
    let (p2, p3, web) = (guest("http-echo"), guest("p3-http"), guest("web"));
    let limits = "limits: { timeout: 5m }";
    cluster
        .apply(&format!(
            "name: held\nservice:\n  component: {web}\n  args: [ \"8080\" ]\n  routes: [ {{ host: web.localhost, port: 8080 }} ]\n\
             components:\n\
             - {{ name: p2, component: {p2}, routes: [ {{ host: p2.localhost }} ], {limits} }}\n\
             - {{ name: p3, component: {p3}, routes: [ {{ host: p3.localhost }} ], {limits} }}\n"
        ))
        .await;
    let worker = &cluster.workers[0];
    // As many instances as will run, so that what they cost themselves is there before.
    let instances = 2 * HELD;
    for (host, path) in [("p2.localhost", "/wait/500"), ("p3.localhost", "/wait?500")] {
        let http = cluster.http();
        let all = (0..instances).map(|_| tokio::spawn(warren_tests::get(http, host, path)));
        for reply in all.collect::<Vec<_>>() {
            assert_eq!(reply.await.unwrap().status, 200);
        }
    }
    let before = resident(worker);
    let mut held = Vec::new();
    for _ in 0..HELD {
        held.push(unread(&cluster, "p2.localhost", "/big/1073741824").await);
        held.push(unread(&cluster, "p3.localhost", "/bytes?1073741824").await);
    }
    let downloads = resident(worker);
    let uploads = (0..HELD).map(async |_| {
        let (p2, p3, web) = tokio::join!(
            untaken(&cluster, "p2.localhost", "/wait/300000"),
            untaken(&cluster, "p3.localhost", "/wait?300000"),
            untaken(&cluster, "web.localhost", "/slow?300000"),
        );
        [p2, p3, web]
    });
    let uploads: Vec<_> = futures::future::join_all(uploads).await;
    let after = resident(worker);
    eprintln!(
        "{} requests held: {before} bytes before, {downloads} with downloads, {after} with all",
        held.len() + 3 * uploads.len()
    );
    let grown = after.saturating_sub(before);
    let bound = (held.len() + 3 * uploads.len()) * EACH;
    assert!(grown < bound, "{grown} bytes more, {bound} are allowed");
    // Others are served beside them.
    for host in ["p2.localhost", "p3.localhost", "web.localhost"] {
        assert_eq!(cluster.get(host, "/").await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn a_service_that_opens_too_many_files_is_refused_and_others_are_not() {
    let cluster = cluster(1).await;
    let worker = &cluster.workers[0];
    let limits = fs::read_to_string(format!("/proc/{}/limits", worker.process.id())).unwrap();
    let open_files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let mut words = open_files.unwrap()["Max open files".len()..].split_whitespace();
    assert_eq!(
        words.next(),
        words.next(),
        "the soft limit equals the hard limit"
    );

    let files = guest("files");
    let volume = "volumes: [ { name: scratch, mountPath: /scratch } ]";
    let scratch = "volumes: [ { name: scratch, emptyDir: {} } ]";
    let before = descriptors(worker);
    // Ends with all of them open, and does it again; the third life stays.
    let hoarder = cluster.lab.write(
        "hoarder.yaml",
        format!(
            "name: hoarder\nservice:\n  component: {files}\n  restart: {{ initialBackoff: 10ms, maxRestarts: 3 }}\n  \
             args: [ \"write=/scratch/f\", \"count=/scratch/lives\", \"open=/scratch/f\", \"until=3\", \"stay\" ]\n  {volume}\n{scratch}\n"
        ),
    );
    cluster.warren(&["apply", "-f", &hoarder]).await.ok();
    let told = eventually("three lives", async || {
        let logs = cluster.warren(&["logs", "hoarder"]).await.ok();
        if logs.contains("until=3: ok") {
            Ok(logs)
        } else {
            Err(logs)
        }
    })
    .await;
    let times = "open=/scratch/f: ok 1024 times, then OutOfMemory";
    assert_eq!(told.matches(times).count(), 3, "{told}");
    let held = descriptors(worker);
    assert!(
        held >= before + 1024 && held < before + 1124,
        "{before} descriptors before, {held} with the third life"
    );
    // Beside it another opens what it likes.
    let neighbour = cluster.lab.write(
        "neighbour.yaml",
        format!(
            "name: neighbour\nservice:\n  component: {files}\n  args: [ \"count=/scratch/f\", \"read=/scratch/f\", \"stay\" ]\n  {volume}\n{scratch}\n"
        ),
    );
    cluster.warren(&["apply", "-f", &neighbour]).await.ok();
    eventually("the neighbour reads", async || {
        let logs = cluster.warren(&["logs", "neighbour"]).await.ok();
        if logs.contains("read=/scratch/f: ok here") {
            Ok(())
        } else {
            Err(logs)
        }
    })
    .await;
    cluster
        .warren(&["delete", "workload", "hoarder", "--wait"])
        .await
        .ok();
    eventually("its descriptors are closed", async || {
        let now = descriptors(worker);
        if now < before + 100 { Ok(()) } else { Err(now) }
    })
    .await;
}
