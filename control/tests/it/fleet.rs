//! Sessions of workers, and what the reconciler makes of them.

use tonic::Code;
use warren_proto::v1::{self, replica::Phase};

use crate::{
    components,
    harness::{Control, SHORT_WORKER_TIMEOUT, SOON, condition, service_workload, within},
    worker::{Machine, report},
};

#[tokio::test]
async fn a_workload_is_assigned_reported_and_ready() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let created = control.run("w", 2, &service).await;
    let waiting =
        |w: &v1::Workload| condition(w, "Ready").is_some_and(|held| held.reason == "Unschedulable");
    let pending = control.until("w", waiting).await;
    let why = &condition(&pending, "Ready").unwrap().message;
    assert!(why.contains("no workers"), "{why}");

    let mut worker = Machine::new("w1").connect(&control).await;
    let ready = control.until_settled("w").await;
    let status = ready.status.unwrap();
    assert_eq!((status.replicas, status.ready_replicas), (2, 2));
    let told = worker.until_told(|told| !told.assign.is_empty()).await;
    assert_eq!(told.term, worker.welcome.term);
    let assignment = &told.assign[0];
    assert_eq!(
        (assignment.workload.as_str(), assignment.revision),
        ("w", 1)
    );
    assert_eq!(assignment.workload_uid, created.uid);
    let spec = assignment.spec.as_ref().unwrap();
    assert!(
        spec.service.as_ref().unwrap().restart.is_some(),
        "defaults are written out"
    );

    let replicas = control.replicas("w").await;
    assert!(
        replicas
            .iter()
            .all(|replica| replica.worker == "w1" && replica.ready)
    );
    assert!(
        replicas[0]
            .conditions
            .iter()
            .any(|held| held.r#type == "Scheduled")
    );
    let seen = control.worker("w1").await;
    assert!(seen.ready && seen.last_heartbeat.is_some());
    assert_eq!(seen.allocated.unwrap().replicas, 2);
    let event = control.until_event("RUNNING").await;
    assert_eq!(
        (event.namespace.as_str(), event.workload.as_str()),
        ("default", "w")
    );
}

#[tokio::test]
async fn the_first_assignments_are_complete_and_later_ones_are_what_changed() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let machine = Machine::new("w1");
    machine
        .held
        .lock()
        .unwrap()
        .insert("unknown".to_owned(), report("unknown", Phase::Running));
    let mut worker = machine.connect(&control).await;
    let first = worker.until_told(|_| true).await;
    assert!(first.complete && first.assign.is_empty());
    // A replica that was not assigned is stopped.
    assert!(machine.held.lock().unwrap().is_empty());

    control.run("w", 2, &service).await;
    control.until_settled("w").await;
    control
        .apply(service_workload("w", Some(1), &service))
        .await
        .unwrap();
    control.until_settled("w").await;
    let stop = worker.until_told(|told| !told.stop.is_empty()).await;
    assert_eq!(
        (stop.stop.len(), stop.assign.len(), stop.complete),
        (1, 0, false)
    );
    let generations: Vec<_> = worker
        .assignments
        .borrow()
        .iter()
        .map(|told| told.generation)
        .collect();
    assert!(generations.is_sorted_by(|a, b| a < b), "{generations:?}");
    assert_eq!(control.replicas("w").await.len(), 1);
}

