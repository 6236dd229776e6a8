//! From one revision to the next, while clients go on asking.

use std::net::SocketAddr;

use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use warren_tests::{Reply, Resp, example, get, own_loopback};

use crate::{cluster, http_echo};

/// Asks again and again; `finish` ends it and returns every answer.
struct Client {
    done: oneshot::Sender<()>,
    asking: JoinHandle<Vec<Reply>>,
}

impl Client {
    fn start(http: SocketAddr) -> Self {
        let (done, mut end) = oneshot::channel();
        let asking = tokio::spawn(async move {
            let mut replies = Vec::new();
            while end.try_recv().is_err() {
                replies.push(get(http, "echo.localhost", "/env").await);
            }
            replies
        });
        Self { done, asking }
    }

    async fn finish(self) -> Vec<Reply> {
        self.done.send(()).unwrap();
        self.asking.await.unwrap()
    }
}

fn colour(colour: &str) -> String {
    http_echo(&format!("  env: {{ COLOUR: {colour} }}\n"))
}

#[tokio::test]
async fn an_update_fails_no_request() {
    let cluster = cluster(1).await;
    cluster.apply(&colour("red")).await;
    let red = cluster.replica("echo").await;
    let client = Client::start(cluster.http());
    cluster.apply(&colour("green")).await;
    let green = cluster.replica("echo").await;
    assert_ne!(red["id"], green["id"]);
    assert_eq!(green["revision"], 2);
    let replies = client.finish().await;
    let failed: Vec<&Reply> = replies.iter().filter(|reply| reply.status != 200).collect();
    assert!(failed.is_empty(), "{failed:#?} of {}", replies.len());
    let texts: Vec<String> = replies.iter().map(Reply::text).collect();
    assert_eq!(texts.first().unwrap(), "COLOUR=red\n");
    assert_eq!(
        cluster.get("echo.localhost", "/env").await.text(),
        "COLOUR=green\n"
    );
}

#[tokio::test]
async fn an_update_that_cannot_run_leaves_the_one_before_at_work() {
    let cluster = cluster(1).await;
    cluster.apply(&colour("red")).await;
    let client = Client::start(cluster.http());
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = holder.local_addr().unwrap();
    let cache = example("cache");
    let service = format!(
        "service: {{ component: {cache}, publish: [ {{ port: 6379, listen: \"{taken}\" }} ] }}\n"
    );
    let broken = colour("green") + &service;
    cluster
        .try_apply(&broken)
        .await
        .refused(1, &["echo", "PortUnavailable"]);
    let workload = cluster.workload("echo").await;
    assert_eq!(workload["revision"], 2);
    assert_eq!(
        workload["status"]["readyReplicas"], 0,
        "of the new revision none is ready"
    );
    let replies = client.finish().await;
    for reply in &replies {
        assert_eq!(reply.text(), "COLOUR=red\n");
    }
    cluster.apply(&colour("blue")).await;
    assert_eq!(
        cluster.get("echo.localhost", "/env").await.text(),
        "COLOUR=blue\n"
    );
    assert_eq!(cluster.replicas("echo").await.len(), 1);
}

#[tokio::test]
async fn a_fixed_port_goes_from_one_revision_to_the_next() {
    let cluster = cluster(1).await;
    let free = std::net::TcpListener::bind((own_loopback(), 0)).unwrap();
    let port = free.local_addr().unwrap();
    drop(free);
    let cache = example("cache");
    let manifest = |more: &str| {
        format!(
            "name: cache\nreplicas: 1\nservice:\n  component: {cache}\n  \
             publish: [ {{ port: 6379, listen: \"{port}\" }} ]\n{more}"
        )
    };
    cluster.apply(&manifest("")).await;
    let run_id = async || {
        let info = Resp::connect(port).await.ask(&["INFO"]).await;
        info.lines()
            .find(|line| line.starts_with("run_id:"))
            .unwrap()
            .to_owned()
    };
    let before = run_id().await;
    cluster.apply(&manifest("  args: [ again ]\n")).await;
    assert_ne!(run_id().await, before, "the revision before still answers");
    assert_eq!(cluster.replica("cache").await["revision"], 2);
}
