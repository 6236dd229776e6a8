//! Updates from one revision to the next, while clients keep sending requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use serde_json::Value;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use warren_tests::{Cluster, Reply, Resp, eventually, example, get, guest, own_loopback};

use crate::{cluster, http_echo, lab};

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

/// One after the other, each new one ready before an old one goes: at no time is there one less
/// than there should be.
#[tokio::test]
async fn a_restart_replaces_every_replica_and_takes_none_away() {
    const REPLICAS: usize = 3;
    let cluster = cluster(2).await;
    let manifest = http_echo("").replace("replicas: 1", &format!("replicas: {REPLICAS}"));
    cluster.apply(&manifest).await;
    let before = ids(&cluster.replicas("echo").await);
    let watch = cluster.follow("replicas", &["get", "replicas", "echo", "-w", "-o", "json"]);
    watch
        .said("the replicas", |lines| {
            (lines.len() >= REPLICAS).then_some(())
        })
        .await;
    let clients = [0, 1].map(|at| Client::start(cluster.workers[at].http));

    let said = cluster.warren(&["restart", "echo", "--wait"]).await.ok();
    assert!(
        said.contains("workload/echo restarted, as revision 2"),
        "{said}"
    );
    let after = cluster.replicas("echo").await;
    assert!(
        after
            .iter()
            .all(|one| one["ready"] == true && one["revision"] == 2)
    );
    let after = ids(&after);
    assert_eq!(after.len(), REPLICAS);
    assert!(after.is_disjoint(&before), "{before:?} {after:?}");
    for client in clients {
        let replies = client.finish().await;
        let failed: Vec<&Reply> = replies.iter().filter(|reply| reply.status != 200).collect();
        assert!(failed.is_empty(), "{failed:#?} of {}", replies.len());
    }

    // Every state that there was, in order: how many were ready, and how many there were to be so.
    let mut present: BTreeMap<String, bool> = BTreeMap::new();
    for line in watch.stdout() {
        let replica: Value = serde_json::from_str(&line).unwrap();
        let gone = replica["phase"] == "STOPPING" || replica["phase"] == "STOPPED";
        let id = replica["id"].as_str().unwrap().to_owned();
        let was_there = present.len() >= REPLICAS;
        match gone {
            true => _ = present.remove(&id),
            false => _ = present.insert(id, replica["ready"] == true),
        }
        let ready = present.values().filter(|ready| **ready).count();
        assert!(!was_there || ready >= REPLICAS, "{ready} ready at {line}");
        assert!(present.len() <= REPLICAS + 1, "{present:?} at {line}");
    }
}

