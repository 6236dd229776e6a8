//! A control plane that ends at any moment and comes back over the same data.

use std::time::Duration;

use warren_proto::v1;

use crate::{
    components,
    harness::{Control, WORKER_TIMEOUT, service_workload},
    worker::Machine,
};

#[tokio::test]
async fn what_was_acknowledged_is_there_with_the_same_replicas() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let machine = Machine::new("w1");
    let worker = machine.connect(&control).await;
    let term = worker.welcome.term;
    control.run("w", 2, &service).await;
    let before = control.until_settled("w").await;
    let replicas = control.replicas("w").await;
    let last = control
        .apply(service_workload("late", Some(0), &service))
        .await
        .unwrap();
    let data = control.kill().await;
    drop(worker);

    let mut control = Control::start_in(data, WORKER_TIMEOUT).await;
    let late = control.until("late", |_| true).await;
    assert_eq!(late.uid, last.workload.unwrap().uid);
    let mut worker = machine.connect(&control).await;
    assert!(worker.welcome.term > term);
    let told = worker.until_told(|told| told.complete).await;
    let mut assigned: Vec<_> = told.assign.iter().map(|one| one.replica.clone()).collect();
    assigned.sort();
    let mut ids: Vec<_> = replicas.iter().map(|replica| replica.id.clone()).collect();
    ids.sort();
    assert_eq!(assigned, ids);

    let after = control.until_settled("w").await;
    assert_eq!(
        (&after.uid, after.generation, after.revision),
        (&before.uid, 1, 1)
    );
    let restarts = |all: &[v1::Replica]| {
        all.iter()
            .map(|replica| (replica.id.clone(), replica.restarts))
            .collect::<Vec<_>>()
    };
    assert_eq!(restarts(&control.replicas("w").await), restarts(&replicas));
    // The cluster continues to work.
    control
        .apply(service_workload("w", Some(3), &service))
        .await
        .unwrap();
    control
        .until("w", |w| {
            w.status.as_ref().is_some_and(|s| s.ready_replicas == 3)
        })
        .await;
}

#[tokio::test]
async fn no_worker_is_lost_for_the_control_planes_own_absence() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let machine = Machine::new("w1");
    let worker = machine.connect(&control).await;
    control.run("w", 1, &service).await;
    control.until_settled("w").await;
    let id = control.replicas("w").await.remove(0).id;
    let data = control.stop().await;
    drop(worker);

    // Longer than this test: nothing may be decided before it.
    let mut control = Control::start_in(data, Duration::from_secs(600)).await;
    assert!(!control.worker("w1").await.ready);
    let replicas = control.replicas("w").await;
    assert_eq!(replicas[0].id, id);
    assert_eq!(replicas[0].phase(), v1::replica::Phase::Running);
    let _worker = machine.connect(&control).await;
    control.until_settled("w").await;
    assert_eq!(control.replicas("w").await[0].id, id);
}

#[tokio::test]
async fn events_are_kept() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.run("w", 0, &service).await;
    let created = control.until_event("Created").await;
    assert_eq!((created.caller.as_str(), created.count), ("anonymous", 1));
    let data = control.stop().await;
    let mut control = Control::start_in(data, WORKER_TIMEOUT).await;
    assert_eq!(control.until_event("Created").await, created);
}
