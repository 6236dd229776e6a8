//! Where there is no place: ports, worker names, data directories.

use tempfile::TempDir;
use tonic::Code;
use tonic_types::StatusExt as _;
use warren_control::{Config, ControlPlane, OpenError, StoreError};
use warren_proto::v1::{self, condition::Status};

use crate::{
    components,
    harness::{Control, WORKER_TIMEOUT, condition, published_workload},
    worker::Machine,
};

#[tokio::test]
async fn a_port_that_another_workload_holds_is_named_with_its_holder_until_it_is_free() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.push(&service).await;
    let _worker = Machine::new("w1").connect(&control).await;
    let first = published_workload("first", &service, "127.0.0.1:6379");
    control.apply(first).await.unwrap();
    control.until_settled("first").await;

    let second = published_workload("second", &service, "0.0.0.0:6379");
    control.apply(second).await.unwrap();
    let waits = |w: &v1::Workload| {
        condition(w, "Ready").is_some_and(|held| held.reason == "PortUnavailable")
    };
    let waiting = control.until("second", waits).await;
    let why = "1 worker: 1 has 0.0.0.0:6379 taken by workload `default/first`";
    assert_eq!(
        condition(&waiting, "Ready")
            .unwrap()
            .message
            .split_once(": ")
            .unwrap()
            .1,
        why
    );
    let replica = control.replicas("second").await.remove(0);
    let scheduled = replica
        .conditions
        .iter()
        .find(|held| held.r#type == "Scheduled");
    let scheduled = scheduled.unwrap();
    assert_eq!(
        (scheduled.status(), &*scheduled.message),
        (Status::False, why)
    );
    assert_eq!(control.until_event("PortUnavailable").await.message, why);

    let delete = v1::DeleteRequest {
        name: "first".to_owned(),
        ..Default::default()
    };
    control.workloads.delete(delete).await.unwrap();
    control.until_settled("second").await;
}

#[tokio::test]
async fn a_worker_name_belongs_to_one_machine() {
    let control = Control::start().await;
    let first = Machine::new("w1");
    let _worker = first.connect(&control).await;
    let mut second = Machine::new("w1");
    second.id = "another machine".to_owned();
    let refused = second.try_connect(&control, second.hello()).await;
    let refused = refused.err().unwrap();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().contains("--name"), "{refused}");
    let details = refused.get_error_details();
    assert_eq!(details.resource_info().unwrap().resource_name, "w1");
}

#[tokio::test]
async fn a_data_directory_of_a_newer_version_is_left_alone() {
    let control = Control::start().await;
    let data = control.stop().await;
    let db = sled::open(data.path().join("store").join("sled")).unwrap();
    db.insert("m/schema", "99").unwrap();
    db.flush().unwrap();
    drop(db);
    let refused = ControlPlane::open(config(&data)).await.err().unwrap();
    assert!(
        matches!(
            refused,
            OpenError::Store(StoreError::SchemaTooNew { found: 99, .. })
        ),
        "{refused}"
    );
    for part in ["schema 99", "newer", data.path().to_str().unwrap()] {
        assert!(refused.to_string().contains(part), "{refused}");
    }
}

#[tokio::test]
async fn a_data_directory_in_use_names_who_has_it() {
    let control = Control::start().await;
    let config = Config {
        worker_timeout: WORKER_TIMEOUT,
        ..Config::new(control.data().to_owned())
    };
    let refused = ControlPlane::open(config).await.err().unwrap();
    let process = format!("process {}", std::process::id());
    for part in [
        &*process,
        "another data directory",
        control.data().to_str().unwrap(),
    ] {
        assert!(refused.to_string().contains(part), "{refused}");
    }
}

fn config(data: &TempDir) -> Config {
    Config {
        worker_timeout: WORKER_TIMEOUT,
        ..Config::new(data.path().to_owned())
    }
}
