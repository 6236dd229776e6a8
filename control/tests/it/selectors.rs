//! Watches of replicas and workers, and selectors by label in lists and watches.

use std::collections::BTreeMap;

use tonic::{Code, Streaming};
use warren_proto::v1::{self, watch_response::Type};

use crate::{
    components,
    harness::{Control, WORKER_TIMEOUT, next, service_workload, within},
    worker::Machine,
};

#[tokio::test]
async fn a_workload_that_stops_matching_is_deleted_for_the_watch() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.push(&service).await;
    control.apply(labelled("w", "x", &service)).await.unwrap();
    control
        .apply(labelled("other", "y", &service))
        .await
        .unwrap();
    let request = v1::WatchRequest {
        labels: tier("x"),
        ..Default::default()
    };
    let watch = within(control.workloads.watch(request.clone())).await;
    let mut watch = watch.unwrap().into_inner();
    assert_eq!(named(&mut watch).await, (Type::Added, "w".to_owned()));
    let bookmark = next(&mut watch).await.unwrap().unwrap();
    assert_eq!(bookmark.r#type(), Type::Bookmark);

    let steps = [
        ("w", "y", (Type::Deleted, "w")),
        ("other", "x", (Type::Added, "other")),
        ("w", "x", (Type::Added, "w")),
    ];
    for (name, to, _) in steps {
        control.apply(labelled(name, to, &service)).await.unwrap();
    }
    for (_, _, (kind, name)) in steps {
        assert_eq!(named(&mut watch).await, (kind, name.to_owned()));
    }

    // A client that resumes receives the same.
    let request = v1::WatchRequest {
        resource_version: bookmark.resource_version,
        ..request
    };
    let resumed = within(control.workloads.watch(request)).await;
    let mut resumed = resumed.unwrap().into_inner();
    for (_, _, (kind, name)) in steps {
        assert_eq!(named(&mut resumed).await, (kind, name.to_owned()));
    }
    let wrong = v1::WatchRequest {
        labels: BTreeMap::from([("not a key".to_owned(), String::new())]),
        ..Default::default()
    };
    let refused = control.workloads.watch(wrong).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_list_and_the_watch_from_it_tell_every_replica_once() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let _worker = Machine::new("w1").connect(&control).await;
    control.run("w", 1, &service).await;
    control.until_settled("w").await;
    let request = v1::ListReplicasRequest {
        workload: "w".to_owned(),
        ..Default::default()
    };
    let listed = control.workloads.list_replicas(request).await.unwrap();
    let listed = listed.into_inner();
    let mut held: BTreeMap<_, _> = listed
        .replicas
        .into_iter()
        .map(|replica| (replica.id.clone(), replica))
        .collect();
    let mut watch = control.watch_replicas("w", &listed.resource_version).await;

    let scaled = service_workload("w", Some(4), &service);
    control.apply(scaled).await.unwrap();
    control.until_settled("w").await;
    let scaled = service_workload("w", Some(2), &service);
    control.apply(scaled).await.unwrap();
    control.until_settled("w").await;

    // Broken off after every message, also amid those of one transaction: nothing is missed and
    // nothing comes twice.
    let expected = replicas(&mut control, "w").await;
    let mut messages = 0;
    while held != expected {
        let seen = next(&mut watch).await.unwrap().unwrap();
        let replica = seen.replica.clone().unwrap();
        let before = held.get(&replica.id);
        match seen.r#type() {
            Type::Added => assert!(before.is_none(), "{seen:?}"),
            Type::Modified => assert!(before.is_some_and(|before| *before != replica), "{seen:?}"),
            Type::Deleted => assert!(before.is_some(), "{seen:?}"),
            other => panic!("{other:?}"),
        }
        if seen.r#type() == Type::Deleted {
            held.remove(&replica.id);
        } else {
            held.insert(replica.id.clone(), replica);
        }
        watch = control.watch_replicas("w", &seen.resource_version).await;
        messages += 1;
    }
    assert!(messages >= 3 + 2, "{messages}");
}