#[tokio::test]
async fn a_new_revision_surges_and_the_old_one_goes_when_it_is_ready() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let machine = Machine::new("w1");
    let worker = machine.connect(&control).await;
    control.run("w", 1, &service).await;
    control.until_settled("w").await;
    let old = control.replicas("w").await.remove(0).id;

    // The new one starts, and stays short of ready until the test says so.
    *machine.becomes.lock().unwrap() = Phase::Starting;
    let mut changed = service_workload("w", None, &service);
    changed
        .spec
        .as_mut()
        .unwrap()
        .service
        .as_mut()
        .unwrap()
        .args = vec!["x".to_owned()];
    control.apply(changed).await.unwrap();
    control
        .until("w", |w| {
            w.status.as_ref().is_some_and(|status| status.replicas == 2)
        })
        .await;
    let replicas = control.replicas("w").await;
    let new = replicas.iter().find(|replica| replica.id != old).unwrap();
    assert_eq!(new.revision, 2);
    let before = replicas.iter().find(|replica| replica.id == old).unwrap();
    assert!(before.ready && before.phase() == Phase::Running);

    worker.report(report(&new.id, Phase::Running)).await;
    let settled = control.until_settled("w").await;
    assert_eq!(settled.revision, 2);
    let left = control.replicas("w").await;
    assert_eq!(
        left.iter().map(|replica| &replica.id).collect::<Vec<_>>(),
        [&new.id]
    );
}

#[tokio::test]
async fn a_name_belongs_to_one_worker() {
    let control = Control::start().await;
    let machine = Machine::new("w1");
    let _worker = machine.connect(&control).await;
    let other = v1::Hello {
        worker_id: "another".to_owned(),
        ..machine.hello()
    };
    let refused = machine.try_connect(&control, other).await.err().unwrap();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().contains("`w1`"), "{refused}");
}

#[tokio::test]
async fn a_name_is_held_while_its_worker_may_come_back() {
    let mut control = Control::start().await;
    let machine = Machine::new("w1");
    let worker = machine.connect(&control).await;
    worker.vanish().await;
    control.until_event("Disconnected").await;
    let other = v1::Hello {
        worker_id: "another".to_owned(),
        ..machine.hello()
    };
    let refused = machine.try_connect(&control, other).await.err().unwrap();
    assert_eq!(refused.code(), Code::AlreadyExists);
}

#[tokio::test]
async fn the_same_worker_may_return_at_once() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let machine = Machine::new("w1");
    let first = machine.connect(&control).await;
    control.run("w", 1, &service).await;
    control.until_settled("w").await;
    let before = control.replicas("w").await.remove(0);

    let mut second = machine.connect(&control).await;
    assert_eq!(first.ended().await.code(), Code::Aborted);
    let told = second.until_told(|told| told.complete).await;
    assert_eq!(told.assign[0].replica, before.id);
    let after = control.replicas("w").await.remove(0);
    assert_eq!(
        (after.id, after.restarts, after.ready),
        (before.id, before.restarts, true)
    );
    assert!(control.worker("w1").await.ready);
}

#[tokio::test]
async fn another_protocol_version_is_refused_with_both() {
    let control = Control::start().await;
    let machine = Machine::new("w1");
    let hello = v1::Hello {
        protocol_version: 99,
        ..machine.hello()
    };
    let refused = machine.try_connect(&control, hello).await.err().unwrap();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let own = warren_proto::SESSION_PROTOCOL_VERSION.to_string();
    assert!(
        refused.message().contains("99") && refused.message().contains(&own),
        "{refused}"
    );
}

#[tokio::test]
async fn replicas_of_a_silent_worker_are_lost_and_replaced() {
    let mut control = impatient().await;
    let service = components::service("a");
    let machine = Machine::new("w1");
    let worker = machine.connect(&control).await;
    control.run("w", 1, &service).await;
    control.until_settled("w").await;
    let old = control.replicas("w").await.remove(0);
    worker.vanish().await;
    let _second = Machine::new("w2").connect(&control).await;

    let elsewhere = async {
        loop {
            control.until_settled("w").await;
            let replicas = control.replicas("w").await;
            if let Some(new) = replicas.iter().find(|replica| replica.worker == "w2") {
                return (new.clone(), replicas);
            }
            control.until("w", |w| !crate::harness::is_settled(w)).await;
        }
    };
    let (new, replicas) = tokio::time::timeout(SOON, elsewhere).await.unwrap();
    assert_ne!(new.id, old.id);
    let lost = replicas
        .iter()
        .find(|replica| replica.id == old.id)
        .unwrap();
    assert_eq!(lost.phase(), Phase::Lost);
    assert_eq!(
        lost.last_exit.as_ref().unwrap().reason(),
        v1::exit::Reason::Lost
    );

    // When it is back, it learns that its replica is no longer wanted.
    let mut back = machine.connect(&control).await;
    let told = back.until_told(|told| told.complete).await;
    assert!(told.assign.is_empty(), "{told:?}");
    let gone = async {
        while control.replicas("w").await.len() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, gone).await.unwrap();
}

