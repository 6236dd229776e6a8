//! The assignments and fences that workers get for services that never run twice, and when they get
//! them.

use std::time::Instant;

use warren_proto::v1::{self, replica::Phase};

use crate::{
    components::{self, Built},
    harness::{Control, SHORT_WORKER_TIMEOUT, service_workload},
    worker::{Machine, Worker},
};

fn exclusive(name: &str, built: &Built) -> v1::Workload {
    let mut workload = service_workload(name, Some(1), built);
    let spec = workload.spec.as_mut().unwrap();
    spec.service.as_mut().unwrap().exclusive = true;
    workload
}

/// Returns the fence of the workload's replica once it was assigned to the worker.
async fn fence(worker: &mut Worker, workload: &str) -> u64 {
    let has_it = |told: &v1::Assignments| told.assign.iter().any(|it| it.workload == workload);
    let told = worker.until_told(has_it).await;
    let mut assigned = told.assign.into_iter();
    assigned.find(|it| it.workload == workload).unwrap().fence
}

#[tokio::test]
async fn fences_grow_with_every_assignment_whoever_gives_it() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.push(&service).await;
    let machine = Machine::new("w1");
    let mut worker = machine.connect(&control).await;
    control.apply(exclusive("one", &service)).await.unwrap();
    control
        .apply(service_workload("plain", Some(1), &service))
        .await
        .unwrap();
    assert_eq!(fence(&mut worker, "plain").await, 0);
    let mut fences = vec![fence(&mut worker, "one").await];
    control.until_settled("one").await;

    // The worker's process is another one, which holds nothing.
    worker.vanish().await;
    machine.held.lock().unwrap().clear();
    let mut worker = machine.connect(&control).await;
    fences.push(fence(&mut worker, "one").await);
    control.until_settled("one").await;

    // Another life of the workload, under another control plane.
    let delete = v1::DeleteRequest {
        name: "one".to_owned(),
        ..Default::default()
    };
    control.workloads.delete(delete).await.unwrap();
    control.until_gone("one").await;
    let data = control.kill().await;
    drop(worker);
    let mut control = Control::start_in(data, SHORT_WORKER_TIMEOUT).await;
    let mut worker = machine.connect(&control).await;
    control.apply(exclusive("one", &service)).await.unwrap();
    fences.push(fence(&mut worker, "one").await);
    assert!(
        fences[0] > 0 && fences.is_sorted_by(|a, b| a < b),
        "{fences:?}"
    );
}

/// A control plane that waits for less than the one before it: what that one acknowledged counts
/// on.
#[tokio::test]
async fn a_shorter_timeout_does_not_cut_leases_that_were_given() {
    let mut control =
        Control::start_in(tempfile::tempdir().unwrap(), 3 * SHORT_WORKER_TIMEOUT).await;
    let service = components::service("a");
    control.push(&service).await;
    let worker = Machine::new("w1").connect(&control).await;
    control.apply(exclusive("one", &service)).await.unwrap();
    control.until_settled("one").await;
    let data = control.kill().await;
    let killed = Instant::now();
    drop(worker);

    // Nor is it forgotten by one that is not there for long.
    let control = Control::start_in(data, SHORT_WORKER_TIMEOUT).await;
    let data = control.kill().await;
    let mut control = Control::start_in(data, SHORT_WORKER_TIMEOUT).await;
    let mut other = Machine::new("w2").connect(&control).await;
    fence(&mut other, "one").await;
    let waited = killed.elapsed();
    assert!(waited >= 3 * SHORT_WORKER_TIMEOUT, "{waited:?}");
    let replicas = control.replicas("one").await;
    let lost = replicas.iter().filter(|it| it.phase() == Phase::Lost);
    assert_eq!(lost.count(), 1, "{replicas:#?}");
}