#[tokio::test]
async fn replicas_are_selected_by_their_workloads_labels() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.push(&service).await;
    control.apply(labelled("w", "x", &service)).await.unwrap();
    control
        .apply(labelled("other", "y", &service))
        .await
        .unwrap();
    for name in ["w", "other"] {
        let one = |w: &v1::Workload| w.status.as_ref().is_some_and(|s| s.replicas == 1);
        control.until(name, one).await;
    }
    let request = v1::ListReplicasRequest {
        labels: tier("x"),
        ..Default::default()
    };
    let listed = control.workloads.list_replicas(request).await.unwrap();
    let listed = listed.into_inner();
    let of: Vec<_> = listed.replicas.iter().map(|held| &*held.workload).collect();
    assert_eq!(of, ["w"]);

    let request = v1::WatchReplicasRequest {
        labels: tier("x"),
        resource_version: listed.resource_version,
        ..Default::default()
    };
    let watch = within(control.workloads.watch_replicas(request)).await;
    let mut watch = watch.unwrap().into_inner();
    control
        .apply(labelled("other", "x", &service))
        .await
        .unwrap();
    control.apply(labelled("w", "y", &service)).await.unwrap();
    for expected in [(Type::Added, "other"), (Type::Deleted, "w")] {
        let seen = next(&mut watch).await.unwrap().unwrap();
        let workload = seen.replica.as_ref().unwrap().workload.as_str();
        assert_eq!((seen.r#type(), workload), expected);
    }
}

#[tokio::test]
async fn workers_are_listed_and_watched_by_label_and_heartbeats_are_no_news() {
    let mut control = Control::start().await;
    let machine = |name: &str, zone: &str| {
        let machine = Machine::new(name);
        let mut hello = machine.hello();
        hello.labels = BTreeMap::from([("zone".to_owned(), zone.to_owned())]);
        (machine, hello)
    };
    let (one, hello) = machine("w1", "a");
    let worker = one.try_connect(&control, hello).await.unwrap();
    let (two, hello) = machine("w2", "b");
    let _other = two.try_connect(&control, hello).await.unwrap();
    let labels = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
    let request = v1::WorkerServiceListRequest {
        labels: labels.clone(),
        ..Default::default()
    };
    let listed = control.workers.list(request).await.unwrap().into_inner();
    let names: Vec<_> = listed.workers.iter().map(|worker| &*worker.name).collect();
    assert_eq!(names, ["w1"]);

    let request = v1::WorkerServiceWatchRequest {
        labels,
        ..Default::default()
    };
    let watch = within(control.workers.watch(request)).await.unwrap();
    let mut watch = watch.into_inner();
    let first = next(&mut watch).await.unwrap().unwrap();
    assert_eq!(first.r#type(), Type::Added);
    assert_eq!(first.worker.as_ref().unwrap().name, "w1");
    assert!(first.worker.unwrap().last_heartbeat.is_some());
    let bookmark = next(&mut watch).await.unwrap().unwrap();
    assert_eq!(bookmark.r#type(), Type::Bookmark);

    // Only what follows the heartbeats is told: a replica that is placed, then the end of the
    // session.
    worker.heartbeats(3).await;
    let service = components::service("a");
    control.run("w", 2, &service).await;
    let placed = next(&mut watch).await.unwrap().unwrap();
    assert_eq!(placed.r#type(), Type::Modified);
    let placed = placed.worker.unwrap();
    assert!(placed.ready && placed.allocated.unwrap().replicas > 0);
    worker.vanish().await;
    loop {
        let seen = next(&mut watch).await.unwrap().unwrap();
        if !seen.worker.unwrap().ready {
            break;
        }
    }

    let position = bookmark.resource_version;
    let data = control.stop().await;
    let mut control = Control::start_in(data, WORKER_TIMEOUT).await;
    let request = v1::WorkerServiceWatchRequest {
        resource_version: position.clone(),
        ..Default::default()
    };
    let refused = control.workers.watch(request).await.err().unwrap();
    assert_eq!(refused.code(), Code::OutOfRange);
    let request = v1::WatchReplicasRequest {
        resource_version: position,
        ..Default::default()
    };
    let refused = control.workloads.watch_replicas(request).await;
    assert_eq!(refused.err().unwrap().code(), Code::OutOfRange);
}

async fn replicas(control: &mut Control, workload: &str) -> BTreeMap<String, v1::Replica> {
    let replicas = control.replicas(workload).await.into_iter();
    replicas.map(|held| (held.id.clone(), held)).collect()
}

async fn named(watch: &mut Streaming<v1::WatchResponse>) -> (Type, String) {
    loop {
        let seen = next(watch).await.unwrap().unwrap();
        // A status may change in the meantime.
        if seen.r#type() != Type::Modified {
            return (seen.r#type(), seen.workload.unwrap().name);
        }
    }
}

fn tier(value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("tier".to_owned(), value.to_owned())])
}

fn labelled(name: &str, value: &str, built: &components::Built) -> v1::Workload {
    v1::Workload {
        labels: tier(value),
        ..service_workload(name, None, built)
    }
}
