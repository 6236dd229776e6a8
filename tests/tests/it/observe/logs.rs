//! The lines that `warren logs` prints, their order, and its message when there are none.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use warren_tests::{Cluster, eventually, get, guest, within};

use crate::{cluster, http_echo};

/// A service that answers one client and traps, with a component in front of it.
pub fn trapper() -> String {
    let (trapper, front) = (guest("trapper"), guest("trapper-front"));
    format!(
        "name: trapper\n\
         replicas: 1\n\
         service: {{ component: {trapper}, restart: {{ initialBackoff: 10ms, maxBackoff: 10ms }} }}\n\
         components:\n\
         - {{ name: front, component: {front}, routes: [ {{ host: trapper.localhost, path: / }} ] }}\n"
    )
}

/// What `warren logs` prints as data.
pub async fn lines(cluster: &Cluster, arguments: &[&str]) -> Vec<Value> {
    let words = [&["logs"], arguments, &["-o", "json"]].concat();
    let printed = cluster.warren(&words).await.ok();
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub fn texts(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line["line"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn previous_is_the_run_before_the_last_restart() {
    let cluster = cluster(1).await;
    cluster.apply(&trapper()).await;
    let previous = ["trapper", "--previous"];
    let too_early = cluster.warren(&["logs", "trapper", "--previous"]).await;
    too_early.refused(1, &["workload/trapper", "restarted yet"]);

    for run in 0..3 {
        eventually("the service answers", async || {
            let reply = cluster.get("trapper.localhost", "/").await;
            if reply.status == 200 {
                Ok(())
            } else {
                Err(reply)
            }
        })
        .await;
        // Every line of the run before, and of no other.
        let its = eventually("the previous run is reported", async || {
            let its = lines(&cluster, &previous).await;
            let is_it = its.first().is_some_and(|line| line["restarts"] == run);
            if is_it { Ok(its) } else { Err(its) }
        })
        .await;
        assert!(its.iter().all(|line| line["restarts"] == run), "{its:#?}");
        assert!(
            its.iter().all(|line| line["source"] == "service"),
            "{its:#?}"
        );
        let said = texts(&its);
        assert_eq!(said[0], "trapper: up");
        assert!(said.contains(&"about to fall over"), "{said:?}");
    }
    let all = lines(&cluster, &["trapper"]).await;
    assert_eq!(
        all[0]["restarts"], 0,
        "earlier runs are kept while there is room"
    );
    let last = lines(&cluster, &["trapper", "--previous", "--tail", "1"]).await;
    assert_eq!(last.len(), 1);
    let of_front = lines(&cluster, &["trapper", "--previous", "--source", "front"]).await;
    assert_eq!(of_front, Vec::<Value>::new());
    let both = cluster
        .warren(&["logs", "trapper", "--previous", "-f"])
        .await;
    both.refused(2, &["--previous", "--follow"]);
}

#[tokio::test]
async fn lines_of_several_replicas_are_ordered_by_time() {
    let cluster = cluster(2).await;
    cluster
        .apply(&http_echo("").replace("replicas: 1", "replicas: 2"))
        .await;
    for _ in 0..3 {
        for worker in &cluster.workers {
            assert_eq!(
                get(worker.http, "echo.localhost", "/stdout").await.text(),
                "ok\n"
            );
        }
    }
    let all = lines(&cluster, &["echo"]).await;
    let told = |field: &str| -> Vec<&str> {
        all.iter()
            .map(|line| line[field].as_str().unwrap())
            .collect()
    };
    assert_eq!(all.len(), 12);
    let times: Vec<jiff::Timestamp> = told("time")
        .iter()
        .map(|time| time.parse().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:#?}");
    let mut turns = told("replica");
    turns.dedup();
    assert_eq!(turns.len(), 6, "by turns, as they were asked: {turns:?}");

    let id = turns[0];
    // Without the workload's name, and without the last letter.
    let short = id.trim_start_matches("echo-");
    let short = &short[..short.len() - 1];
    let one = lines(&cluster, &["echo", "--replica", short]).await;
    assert_eq!(one.len(), 6);
    assert!(one.iter().all(|line| line["replica"] == id), "{one:#?}");
    let unknown = cluster
        .warren(&["logs", "echo", "--replica", "nobody"])
        .await;
    unknown.refused(1, &["no replica `nobody`", turns[0], turns[1]]);
    let both = cluster
        .warren(&["logs", "echo", "--replica", "echo-"])
        .await;
    both.refused(1, &["2 replicas", turns[0], turns[1]]);

    let since = |time: &'static str| ["echo", "--since", time];
    assert_eq!(lines(&cluster, &since("1h")).await.len(), 12);
    assert_eq!(lines(&cluster, &since("1ms")).await.len(), 0);
    let tail = lines(&cluster, &["echo", "--tail", "1", "--since", "1h"]).await;
    assert_eq!(tail.len(), 2, "one of each replica: {tail:#?}");
    let source = cluster
        .warren(&["logs", "echo", "--source", "service"])
        .await;
    source.refused(1, &["`service`", "`web`"]);
    cluster
        .warren(&["logs", "ehco"])
        .await
        .refused(1, &["`default/ehco`", "`echo`"]);

    // What a worker kept went with it.
    let mut cluster = cluster;
    cluster.workers[1].process.kill().await;
    let cluster = cluster;
    eventually("the control plane misses the worker", async || {
        let answer = cluster.warren(&["logs", "echo"]).await;
        if answer.code == Some(1) {
            Ok(answer)
        } else {
            Err(answer)
        }
    })
    .await
    .refused(1, &["some lines cannot be read", "`w2` is not connected"]);
}

#[tokio::test]
async fn following_resumes_when_the_control_plane_returns_and_ends_with_the_workload() {
    let mut cluster = cluster(1).await;
    cluster.apply(&http_echo("")).await;
    let said = async |cluster: &Cluster| {
        assert_eq!(
            cluster.get("echo.localhost", "/stdout").await.text(),
            "ok\n"
        );
    };
    said(&cluster).await;
    let mut follow = cluster.follow("logs", &["logs", "echo", "-f", "--source", "web"]);
    let count = |lines: &[String]| {
        lines
            .iter()
            .filter(|line| line.ends_with("on stdout"))
            .count()
    };
    let times = |wanted: usize| move |lines: &[String]| (count(lines) == wanted).then_some(());
    follow.said("the first line", times(1)).await;

    cluster.control.process.kill().await;
    // Written while nobody could hear it, and heard later.
    said(&cluster).await;
    cluster.control.start_again(&cluster.lab).await;
    follow.said("the second line", times(2)).await;
    said(&cluster).await;
    follow.said("the third line", times(3)).await;

    cluster
        .warren(&["delete", "workload", "echo", "--wait"])
        .await
        .ok();
    assert_eq!(follow.ended().await.code(), Some(0));
    assert_eq!(
        count(&follow.stdout()),
        3,
        "nothing twice: {:#?}",
        follow.stdout()
    );
    assert!(
        follow.stderr().contains("workload/echo was deleted"),
        "{}",
        follow.stderr()
    );
}

#[tokio::test]
async fn a_reader_that_closes_the_pipe_is_not_an_error() {
    let cluster = cluster(1).await;
    cluster.apply(&http_echo("")).await;
    let mut follow = cluster.command(&["logs", "echo", "-f"]);
    let mut follow = follow
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(follow.stdout.take().unwrap());
    let ask = async || {
        assert_eq!(
            cluster.get("echo.localhost", "/stdout").await.text(),
            "ok\n"
        );
    };
    ask().await;
    let mut line = String::new();
    within("a line", stdout.read_line(&mut line)).await.unwrap();
    drop(stdout);
    // The next line finds nobody.
    ask().await;
    let output = within("its end", follow.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
