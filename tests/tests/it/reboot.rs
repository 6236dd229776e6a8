//! A worker that starts while the control plane is down.

use std::{fs, net::TcpListener};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use warren_tests::{Cluster, Worker, eventually, get, guest, own_loopback, within};

use crate::{
    cluster,
    counter::{count, manifest},
    http_echo, lab,
};

/// A service with a port of the worker.
fn published(listen: &str) -> String {
    let echo = guest("wstd-echo");
    format!(
        "name: published\n\
         replicas: 1\n\
         service: {{ component: {echo}, args: [ \"7070\" ], publish: [ {{ port: 7070, listen: \"{listen}\" }} ] }}\n"
    )
}

/// A service that answers one client and traps, with a component in front of it.
fn trapper() -> String {
    let (trapper, front) = (guest("trapper"), guest("trapper-front"));
    format!(
        "name: trapper\n\
         replicas: 1\n\
         service: {{ component: {trapper}, restart: {{ initialBackoff: 10ms, maxBackoff: 10ms }} }}\n\
         components:\n\
         - {{ name: front, component: {front}, routes: [ {{ host: trapper.localhost, path: / }} ] }}\n"
    )
}

/// Kills a worker and starts it again on its data.
async fn reboot(cluster: &mut Cluster, at: usize) {
    let mut gone = cluster.workers.remove(at);
    gone.process.kill().await;
    let back = Worker::start(&cluster.lab, &cluster.control.url, &gone.name, &[]).await;
    cluster.workers.insert(at, back);
}

/// Waits until a workload answers.
async fn answers(worker: &Worker, host: &str) {
    eventually(&format!("{host} answers"), async || {
        let reply = get(worker.http, host, "/").await;
        if reply.status == 200 {
            Ok(())
        } else {
            Err(reply)
        }
    })
    .await;
}

#[tokio::test]
async fn a_rebooted_worker_continues_with_what_it_last_ran() {
    let free = TcpListener::bind((own_loopback(), 0)).unwrap();
    let listen = free.local_addr().unwrap();
    drop(free);
    let mut cluster = cluster(1).await;
    let manifests = [
        manifest("counter"),
        published(&listen.to_string()),
        trapper(),
        http_echo(""),
    ];
    cluster.apply(&manifests.join("---\n")).await;
    // What was told to stop must not come back.
    cluster
        .warren(&["delete", "workload", "echo", "--wait"])
        .await
        .ok();
    let ids = async |cluster: &Cluster| {
        let mut ids = Vec::new();
        for workload in ["counter", "published", "trapper"] {
            ids.push(cluster.replica(workload).await["id"].clone());
        }
        ids
    };
    let before = ids(&cluster).await;
    assert_eq!(count(cluster.http(), "counter").await.number, 1);

    cluster.control.process.kill().await;
    // It falls over while nobody can be told of it.
    let of_trapper = format!("w1/replicas/{}.replica", before[2].as_str().unwrap());
    let of_trapper = cluster.lab.path(&of_trapper);
    for _ in 0..2 {
        let kept = fs::read(&of_trapper).unwrap();
        answers(&cluster.workers[0], "trapper.localhost").await;
        eventually("the start is kept", async || {
            let now = fs::read(&of_trapper).unwrap();
            if now == kept { Err(now.len()) } else { Ok(()) }
        })
        .await;
    }
    reboot(&mut cluster, 0).await;
    let worker = &cluster.workers[0];
    answers(worker, "counter.localhost").await;
    let alone = count(worker.http, "counter").await;
    assert_eq!(alone.number, 2, "a fresh service, asked once before");
    let echoed = eventually("the published port is bound again", async || {
        let mut stream = TcpStream::connect(listen).await?;
        stream.write_all(b"hello").await?;
        let mut answer = [0; 5];
        within("an answer", stream.read_exact(&mut answer)).await?;
        Ok::<_, std::io::Error>(answer)
    })
    .await;
    assert_eq!(&echoed, b"hello");
    let gone = get(worker.http, "echo.localhost", "/").await;
    assert_eq!(gone.status, 404, "a deleted workload still runs: {gone:?}");
    let serving = ["health", "--server", &format!("http://{}", worker.listen)];
    cluster.lab.warren(&serving).await.ok();

    cluster.control.start_again(&cluster.lab).await;
    let trapper = eventually("the events are reported", async || {
        let replica = cluster.replica("trapper").await;
        if replica["restarts"] == 3 && replica["ready"] == true {
            Ok(replica)
        } else {
            Err(replica)
        }
    })
    .await;
    assert_eq!(trapper["lastExit"]["reason"], "LOST", "{trapper:#}");
    assert_eq!(ids(&cluster).await, before, "nothing was replaced");
    let counter = cluster.replica("counter").await;
    assert_eq!(counter["restarts"], 1);
    let after = count(cluster.http(), "counter").await;
    assert_eq!(
        (after.number, after.service),
        (3, alone.service),
        "it was started twice"
    );
    answers(&cluster.workers[0], "trapper.localhost").await;
}

#[tokio::test]
async fn replaced_replicas_are_stopped_when_the_control_plane_returns() {
    let mut cluster = Cluster::start_with(lab(), 2, &["--worker-timeout", "1s"], &[]).await;
    cluster.apply(&manifest("counter")).await;
    let lost = cluster.replica("counter").await;
    let at = cluster
        .workers
        .iter()
        .position(|worker| lost["worker"] == *worker.name);
    let at = at.unwrap();
    cluster.workers[at].process.kill().await;
    let new = eventually("another replica is ready elsewhere", async || {
        let replicas = cluster.replicas("counter").await;
        let is_new = |one: &&Value| one["ready"] == true && one["id"] != lost["id"];
        replicas.iter().find(is_new).cloned().ok_or(replicas)
    })
    .await;

    cluster.control.process.kill().await;
    reboot(&mut cluster, at).await;
    answers(&cluster.workers[at], "counter.localhost").await;
    let old = count(cluster.workers[at].http, "counter").await.service;
    cluster.control.start_again(&cluster.lab).await;
    let only = eventually("only the new replica is left", async || {
        let mut replicas = cluster.replicas("counter").await;
        if replicas.len() == 1 && replicas[0]["ready"] == true {
            Ok(replicas.remove(0))
        } else {
            Err(replicas)
        }
    })
    .await;
    assert_eq!(only["id"], new["id"]);
    eventually("the old service does not answer", async || {
        let reply = get(cluster.workers[at].http, "counter.localhost", "/").await;
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        if body.contains(&old) {
            Err(body)
        } else {
            Ok(())
        }
    })
    .await;
    // Nor does it come back with the machine.
    let kept = cluster.lab.path(&cluster.workers[at].name).join("replicas");
    eventually("none of it is kept", async || {
        let files = fs::read_dir(&kept).unwrap().map(|it| it.unwrap().path());
        let of_replicas: Vec<_> = files
            .filter(|path| path.extension().is_some_and(|it| it == "replica"))
            .collect();
        if of_replicas.is_empty() {
            Ok(())
        } else {
            Err(of_replicas)
        }
    })
    .await;
}
