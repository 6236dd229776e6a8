//! Rollouts that stall, and what becomes of them.

use std::time::Duration;

use tempfile::TempDir;
use tonic::Code;
use warren_proto::v1::{self, replica::Phase, revision::Cause, rollout::State};

use crate::{
    components::{self, Built},
    harness::{
        Control, SHORT_WORKER_TIMEOUT, condition, next, routed_workload, service_workload,
        workload_with,
    },
    worker::{Machine, Worker, report},
};

/// The first revision is ready on `w1`, and what comes after only starts.
async fn one_that_serves(control: &mut Control, service: &Built) -> (Worker, v1::Replica) {
    let machine = Machine::new("w1");
    let worker = machine.connect(control).await;
    control.run("w", 1, service).await;
    let settled = control.until_settled("w").await;
    let rollout = settled.status.unwrap().rollout.unwrap();
    assert_eq!(
        (rollout.state(), rollout.stable_revision),
        (State::Complete, 1)
    );
    *machine.becomes.lock().unwrap() = Phase::Starting;
    (worker, control.replicas("w").await.remove(0))
}

/// The id of the first replica of a revision that a worker starts.
async fn until_there_is_one_of(control: &mut Control, revision: u32) -> String {
    let mut watch = control.watch_replicas("w", "").await;
    loop {
        let seen = next(&mut watch).await.unwrap().expect("the watch goes on");
        let wanted =
            |held: &v1::Replica| held.revision == revision && held.phase() == Phase::Starting;
        if let Some(replica) = seen.replica.filter(wanted) {
            return replica.id;
        }
    }
}

/// With a deadline of one second.
fn hasty(mut workload: v1::Workload, rollback_on_failure: bool) -> v1::Workload {
    workload.spec.as_mut().unwrap().update = Some(v1::Update {
        progress_deadline: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        rollback_on_failure: Some(rollback_on_failure),
        ..Default::default()
    });
    workload
}

fn is_stalled(workload: &v1::Workload) -> bool {
    condition(workload, "Progressing").is_some_and(|held| {
        held.reason == "ProgressDeadlineExceeded" && held.status() == v1::condition::Status::False
    })
}

async fn start() -> Control {
    Control::start_in(TempDir::new().unwrap(), SHORT_WORKER_TIMEOUT).await
}

