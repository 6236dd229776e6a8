//! Updates and drains under the load of clients that never retry.

use std::time::Instant;

use warren_tests::Cluster;

use crate::{alone, lab, load, manifests, size};

const PER_SECOND: u32 = 200;

#[tokio::test]
async fn updates_and_drains_fail_no_request() {
    let _alone = alone().await;
    let size = size();
    let cluster = Cluster::start(lab(), 3).await;
    cluster.apply(&manifests(size.workloads, 1)).await;
    let workers = cluster.workers.iter().map(|worker| worker.http);
    let clients = load::constant(workers.collect(), size.workloads, PER_SECOND);

    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < size.time || rounds < 2 {
        rounds += 1;
        cluster.apply(&manifests(size.workloads, 1 + rounds)).await;
        let worker = format!("w{}", rounds % 3 + 1);
        cluster.warren(&["drain", &worker, "--wait"]).await.ok();
        cluster.warren(&["uncordon", &worker]).await.ok();
    }
    let outcomes = clients.finish().await;
    let took = began.elapsed();
    let kept = outcomes.iter().filter(|outcome| outcome.kept).count();
    let failures = outcomes
        .iter()
        .filter_map(|outcome| outcome.result.as_ref().err());
    let failures: Vec<_> = failures.collect();
    eprintln!(
        "{rounds} updates of {} workloads and {rounds} drains in {took:.0?}: {} requests, {kept} on kept connections, \
         {} failed",
        size.workloads,
        outcomes.len(),
        failures.len()
    );
    let some: Vec<_> = failures.iter().take(5).collect();
    assert!(failures.is_empty(), "{some:#?} of {}", failures.len());
    let wanted = f64::from(PER_SECOND) * took.as_secs_f64();
    assert!(outcomes.len() as f64 > size.sent * wanted, "of {wanted}");
    // The longer requests take, the more of them are under way at once, on connections of their
    // own.
    assert!(kept as f64 > size.sent / 4.0 * outcomes.len() as f64);
}
