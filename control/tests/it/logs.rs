//! Lines of guests, from workers through the control plane to a reader.

use std::collections::BTreeSet;

use tonic::Code;
use tonic_types::StatusExt as _;
use warren_proto::v1;

use crate::{
    components,
    harness::{Control, next, service_workload, within},
    worker::Machine,
};

#[tokio::test]
async fn lines_of_all_replicas_come_and_then_the_end() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let _worker = Machine::new("w1").connect(&control).await;
    control.run("w", 2, &service).await;
    control.until_settled("w").await;

    let mut logs = logs(&mut control, false).await;
    let mut lines = Vec::new();
    while let Some(batch) = next(&mut logs).await.unwrap() {
        lines.extend(batch.lines);
    }
    assert_eq!(lines.len(), 4);
    for replica in control.replicas("w").await {
        let own: Vec<_> = lines
            .iter()
            .filter(|line| line.replica == replica.id)
            .collect();
        assert_eq!([&own[0].line, &own[1].line], ["line 1", "line 2"]);
    }
}

#[tokio::test]
async fn following_picks_up_replicas_that_come_later() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let _worker = Machine::new("w1").connect(&control).await;
    control.run("w", 1, &service).await;
    control.until_settled("w").await;

    let mut logs = logs(&mut control, true).await;
    let mut seen = BTreeSet::new();
    while seen.is_empty() {
        seen.extend(
            next(&mut logs)
                .await
                .unwrap()
                .unwrap()
                .lines
                .into_iter()
                .map(|l| l.replica),
        );
    }
    control
        .apply(service_workload("w", Some(2), &service))
        .await
        .unwrap();
    let both = async {
        while seen.len() < 2 {
            let batch = logs.message().await.unwrap().unwrap();
            seen.extend(batch.lines.into_iter().map(|line| line.replica));
        }
    };
    within(both).await;
}

#[tokio::test]
async fn following_ends_with_the_workload_and_not_with_the_server() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let _worker = Machine::new("w1").connect(&control).await;
    control.run("w", 1, &service).await;
    control.until_settled("w").await;

    let mut of_deleted = logs(&mut control, true).await;
    assert!(next(&mut of_deleted).await.unwrap().is_some());
    let request = v1::DeleteRequest {
        name: "w".to_owned(),
        ..Default::default()
    };
    control.workloads.delete(request).await.unwrap();
    while next(&mut of_deleted).await.unwrap().is_some() {}

    // One of the same name is another workload, and its lines end otherwise.
    control.run("w", 1, &service).await;
    control.until_settled("w").await;
    let mut of_running = logs(&mut control, true).await;
    assert!(next(&mut of_running).await.unwrap().is_some());
    control.stop().await;
    let ended = loop {
        match next(&mut of_running).await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn how_far_back_is_the_workers_to_find() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let machine = Machine::new("w1");
    let _worker = machine.connect(&control).await;
    control.run("w", 1, &service).await;
    control.until_settled("w").await;
    let since = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let requests = [(since(60), false), (None, true), (since(0), true)];
    for (since, previous) in requests {
        let request = v1::LogsRequest {
            name: "w".to_owned(),
            since,
            previous,
            ..Default::default()
        };
        let logs = within(control.workloads.logs(request)).await;
        let mut logs = logs.unwrap().into_inner();
        while next(&mut logs).await.unwrap().is_some() {}
    }
    let wanted = machine.wanted.lock().unwrap();
    assert_eq!(wanted.len(), requests.len());
    for (wanted, (since, previous)) in wanted.iter().zip(requests) {
        assert_eq!(wanted.previous, previous);
        // From when the request came, however long it took to get to the worker.
        let asked = since.map(|since| since.seconds);
        let told = wanted.since.map(|since| since.seconds);
        assert!(
            told >= asked && told.is_some() == asked.is_some(),
            "{wanted:?}"
        );
    }
}

#[tokio::test]
async fn a_worker_that_is_away_is_named() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let worker = Machine::new("w1").connect(&control).await;
    control.run("w", 1, &service).await;
    control.until_settled("w").await;
    worker.vanish().await;
    control.until_event("Disconnected").await;

    let mut logs = logs(&mut control, false).await;
    let status = next(&mut logs).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("`w1`"), "{status}");
    assert!(status.get_error_details().retry_info().is_some());
}

#[tokio::test]
async fn an_unknown_workload_or_replica_is_not_found() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let request = v1::LogsRequest {
        name: "w".to_owned(),
        ..Default::default()
    };
    let refused = control.workloads.logs(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    control.run("w", 0, &service).await;
    let request = v1::LogsRequest {
        name: "w".to_owned(),
        replica: "w-aaaaaaaaaa".to_owned(),
        ..Default::default()
    };
    let refused = control.workloads.logs(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

async fn logs(control: &mut Control, follow: bool) -> tonic::Streaming<v1::LogsResponse> {
    let request = v1::LogsRequest {
        name: "w".to_owned(),
        follow,
        ..Default::default()
    };
    within(control.workloads.logs(request))
        .await
        .unwrap()
        .into_inner()
}