#[tokio::test]
async fn a_rollout_that_stalls_leaves_the_old_at_work_and_goes_on_when_it_can() {
    let mut control = start().await;
    let (worker, old) = one_that_serves(&mut control, &components::service("a")).await;
    let service = components::service("a");
    let broken = hasty(workload_with("w", &service, "broken"), false);
    control.apply(broken).await.unwrap();
    let stalled = control.until("w", is_stalled).await;
    assert_eq!(
        (
            stalled.revision,
            stalled.status.as_ref().unwrap().ready_replicas
        ),
        (2, 0)
    );
    let message = &condition(&stalled, "Progressing").unwrap().message;
    assert!(
        message.contains("revision 2 made no progress within 1s: 0 of 1 replicas are ready"),
        "{message}"
    );
    let event = control.until_event("ProgressDeadlineExceeded").await;
    assert_eq!((event.r#type(), event.count), (v1::event::Type::Warning, 1));
    let replicas = control.replicas("w").await;
    let kept = replicas.iter().find(|held| held.id == old.id).unwrap();
    assert!(kept.ready && kept.phase() == Phase::Running);

    let new = replicas.iter().find(|held| held.id != old.id).unwrap();
    worker.report(report(&new.id, Phase::Running)).await;
    let settled = control.until_settled("w").await;
    let rollout = settled.status.unwrap().rollout.unwrap();
    assert_eq!(
        (rollout.state(), rollout.stable_revision),
        (State::Complete, 2)
    );
}

#[tokio::test]
async fn a_rollout_that_stalls_is_rolled_back_once() {
    let mut control = start().await;
    let service = components::service("a");
    let (worker, old) = one_that_serves(&mut control, &service).await;
    let broken = hasty(workload_with("w", &service, "broken"), true);
    control.apply(broken).await.unwrap();
    let back = control.until("w", |w| w.revision == 3).await;
    assert_eq!(back.revision_cause(), Cause::RolledBackOnFailure);
    assert_eq!(
        (back.source_revision, back.caller.as_str()),
        (1, "control-plane")
    );
    let args = &back.spec.as_ref().unwrap().service.as_ref().unwrap().args;
    assert!(args.is_empty(), "{args:?}");
    let event = control.until_event("ProgressDeadlineExceeded").await;
    assert!(
        event.message.starts_with("revision 2 made no progress"),
        "{event:?}"
    );
    let event = control.until_event("RolledBack").await;
    assert_eq!(event.message, "revision 3 brings revision 1 back");
    let request = v1::ListRevisionsRequest {
        name: "w".to_owned(),
        ..Default::default()
    };
    let listed = control.workloads.list_revisions(request).await.unwrap();
    let causes: Vec<_> = listed.into_inner().revisions;
    let causes: Vec<_> = causes
        .iter()
        .map(|one| (one.revision, one.cause()))
        .collect();
    assert_eq!(
        causes,
        [
            (3, Cause::RolledBackOnFailure),
            (2, Cause::Applied),
            (1, Cause::Applied)
        ]
    );

    let new = until_there_is_one_of(&mut control, 3).await;
    let replicas = control.replicas("w").await;
    assert!(replicas.iter().any(|held| held.id == old.id && held.ready));
    worker.report(report(&new, Phase::Running)).await;
    let settled = control.until_settled("w").await;
    assert_eq!(settled.revision, 3);
}

#[tokio::test]
async fn a_rollback_that_stalls_too_stays_as_it_is() {
    let mut control = start().await;
    let service = components::service("a");
    let machine = Machine::new("w1");
    let _worker = machine.connect(&control).await;
    control.push(&service).await;
    let good = hasty(service_workload("w", Some(1), &service), true);
    control.apply(good).await.unwrap();
    control.until_settled("w").await;
    let old = control.replicas("w").await.remove(0).id;
    *machine.becomes.lock().unwrap() = Phase::Starting;
    control
        .apply(hasty(workload_with("w", &service, "broken"), true))
        .await
        .unwrap();
    let stalled = control.until("w", is_stalled).await;
    assert_eq!(
        (stalled.revision, stalled.revision_cause()),
        (3, Cause::RolledBackOnFailure)
    );
    let replicas = control.replicas("w").await;
    assert!(replicas.iter().any(|held| held.id == old && held.ready));
    assert!(
        replicas
            .iter()
            .all(|held| held.revision != 2 || !held.ready)
    );
}

#[tokio::test]
async fn a_rollback_that_cannot_be_says_why_and_is_tried_once() {
    let mut control = start().await;
    let service = components::service("a");
    let machine = Machine::new("w1");
    let _worker = machine.connect(&control).await;
    control.push(&service).await;
    control
        .apply(routed_workload("w", &service, "a.localhost"))
        .await
        .unwrap();
    control.until_settled("w").await;
    *machine.becomes.lock().unwrap() = Phase::Starting;
    control
        .apply(hasty(routed_workload("w", &service, "b.localhost"), true))
        .await
        .unwrap();
    // The route that the first revision had is somebody else's by the time.
    control
        .apply(routed_workload("other", &service, "a.localhost"))
        .await
        .unwrap();
    let stalled = control.until("w", is_stalled).await;
    assert_eq!(stalled.revision, 2);
    let event = control.until_event("ProgressDeadlineExceeded").await;
    for text in [
        &event.message,
        &condition(&stalled, "Progressing").unwrap().message,
    ] {
        assert!(
            text.contains("it was not rolled back: ") && text.contains("`default/other`"),
            "{text}"
        );
    }
    assert_eq!(event.count, 1);
}

#[tokio::test]
async fn the_deadline_runs_on_while_the_control_plane_is_away() {
    let mut control = start().await;
    let service = components::service("a");
    let (worker, _) = one_that_serves(&mut control, &service).await;
    let machine = worker.machine.clone();
    let broken = hasty(workload_with("w", &service, "broken"), false);
    control.apply(broken).await.unwrap();
    let begun = control
        .until("w", |w| w.status.as_ref().unwrap().replicas == 2)
        .await;
    let since = |w: &v1::Workload| w.status.clone().unwrap().rollout.unwrap().progress_time;
    let data = control.kill().await;

    // The control plane that comes after knows when it was that something last moved.
    let mut control = Control::start_in(data, SHORT_WORKER_TIMEOUT).await;
    let worker = machine.connect(&control).await;
    let stalled = control.until("w", is_stalled).await;
    assert_eq!(since(&stalled), since(&begun));

    // Replicas that became ready while no control plane ran count, however late they are reported.
    let replicas = control.replicas("w").await;
    let new = replicas
        .iter()
        .find(|held| held.revision == 2)
        .unwrap()
        .id
        .clone();
    drop(worker);
    let data = control.kill().await;
    machine
        .held
        .lock()
        .unwrap()
        .insert(new.clone(), report(&new, Phase::Running));
    let mut control = Control::start_in(data, SHORT_WORKER_TIMEOUT).await;
    let _worker = machine.connect(&control).await;
    assert_eq!(control.until_settled("w").await.revision, 2);
}

#[tokio::test]
async fn a_scaled_rollout_has_its_whole_deadline_again() {
    let mut control = start().await;
    let service = components::service("a");
    let (_worker, _) = one_that_serves(&mut control, &service).await;
    let broken = hasty(workload_with("w", &service, "broken"), false);
    control.apply(broken).await.unwrap();
    let stalled = control.until("w", is_stalled).await;
    let scale = v1::ScaleRequest {
        name: "w".to_owned(),
        replicas: 2,
        ..Default::default()
    };
    let scaled = control.workloads.scale(scale).await.unwrap().into_inner();
    let rollout = |w: &v1::Workload| w.status.clone().unwrap().rollout.unwrap();
    let (before, after) = (rollout(&stalled), rollout(&scaled.workload.unwrap()));
    assert_eq!(after.state(), State::Progressing);
    let millis = |time: Option<prost_types::Timestamp>| {
        let time = std::time::SystemTime::try_from(time.unwrap()).unwrap();
        time.duration_since(std::time::UNIX_EPOCH).unwrap()
    };
    assert!(millis(after.progress_time) >= millis(before.progress_time) + Duration::from_secs(1));
    let gone = v1::RollbackRequest {
        name: "none".to_owned(),
        ..Default::default()
    };
    let refused = control.workloads.rollback(gone).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}
