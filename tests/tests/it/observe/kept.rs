//! Lines on the worker's disk: there after it was killed, and never more than it may keep.

use std::{fs, path::Path};

use serde_json::Value;
use warren_tests::{Cluster, Worker, eventually, guest};

use super::logs::{lines, texts, trapper};
use crate::{cluster, lab};

/// Bytes of all files below a directory, which may change meanwhile.
fn bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// Kills the only worker in the midst of this run, starts it again on its data, and waits for the
/// next run.
async fn start_again(cluster: &mut Cluster, workload: &str, run: u32) {
    begun(cluster, workload, run).await;
    let mut gone = cluster.workers.remove(0);
    gone.process.kill().await;
    let back = Worker::start(&cluster.lab, &cluster.control.url, "w1", &[]).await;
    cluster.workers.push(back);
    begun(cluster, workload, run + 1).await;
}

/// Waits until this run takes connections.
async fn begun(cluster: &Cluster, workload: &str, run: u32) {
    eventually(&format!("run {run} has begun"), async || {
        let replica = cluster.replica(workload).await;
        if replica["restarts"] == run && replica["ready"] == true {
            Ok(())
        } else {
            Err(replica)
        }
    })
    .await;
}

#[tokio::test]
async fn lines_outlive_a_worker_that_is_killed() {
    let mut cluster = cluster(1).await;
    cluster.apply(&trapper()).await;
    let previous = ["trapper", "--previous"];
    // The last line of a run, once it is written to the end.
    let run = async |cluster: &Cluster, run: u32| {
        let what = format!("all of run {run} is told");
        eventually(&what, async || {
            let all = lines(cluster, &["trapper"]).await;
            let its = all.iter().filter(|line| line["restarts"] == run);
            let its: Vec<Value> = its.cloned().collect();
            if texts(&its).contains(&"about to fall over") {
                Ok(its)
            } else {
                Err(all)
            }
        })
        .await
    };
    let greeted = async |cluster: &Cluster| {
        eventually("the service answers", async || {
            let reply = cluster.get("trapper.localhost", "/").await;
            if reply.status == 200 {
                Ok(())
            } else {
                Err(reply)
            }
        })
        .await;
    };
    greeted(&cluster).await;
    let first = run(&cluster, 0).await;
    start_again(&mut cluster, "trapper", 1).await;
    let told = lines(&cluster, &["trapper"]).await;
    assert_eq!(
        told[..first.len()],
        first,
        "every line must be the same as before"
    );
    let id = cluster.replica("trapper").await["id"].clone();
    assert!(told.iter().all(|line| line["replica"] == id), "{told:#?}");
    // The second run wrote one line before its worker was killed in the midst of it.
    let second = lines(&cluster, &previous).await;
    assert_eq!(texts(&second), ["trapper: up"]);
    assert_eq!(second[0]["restarts"], 1);
    assert_eq!(lines(&cluster, &["trapper", "--since", "1h"]).await, told);
    let tail = lines(&cluster, &["trapper", "--tail", "2"]).await;
    assert_eq!(tail, told[told.len() - 2..]);

    // Twice killed, and in between it fell over by itself.
    greeted(&cluster).await;
    let third = run(&cluster, 2).await;
    start_again(&mut cluster, "trapper", 3).await;
    let told = lines(&cluster, &["trapper"]).await;
    assert_eq!(told[..first.len()], first);
    let restarts = |line: &Value| line["restarts"].as_u64().unwrap();
    assert!(told.iter().map(restarts).is_sorted(), "{told:#?}");
    let of_third: Vec<Value> = told
        .iter()
        .filter(|line| restarts(line) == 2)
        .cloned()
        .collect();
    assert_eq!(of_third, third);
    let now = restarts(told.last().unwrap());
    let before = lines(&cluster, &previous).await;
    assert!(!before.is_empty(), "{told:#?}");
    assert!(
        before.iter().all(|line| restarts(line) == now - 1),
        "{before:#?}"
    );

    // Its lines go with the replica.
    let kept = cluster.lab.path("w1/logs");
    assert!(bytes(&kept) > 0);
    cluster
        .warren(&["delete", "workload", "trapper", "--wait"])
        .await
        .ok();
    eventually("its files are gone", async || {
        let left: Vec<_> = fs::read_dir(&kept)
            .unwrap()
            .map(|it| it.unwrap().path())
            .collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test]
async fn a_flood_stays_within_what_the_worker_may_keep() {
    const MOST: u64 = 256 << 10;
    let flags = ["--log-max-size", "256KiB"];
    let cluster = Cluster::start_with(lab(), 1, &[], &flags).await;
    let hostile = guest("hostile");
    let manifest =
        format!("name: flood\nreplicas: 1\nservice: {{ component: {hostile}, args: [ logs ] }}\n");
    // It floods for ever, faster than lines are taken. They take turns on disk twice, at least.
    cluster.apply(&manifest).await;
    let dir = cluster.lab.path("w1/logs");
    let mut largest = 0;
    let told = eventually("lines were removed from the disk", async || {
        let held = bytes(&dir);
        largest = largest.max(held);
        assert!(largest <= MOST, "{largest} bytes");
        let told = lines(&cluster, &["flood"]).await;
        match told.first().is_some_and(|first| number(first) > 5_000) {
            true => Ok(told),
            false => Err((held, told.len())),
        }
    })
    .await;
    assert!(largest > MOST / 2, "{largest} bytes");
    // What is left is in order, and what is missing in between is counted.
    assert!(told.len() > 1_000, "{}", told.len());
    for pair in told.windows(2) {
        let dropped = pair[1]["droppedBefore"].as_u64().unwrap();
        assert_eq!(number(&pair[1]), number(&pair[0]) + 1 + dropped);
    }
    let tail = lines(&cluster, &["flood", "--tail", "1500"]).await;
    assert_eq!(tail.len(), 1500);
    assert!(number(&tail[0]) > number(&told[0]));
}

/// Of "line N of a flood".
fn number(line: &Value) -> u64 {
    let text = line["line"].as_str().unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}