fn ids(replicas: &[Value]) -> BTreeSet<String> {
    let ids = replicas.iter().map(|one| one["id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

#[tokio::test]
async fn an_update_that_cannot_run_leaves_the_previous_revision_serving() {
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
    eventually("the earlier replicas are gone", async || {
        let replicas = cluster.replicas("echo").await;
        if replicas.len() == 1 {
            Ok(())
        } else {
            Err(replicas)
        }
    })
    .await;
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

/// What never gets ready, for nobody listens at the port that is asked.
fn never_ready(more: &str) -> String {
    let cache = example("cache");
    let service = format!(
        "service: {{ component: {cache}, readiness: {{ tcp: {{ port: 81 }}, interval: 50ms }} }}\n"
    );
    colour("green") + &service + &format!("update: {{ progressDeadline: 2s{more} }}\n")
}

#[tokio::test]
async fn an_update_that_never_becomes_ready_is_rolled_back() {
    let cluster = cluster(1).await;
    cluster.apply(&colour("red")).await;
    let before = cluster.replica("echo").await;
    let client = Client::start(cluster.http());
    cluster.try_apply(&never_ready("")).await.refused(
        1,
        &[
            "revision 2 made no progress within its deadline and was rolled back to revision 1",
            "nothing listens there",
        ],
    );
    let settled = eventually("the rollback is rolled out", async || {
        let workload = cluster.workload("echo").await;
        let whole = workload["status"]["rollout"]["state"] == "COMPLETE";
        if whole { Ok(workload) } else { Err(workload) }
    })
    .await;
    assert_eq!(
        (
            &settled["revision"],
            &settled["sourceRevision"],
            &settled["revisionCause"]
        ),
        (&3.into(), &1.into(), &"ROLLED_BACK_ON_FAILURE".into())
    );
    let replies = client.finish().await;
    let failed: Vec<&Reply> = replies
        .iter()
        .filter(|reply| reply.text() != "COLOUR=red\n")
        .collect();
    assert!(failed.is_empty(), "{failed:#?} of {}", replies.len());
    let history = cluster.warren(&["history", "echo"]).await.ok();
    assert!(history.contains("rolled back to 1: 2 stalled"), "{history}");
    let after = cluster.replica("echo").await;
    assert_ne!(
        before["id"], after["id"],
        "a rollback is a rollout like any"
    );
}

/// Its readiness probe is its first client, and its end.
fn ready_for_a_moment() -> String {
    let hostile = guest("hostile");
    let service = format!(
        "service: {{ component: {hostile}, args: [ trap-on-connect ], \
         readiness: {{ tcp: {{ port: 8080 }}, interval: 10ms }}, \
         restart: {{ initialBackoff: 50ms, maxBackoff: 50ms, maxRestarts: 1000 }} }}\n"
    );
    colour("green") + &service + "update: { progressDeadline: 4s }\n"
}

#[tokio::test]
async fn an_update_that_is_ready_only_briefly_is_rolled_back() {
    let cluster = cluster(1).await;
    cluster.apply(&colour("red")).await;
    assert_eq!(cluster.replica("echo").await["available"], true);
    let events = cluster.follow("events", &["events", "echo", "-w", "-o", "json"]);
    cluster.try_apply(&ready_for_a_moment()).await.refused(
        1,
        &["revision 2 made no progress within its deadline and was rolled back to revision 1"],
    );
    let before = cluster.warren(&["history", "echo"]).await.ok();
    assert!(before.contains("rolled back to 1: 2 stalled"), "{before}");
    eventually("only working replicas answer", async || {
        let settled = cluster.workload("echo").await["status"]["rollout"]["state"] == "COMPLETE";
        let answer = cluster.get("echo.localhost", "/env").await.text();
        let works = settled && answer == "COLOUR=red\n";
        if works { Ok(()) } else { Err(answer) }
    })
    .await;
    let said = events.stdout().join("\n");
    assert!(said.contains("it takes work"), "it never was ready: {said}");
    assert!(said.contains("the service trapped"), "{said}");
}

#[tokio::test]
async fn a_stalled_update_is_left_alone_when_rollback_is_off() {
    let mut cluster = Cluster::start_with(lab(), 1, &["--worker-timeout", "3s"], &[]).await;
    cluster.apply(&colour("red")).await;
    let before = cluster.replica("echo").await;
    let stalls = never_ready(", rollbackOnFailure: false");
    cluster.try_apply(&stalls).await.refused(
        1,
        &[
            "revision 2 made no progress within 2s",
            "nothing listens there",
        ],
    );
    let is_left = async |cluster: &Cluster| {
        let workload = cluster.workload("echo").await;
        let conditions = workload["status"]["conditions"].as_array().unwrap();
        let progressing = conditions.iter().find(|one| one["type"] == "Progressing");
        let progressing = progressing.unwrap();
        assert_eq!(
            (&progressing["status"], &progressing["reason"]),
            (&"FALSE".into(), &"ProgressDeadlineExceeded".into())
        );
        assert_eq!(workload["revision"], 2);
        let replicas = cluster.replicas("echo").await;
        assert_eq!(replicas.len(), 2, "{replicas:#?}");
        assert!(
            replicas
                .iter()
                .any(|one| one["id"] == before["id"] && one["ready"] == true)
        );
        assert_eq!(
            cluster.get("echo.localhost", "/env").await.text(),
            "COLOUR=red\n"
        );
    };
    is_left(&cluster).await;
    // The control plane that comes after knows.
    cluster.control.process.kill().await;
    cluster.control.start_again(&cluster.lab).await;
    is_left(&cluster).await;
    cluster.warren(&["rollback", "echo", "--wait"]).await.ok();
    assert_eq!(cluster.replica("echo").await["revision"], 3);
}
