//! Workers that come under another name or from another cluster, that leave in order, and that are
//! gone for good.

use std::time::Duration;

use tempfile::TempDir;
use tonic::Code;
use warren_control::Config;
use warren_proto::v1::{self, replica::Phase, session_request::Message};

use crate::{
    components,
    harness::{Control, SHORT_WORKER_TIMEOUT, WORKER_TIMEOUT},
    worker::{Machine, Worker, report},
};

/// Why a worker is, or is not, ready.
fn reason(worker: &v1::Worker) -> &str {
    let ready = worker.conditions.iter().find(|one| one.r#type == "Ready");
    ready.map_or("", |ready| ready.reason.as_str())
}

async fn cluster_id(control: &Control) -> String {
    let mut system = v1::system_service_client::SystemServiceClient::new(control.channel.clone());
    let info = system.get_info(v1::GetInfoRequest {}).await.unwrap();
    info.into_inner().cluster_id
}

/// A worker stops in order, with this as the last that it says of a replica, and is gone.
async fn leaves(control: &mut Control, worker: Worker, keep: i64, last: v1::ReplicaReport) {
    let name = worker.machine.name.clone();
    worker.leave(keep, false).await;
    worker.report(last).await;
    worker.leave(keep, true).await;
    control
        .until_worker(&name, |it| it.departure.is_some_and(|it| it.stopped))
        .await;
    worker.vanish().await;
}

#[tokio::test]
async fn a_store_has_an_identity_that_starts_do_not_change() {
    let control = Control::start().await;
    let id = cluster_id(&control).await;
    let worker = Machine::new("w1").connect(&control).await;
    assert!(!id.is_empty());
    assert_eq!(worker.welcome.cluster_id, id);
    drop(worker);
    let again = Control::start_in(control.stop().await, WORKER_TIMEOUT).await;
    assert_eq!(cluster_id(&again).await, id);
    assert_ne!(cluster_id(&Control::start().await).await, id);
}

#[tokio::test]
async fn a_renamed_worker_is_told_generations_above_those_it_has_seen() {
    let mut control = Control::start().await;
    let machine = Machine::new("a");
    let mut first = machine.connect(&control).await;
    control.run("w", 1, &components::service("a")).await;
    control.until_settled("w").await;
    let before = first.until_told(|told| !told.assign.is_empty()).await;
    first.leave(0, true).await;
    control.until_worker("a", |it| it.departure.is_some()).await;
    first.vanish().await;
    control.until_worker("a", |it| !it.ready).await;

    let renamed = Machine {
        name: "z".to_owned(),
        held: Default::default(),
        ..machine.clone()
    };
    // It counts on by its id, and above what the worker says, whatever that is.
    for (seen, least) in [(0, before.generation + 1), (900, 901)] {
        let hello = v1::Hello {
            seen: Some(v1::Seen {
                cluster_id: cluster_id(&control).await,
                term: before.term,
                generation: seen,
            }),
            ..renamed.hello()
        };
        let mut worker = renamed.try_connect(&control, hello).await.unwrap();
        let told = worker.until_told(|told| told.complete).await;
        assert!(told.generation >= least, "{told:?}");
        worker.vanish().await;
    }
    let _worker = renamed.connect(&control).await;
    control.until_settled("w").await;
    assert_eq!(control.replicas("w").await[0].worker, "z");
}

#[tokio::test]
async fn a_worker_of_another_cluster_is_shown_and_not_told_what_to_run() {
    let mut control = Control::start().await;
    let id = cluster_id(&control).await;
    let machine = Machine::new("w1");
    let hello = |cluster: &str, term, may_switch| v1::Hello {
        seen: Some(v1::Seen {
            cluster_id: cluster.to_owned(),
            term,
            generation: 1,
        }),
        may_switch,
        ..machine.hello()
    };
    for (cluster, term, expected) in [("another", 1, "OtherCluster"), (&id, 99, "LaterTerm")] {
        let refused = machine
            .try_connect(&control, hello(cluster, term, false))
            .await;
        let refused = refused.err().unwrap();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let advice = ["start it again", "start the worker again"];
        let says = advice.iter().any(|it| refused.message().contains(it));
        assert!(says, "{refused}");
        let shown = control.worker("w1").await;
        assert_eq!((shown.ready, reason(&shown)), (false, expected));
    }
    // As it does once it was started again.
    let _worker = machine
        .try_connect(&control, hello("another", 99, true))
        .await
        .unwrap();
    let shown = control.worker("w1").await;
    assert_eq!((shown.ready, reason(&shown)), (true, "Connected"));
    // Somebody else's name is not taken by being shown.
    let other = Machine {
        id: "other".to_owned(),
        ..machine.clone()
    };
    let stranger = v1::Hello {
        worker_id: other.id.clone(),
        ..hello("another", 1, false)
    };
    other.try_connect(&control, stranger).await.err().unwrap();
    let shown = control.worker("w1").await;
    assert_eq!((shown.ready, shown.id), (true, machine.id.clone()));
}

#[tokio::test]
async fn the_later_of_two_processes_with_one_id_is_the_worker() {
    let mut control = Control::start().await;
    let machine = Machine::new("a");
    let hello = |name: &str, instance: &str| v1::Hello {
        name: name.to_owned(),
        instance: instance.to_owned(),
        ..machine.hello()
    };
    let first = machine
        .try_connect(&control, hello("a", "one"))
        .await
        .unwrap();
    let _second = machine
        .try_connect(&control, hello("z", "two"))
        .await
        .unwrap();
    assert_eq!(first.ended().await.code(), Code::Aborted);
    let refused = machine.try_connect(&control, hello("a", "one")).await;
    let refused = refused.err().unwrap();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains("worker z") && refused.message().contains("worker-id"),
        "{refused}"
    );
    let shown = control.worker("a").await;
    assert_eq!((shown.ready, reason(&shown)), (false, "CopiedId"));
    assert!(control.worker("z").await.ready);
    // One that was started again is a third, and takes its place.
    machine
        .try_connect(&control, hello("a", "three"))
        .await
        .unwrap();
}