#[tokio::test]
async fn a_session_without_heartbeats_is_ended() {
    use tokio_stream::wrappers::ReceiverStream;
    use warren_proto::v1::{fleet_service_client::FleetServiceClient, session_request::Message};

    let mut control = impatient().await;
    let (sender, requests) = tokio::sync::mpsc::channel(4);
    let hello = Message::Hello(Machine::new("w1").hello());
    sender
        .send(v1::SessionRequest {
            message: Some(hello),
        })
        .await
        .unwrap();
    let mut client = FleetServiceClient::new(control.channel.clone());
    let mut inbound = client
        .session(ReceiverStream::new(requests))
        .await
        .unwrap()
        .into_inner();
    let status = loop {
        match crate::harness::next(&mut inbound).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a status"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);
    control.until_event("Disconnected").await;
    assert!(!control.worker("w1").await.ready);
}

/// A control plane that gives up silent workers while a test waits.
async fn impatient() -> Control {
    Control::start_in(tempfile::TempDir::new().unwrap(), SHORT_WORKER_TIMEOUT).await
}

#[tokio::test]
async fn every_worker_learns_where_warren_listens() {
    let control = Control::start().await;
    let (first, second) = (Machine::new("w1"), Machine::new("w2"));
    let hello = v1::Hello {
        listeners: vec!["10.0.0.7:7701".to_owned(), "[2001:db8::7]:7701".to_owned()],
        ..first.hello()
    };
    let one = first.try_connect(&control, hello).await.unwrap();
    let _two = second.connect(&control).await;
    let told = |news: &v1::FleetListeners, worker: &str, addresses: &[&str]| {
        let mut workers = news.workers.iter();
        workers.any(|told| told.worker == worker && told.addresses == addresses)
    };
    let all = [
        "http://127.0.0.1:7701",
        "10.0.0.7:7701",
        "[2001:db8::7]:7701",
    ];
    // The first message names everybody, the sender and the control plane among them.
    let mut seen = second.listeners.subscribe();
    let whole = within(seen.wait_for(|seen| !seen.is_empty()))
        .await
        .unwrap()[0]
        .clone();
    assert!(whole.complete, "{whole:?}");
    assert_eq!(whole.control, [control.address().to_string()]);
    assert!(told(&whole, "w1", &all), "{whole:?}");
    assert!(told(&whole, "w2", &all[..1]), "{whole:?}");
    // Workers that were there before learn of those that join.
    let mut seen = first.listeners.subscribe();
    let hears =
        |seen: &Vec<v1::FleetListeners>| seen.iter().any(|news| told(news, "w2", &all[..1]));
    within(seen.wait_for(hears)).await.unwrap();
    // Later addresses are announced, and text that is not an address is left out.
    let later = vec!["10.0.0.9:7701".to_owned(), "worker:7701".to_owned()];
    *first.listens.lock().unwrap() = later;
    one.heartbeats(1).await;
    let moved = ["http://127.0.0.1:7701", "10.0.0.9:7701"];
    let mut seen = second.listeners.subscribe();
    let hears = |seen: &Vec<v1::FleetListeners>| seen.iter().any(|news| told(news, "w1", &moved));
    within(seen.wait_for(hears)).await.unwrap();

    let odd = v1::Hello {
        listeners: vec!["worker:7701".to_owned()],
        ..Machine::new("w3").hello()
    };
    let refused = Machine::new("w3").try_connect(&control, odd).await;
    let refused = refused.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
}
