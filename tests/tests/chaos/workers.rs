//! A worker is killed, and its replicas run elsewhere.

use std::time::{Duration, Instant};

use serde_json::Value;
use warren_tests::{Cluster, eventually};

use crate::{alone, lab, load, manifests, size};

const TIMEOUT: Duration = Duration::from_secs(3);
/// Beyond the timeout, for all replicas of a dead worker to serve elsewhere.
const SOON: Duration = Duration::from_secs(2);

#[tokio::test]
async fn replicas_of_a_killed_worker_serve_elsewhere_in_time() {
    let _alone = alone().await;
    let size = size();
    let mut cluster = Cluster::start_with(lab(), 3, &["--worker-timeout", "3s"], &[]).await;
    cluster.apply(&manifests(size.workloads, 1)).await;
    let held = replicas(&cluster).await;
    let its = held.iter().filter(|replica| replica["worker"] == "w2");
    let lost = its.count();
    assert!(lost * 3 >= held.len(), "{lost} of {} ran on w2", held.len());
    let mut dying = cluster.workers.remove(1);
    let others = cluster.workers.iter().map(|worker| worker.http);
    let clients = load::retrying(others.collect(), size.workloads);

    let killed = Instant::now();
    dying.process.kill().await;
    let replaced = eventually("all replicas are ready elsewhere", async || {
        let all = replicas(&cluster).await;
        let serving = all
            .iter()
            .filter(|replica| replica["ready"] == true && replica["worker"] != "w2");
        match serving.count() == 2 * size.workloads {
            true => Ok(killed.elapsed()),
            false => Err(all),
        }
    })
    .await;
    let took = clients.finish().await;
    let longest = took.iter().max().unwrap();
    eprintln!(
        "{lost} replicas of a killed worker are ready elsewhere after {replaced:.1?}; of {} requests that were tried \
         again, the longest took {longest:.1?}",
        took.len()
    );
    assert!(replaced < TIMEOUT + SOON, "{replaced:?}");
    assert!(*longest < TIMEOUT + SOON, "{longest:?}");
}

async fn replicas(cluster: &Cluster) -> Vec<Value> {
    let answer = cluster.warren(&["get", "replicas", "-o", "json"]).await;
    let all = answer.json();
    let all = all.as_array().unwrap().iter();
    all.filter(|replica| replica["phase"] != "STOPPED")
        .cloned()
        .collect()
}