#[tokio::test]
async fn dropped_assignments_are_shown_and_the_worker_is_given_no_more() {
    let mut control = Control::start().await;
    let machine = Machine::new("w1");
    let worker = machine.connect(&control).await;
    let dropped = v1::DroppedAssignments {
        term: 1,
        generation: 1,
        message: "worker w1 dropped assignments".to_owned(),
    };
    worker.say(Message::Dropped(dropped)).await;
    let event = control.until_event("AssignmentsDropped").await;
    assert_eq!(event.r#type(), v1::event::Type::Warning);
    let shown = control.worker("w1").await;
    let held = shown
        .conditions
        .iter()
        .find(|one| one.r#type == "Assignments");
    assert_eq!(held.unwrap().reason, "Dropped");
    control.run("w", 1, &components::service("a")).await;
    let waits = |workload: &v1::Workload| {
        let ready = crate::harness::condition(workload, "Ready");
        ready.is_some_and(|held| held.message.contains("1 drops assignments"))
    };
    control.until("w", waits).await;
    // Its next session starts with a clean record.
    let _worker = machine.connect(&control).await;
    control.until_settled("w").await;
}

#[tokio::test]
async fn the_places_of_a_worker_that_leaves_are_filled_at_once() {
    let mut control = Control::start().await;
    let leaving = Machine::new("w1").connect(&control).await;
    control.run("w", 1, &components::service("a")).await;
    control.until_settled("w").await;
    let old = control.replicas("w").await.remove(0);
    let _other = Machine::new("w2").connect(&control).await;
    leaving.leave(0, false).await;
    let elsewhere = |worker: &v1::Worker| {
        let allocated = worker.allocated.as_ref();
        allocated.is_some_and(|allocated| allocated.replicas == 1)
    };
    control.until_worker("w2", elsewhere).await;
    let shown = control.worker("w1").await;
    assert_eq!((shown.ready, reason(&shown)), (true, "Stopping"));
    leaving.report(report(&old.id, Phase::Stopped)).await;
    leaving.leave(0, true).await;
    control
        .until_worker("w1", |it| it.departure.is_some_and(|it| it.stopped))
        .await;
    leaving.vanish().await;
    let gone = control.until_worker("w1", |it| !it.ready).await;
    assert_eq!(reason(&gone), "Stopped");
    control.until_event("Stopped").await;
    control.until_settled("w").await;
    let replicas = control.replicas("w").await;
    assert_eq!(
        (replicas.len(), replicas[0].worker.as_str()),
        (1, "w2"),
        "{replicas:#?}"
    );
}

#[tokio::test]
async fn without_another_worker_the_places_wait_for_the_one_that_left() {
    let mut control = Control::start().await;
    let machine = Machine::new("w1");
    let leaving = machine.connect(&control).await;
    control.run("w", 1, &components::service("a")).await;
    control.until_settled("w").await;
    let old = control.replicas("w").await.remove(0);
    let last = report(&old.id, Phase::Stopped);
    leaves(&mut control, leaving, 0, last).await;
    let waits = |workload: &v1::Workload| {
        let ready = crate::harness::condition(workload, "Ready");
        ready.is_some_and(|held| held.message.contains("1 worker: 1 stop"))
    };
    control.until("w", waits).await;
    machine.held.lock().unwrap().clear();
    let _back = machine.connect(&control).await;
    control.until_settled("w").await;
    assert_eq!(control.replicas("w").await.len(), 1);
}

#[tokio::test]
async fn what_a_worker_keeps_waits_for_it_though_another_is_free() {
    let mut control = Control::start().await;
    let machine = Machine::new("w1");
    let leaving = machine.connect(&control).await;
    control.run("w", 1, &components::service("a")).await;
    control.until_settled("w").await;
    let old = control.replicas("w").await.remove(0);
    let _other = Machine::new("w2").connect(&control).await;
    let last = report(&old.id, Phase::Pending);
    leaves(&mut control, leaving, 60, last).await;
    let shown = control.until_worker("w1", |it| !it.ready).await;
    assert!(shown.departure.unwrap().keep_until.is_some());
    // This starts another plan, and still nothing moves.
    let request = v1::ScaleRequest {
        name: "w".to_owned(),
        replicas: 2,
        ..Default::default()
    };
    control.workloads.scale(request).await.unwrap();
    control
        .until("w", |workload| {
            let status = workload.status.as_ref();
            status.is_some_and(|status| status.ready_replicas == 1)
        })
        .await;
    let replicas = control.replicas("w").await;
    let kept = replicas.iter().find(|it| it.id == old.id).unwrap();
    assert_eq!((kept.worker.as_str(), kept.phase()), ("w1", Phase::Pending));
    assert_eq!(replicas.len(), 2);

    machine.held.lock().unwrap().clear();
    let mut back = machine.connect(&control).await;
    let told = back.until_told(|told| told.complete).await;
    assert_eq!(told.assign[0].replica, old.id);
    control.until_settled("w").await;
    assert!(control.replicas("w").await.iter().any(|it| it.id == old.id));
}

#[tokio::test]
async fn what_is_kept_is_given_away_when_its_time_is_over() {
    let mut control = Control::start().await;
    let leaving = Machine::new("w1").connect(&control).await;
    control.run("w", 1, &components::service("a")).await;
    control.until_settled("w").await;
    let old = control.replicas("w").await.remove(0);
    let _other = Machine::new("w2").connect(&control).await;
    let last = report(&old.id, Phase::Pending);
    leaves(&mut control, leaving, 1, last).await;
    control
        .until_worker("w2", |it| it.allocated.is_some_and(|it| it.replicas == 1))
        .await;
    control.until_settled("w").await;
    assert_ne!(control.replicas("w").await[0].id, old.id);
}

#[tokio::test]
async fn a_worker_that_lives_is_not_deleted() {
    let mut control = Control::start_in(TempDir::new().unwrap(), SHORT_WORKER_TIMEOUT).await;
    assert_eq!(
        control.delete_worker("w1").await.unwrap_err().code(),
        Code::NotFound
    );
    let worker = Machine::new("w1").connect(&control).await;
    let refused = control.delete_worker("w1").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains("warren drain w1 --wait"),
        "{refused}"
    );
    worker.vanish().await;
    control.until_worker("w1", |it| !it.ready).await;
    let refused = control.delete_worker("w1").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("try again in"), "{refused}");
    // Until it counts as lost.
    let removed = async {
        while control.delete_worker("w1").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    crate::harness::within(removed).await;
    assert_eq!(
        control.delete_worker("w1").await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn a_worker_that_has_stopped_is_deleted_and_its_name_is_free() {
    let mut control = Control::start().await;
    let machine = Machine::new("w1");
    let worker = machine.connect(&control).await;
    worker.leave(60, true).await;
    control
        .until_worker("w1", |it| it.departure.is_some())
        .await;
    worker.vanish().await;
    control.until_worker("w1", |it| !it.ready).await;
    let another = v1::Hello {
        worker_id: "another".to_owned(),
        ..machine.hello()
    };
    let taken = machine.try_connect(&control, another.clone()).await;
    assert_eq!(taken.err().unwrap().code(), Code::AlreadyExists);
    control.delete_worker("w1").await.unwrap();
    control.until_event("Removed").await;
    let listed = control
        .workers
        .list(v1::WorkerServiceListRequest::default());
    assert!(listed.await.unwrap().into_inner().workers.is_empty());
    machine.try_connect(&control, another).await.unwrap();
}

#[tokio::test]
async fn a_worker_that_is_not_connected_for_long_is_forgotten() {
    let retention = Duration::from_millis(300);
    let data = TempDir::new().unwrap();
    let config = Config {
        worker_retention: retention,
        worker_timeout: SHORT_WORKER_TIMEOUT,
        ..Config::new(data.path().to_owned())
    };
    let mut control = Control::start_with(data, config).await;
    let _stays = Machine::new("stays").connect(&control).await;
    let goes = Machine::new("goes").connect(&control).await;
    goes.vanish().await;
    let event = control.until_event("Removed").await;
    assert_eq!(event.object, "worker/goes");
    assert!(control.worker("stays").await.ready);
}
