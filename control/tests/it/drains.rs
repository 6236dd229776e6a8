//! Cordon, Uncordon, Drain.

use tonic::{Code, Status, Streaming};
use warren_proto::v1::{self, replica::Phase};

use crate::{
    components,
    harness::{Control, next, service_workload, within},
    worker::{Machine, report},
};

async fn cordon(control: &mut Control, name: &str) -> Result<v1::Worker, Status> {
    let name = name.to_owned();
    let response = within(control.workers.cordon(v1::CordonRequest { name })).await?;
    Ok(response.into_inner().worker.unwrap())
}

async fn uncordon(control: &mut Control, name: &str) -> v1::Worker {
    let name = name.to_owned();
    let response = within(control.workers.uncordon(v1::UncordonRequest { name })).await;
    response.unwrap().into_inner().worker.unwrap()
}

async fn drain(control: &mut Control, name: &str) -> v1::Worker {
    let name = name.to_owned();
    let response = within(control.workers.drain(v1::DrainRequest { name })).await;
    response.unwrap().into_inner().worker.unwrap()
}

async fn watch(control: &mut Control, name: &str) -> Streaming<v1::WorkerServiceWatchResponse> {
    let request = v1::WorkerServiceWatchRequest {
        name: name.to_owned(),
        ..Default::default()
    };
    within(control.workers.watch(request))
        .await
        .unwrap()
        .into_inner()
}

/// Watches the drain of a worker until it is as wanted.
async fn until_drain(
    control: &mut Control,
    name: &str,
    wanted: impl Fn(&v1::Drain) -> bool,
) -> v1::Drain {
    let mut watch = watch(control, name).await;
    loop {
        let seen = next(&mut watch).await.unwrap().expect("the watch goes on");
        let drain = seen.worker.and_then(|worker| worker.drain);
        if let Some(drain) = drain.filter(|drain| wanted(drain)) {
            return drain;
        }
    }
}

fn obstacle(drain: &v1::Drain) -> String {
    drain
        .obstacles
        .first()
        .map(|held_up| held_up.message.clone())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_cordoned_worker_keeps_what_it_has_and_takes_no_more() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let _worker = Machine::new("w1").connect(&control).await;
    control.run("w", 1, &service).await;
    control.until_settled("w").await;
    assert!(cordon(&mut control, "w1").await.unwrap().cordoned);
    let event = control.until_event("Cordoned").await;
    assert_eq!(
        (event.object.as_str(), event.caller.as_str()),
        ("worker/w1", "anonymous")
    );
    // It is so already: nothing happens.
    cordon(&mut control, "w1").await.unwrap();
    assert_eq!(control.until_event("Cordoned").await.count, 1);

    control
        .apply(service_workload("w", Some(2), &service))
        .await
        .unwrap();
    let waiting = |w: &v1::Workload| {
        let ready = crate::harness::condition(w, "Ready");
        ready.is_some_and(|held| held.message.contains("1 worker: 1 cordoned"))
    };
    let seen = control.until("w", waiting).await;
    assert_eq!(seen.status.unwrap().ready_replicas, 1);
    assert!(!uncordon(&mut control, "w1").await.cordoned);
    control.until_settled("w").await;

    let unknown = cordon(&mut control, "w2").await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains("`w2`"), "{unknown}");
}

#[tokio::test]
async fn a_drain_waits_for_the_new_replica_and_goes_on_after_a_restart() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let (first, second) = (Machine::new("w1"), Machine::new("w2"));
    let _first = first.connect(&control).await;
    control.run("w", 1, &service).await;
    control.until_settled("w").await;
    let old = control.replicas("w").await.remove(0);

    let begun = drain(&mut control, "w1").await;
    assert!(begun.cordoned);
    assert_eq!(begun.drain.as_ref().unwrap().replicas, 1);
    let held_up = until_drain(&mut control, "w1", |drain| {
        !obstacle(drain).is_empty() && drain.obstacles[0].message.contains("no other")
    })
    .await;
    assert_eq!(
        obstacle(&held_up),
        "1 replica has no other worker: 1 worker: 1 cordoned"
    );
    assert_eq!(
        (
            held_up.obstacles[0].workload.as_str(),
            held_up.obstacles[0].replicas
        ),
        ("w", 1)
    );

    // The drain continues without another request, because it is stored.
    let data = control.kill().await;
    let mut control = Control::start_in(data, crate::harness::WORKER_TIMEOUT).await;
    let _first = first.connect(&control).await;
    assert_eq!(
        control.worker("w1").await.drain.unwrap().caller,
        "anonymous"
    );
    *second.becomes.lock().unwrap() = Phase::Starting;
    let second = second.connect(&control).await;
    let waits = until_drain(&mut control, "w1", |drain| {
        obstacle(drain).contains("is ready")
    })
    .await;
    let new = control.replicas("w").await;
    let new = new
        .iter()
        .find(|replica| replica.worker == "w2")
        .unwrap()
        .clone();
    assert_eq!(
        obstacle(&waits),
        format!("1 replica waits until {} on worker w2 is ready", new.id)
    );
    let still = control.replicas("w").await;
    assert!(
        still
            .iter()
            .any(|replica| replica.id == old.id && replica.ready)
    );

    second.report(report(&new.id, Phase::Running)).await;
    until_drain(&mut control, "w1", |drain| drain.replicas == 0).await;
    control.until_settled("w").await;
    let left = control.replicas("w").await;
    assert_eq!((left.len(), left[0].worker.as_str()), (1, "w2"));
    assert_eq!(left[0].revision, 1, "a drain makes no revision");
    assert_eq!(uncordon(&mut control, "w1").await.drain, None);
}
